// nodelet why: the way of a pod from its manifest to ready, what it waits for now, and what to do about it.
// The daemon has recorded it and puts it into words (agent/timeline-text.ts).
import { type Output, parse, podOptions, processOutput, runCommand, toPodPath, UsageError } from './command.ts'
import { createDaemon } from './socket.ts'

export const usage = 'nodelet why [-n NAMESPACE] POD [-o json]'

const options = { ...podOptions, output: { type: 'string', short: 'o' } } as const

export const run = (argv: readonly string[], output: Output = processOutput): Promise<number> =>
  runCommand(usage, argv, output, async () => {
    const { values, positionals } = parse(argv, options)
    if (positionals.length > 1) throw new UsageError('name one pod')
    if (values.output !== undefined && values.output !== 'json') {
      throw new UsageError(`unknown output format "${values.output}", json is wanted`)
    }
    const daemon = createDaemon(values.socket)
    const path = `${toPodPath(positionals[0], values.namespace)}/timeline`
    if (values.output === 'json') output.out(`${JSON.stringify(await daemon.json(path), null, 4)}\n`)
    else output.out(await daemon.text(path))
    return 0
  })
