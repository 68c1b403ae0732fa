// What the commands share: parsing of arguments, usage errors as exit code 2, faults as one line and exit code 1.
import { parseArgs } from 'node:util'
import { describe } from '../host/fault.ts'

/** Where a command writes. */
export interface Output {
  /** Resolves when there is room for more. */
  out(text: string | Uint8Array): Promise<void> | undefined
  err(text: string | Uint8Array): void
}

export const processOutput: Output = {
  out: text => {
    // A reader that has seen enough (`| head`) ends the command as it would end any other.
    if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', () => process.exit(141))
    return process.stdout.write(text) ? undefined : new Promise(resolve => process.stdout.once('drain', resolve))
  },
  err: text => void process.stderr.write(text),
}

/** The command was called in a wrong way. */
export class UsageError extends Error {}

export type Options = NonNullable<NonNullable<Parameters<typeof parseArgs>[0]>['options']>

const shared = { socket: { type: 'string' }, help: { type: 'boolean', short: 'h' } } as const satisfies Options

/** The options of commands that are about pods. */
export const podOptions = { namespace: { type: 'string', short: 'n', default: 'default' } } as const satisfies Options

/** Arguments by the command's own options, `--socket` and `--help`. @throws UsageError */
export const parse = <O extends Options>(argv: readonly string[], options: O) => {
  try {
    return parseArgs({ args: [...argv], options: { ...options, ...shared }, allowPositionals: true, strict: true })
  } catch (error) {
    throw new UsageError(error instanceof Error ? (error.message.split('. ')[0] ?? '') : String(error))
  }
}

/** Runs a command and turns what it throws into a line on stderr and an exit code. */
export const runCommand = async (
  usage: string,
  argv: readonly string[],
  output: Output,
  work: () => Promise<number>,
): Promise<number> => {
  const own = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv
  if (own.includes('--help') || own.includes('-h')) {
    output.out(`usage: ${usage}\n`)
    return 0
  }
  try {
    return await work()
  } catch (error) {
    output.err(`error: ${describe(error)}\n`)
    if (!(error instanceof UsageError)) return 1
    output.err(`usage: ${usage}\n`)
    return 2
  }
}

/** A pod as it is named on the command line: `NAME`, `pod/NAME`, or `NAMESPACE/NAME` as messages print it. */
export const toPodPath = (named: string | undefined, namespace: string): string => {
  if (named === undefined || named === '') throw new UsageError('name a pod')
  const [first = '', second] = named.split('/')
  const own = second !== undefined && !['pod', 'pods', 'po'].includes(first)
  return `/v1/pods/${encodeURIComponent(own ? first : namespace)}/${encodeURIComponent(second ?? first)}`
}
