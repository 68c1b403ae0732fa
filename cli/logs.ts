// nodelet logs: prints the log of a container, once or as it grows. The options are kubectl's; the daemon reads the files.
import type { Seconds } from '../host/clock.ts'
import { type Output, parse, podOptions, processOutput, runCommand, toPodPath, UsageError } from './command.ts'
import { createDaemon } from './socket.ts'

export const usage =
  'nodelet logs [-f] [-p] [--tail N] [--since 5m] [--since-time RFC3339] [--timestamps] [--limit-bytes N] [-n NAMESPACE] POD [-c CONTAINER]'

const options = {
  ...podOptions,
  container: { type: 'string', short: 'c' },
  follow: { type: 'boolean', short: 'f' },
  previous: { type: 'boolean', short: 'p' },
  timestamps: { type: 'boolean' },
  tail: { type: 'string' },
  since: { type: 'string' },
  'since-time': { type: 'string' },
  'limit-bytes': { type: 'string' },
} as const

const unitSeconds: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 }

/** A duration as Go writes it: `90s`, `1h30m`. @throws UsageError */
export const toSeconds = (text: string): Seconds => {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)]
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text) {
    throw new UsageError(`"${text}" is not a duration such as 90s, 5m or 1h30m`)
  }
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * (unitSeconds[unit ?? ''] ?? 0), 0)
}

export const run = (argv: readonly string[], output: Output = processOutput): Promise<number> =>
  runCommand(usage, argv, output, async () => {
    const { values, positionals } = parse(argv, options)
    const [pod, second, ...extra] = positionals
    if (extra.length > 0) throw new UsageError(`what is "${extra.join(' ')}"?`)
    const query = new URLSearchParams()
    const container = values.container ?? second
    if (container !== undefined) query.set('container', container)
    for (const flag of ['follow', 'previous', 'timestamps'] as const) if (values[flag]) query.set(flag, 'true')
    // -1 is kubectl's way to say all.
    if (values.tail !== undefined && values.tail !== '-1') query.set('tailLines', values.tail)
    if (values.since !== undefined) query.set('sinceSeconds', String(Math.ceil(toSeconds(values.since))))
    if (values['since-time'] !== undefined) query.set('sinceTime', values['since-time'])
    if (values['limit-bytes'] !== undefined) query.set('limitBytes', values['limit-bytes'])
    const path = `${toPodPath(pod, values.namespace)}/log?${query}`
    const log = await createDaemon(values.socket).stream(path)
    for await (const part of log) await output.out(part as Buffer)
    return 0
  })
