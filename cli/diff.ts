// nodelet diff: what the kernel holds of Services against what it should. Exit code 0 when they are the same, 1 when they differ.
// Whoever routes Services lists its tables for it, which takes seconds when there is much; this file prints the outcome.
import type { Diff, Difference } from '../agent/server/wire.ts'
import { type Output, parse, processOutput, runCommand, UsageError } from './command.ts'
import { askRouter } from './socket.ts'

export const usage = 'nodelet diff [-o json]'

const options = { output: { type: 'string', short: 'o' } } as const

// A person reads some; a program gets all of them by -o json.
const shownAtMost = 100

const signs = { missing: '-', foreign: '+', different: '~' } as const

const differenceLines = ({ kind, place, what, wanted, found }: Difference): readonly string[] => [
  `${signs[kind]} ${kind.padEnd(9)} ${what === place ? what : `${place}: ${what}`}`,
  ...(wanted === undefined || wanted === '' ? [] : [`    wanted  ${wanted}`]),
  ...(found === undefined || found === '' ? [] : [`    found   ${found}`]),
]

const toText = ({ mode, compared, differences }: Diff): string => {
  const left = differences.length - shownAtMost
  return [
    ...differences.slice(0, shownAtMost).flatMap(differenceLines),
    ...(left > 0 ? [`and ${left} more: -o json has all of them`] : []),
    differences.length === 0
      ? `The kernel holds what it should: ${compared} pieces compared (${mode}).`
      : `${differences.length} differences, ${compared} pieces compared (${mode}).`,
    '',
  ].join('\n')
}

export const run = (argv: readonly string[], output: Output = processOutput): Promise<number> =>
  runCommand(usage, argv, output, async () => {
    const { values, positionals } = parse(argv, options)
    if (positionals.length > 0) throw new UsageError('diff takes no names: it compares everything')
    if (values.output !== undefined && values.output !== 'json')
      throw new UsageError(`unknown output format "${values.output}", json is wanted`)
    if (values.output !== 'json') output.err('Listing what the kernel holds: this takes seconds when there are many Services.\n')
    const diff = await askRouter(values.socket, daemon => daemon.json<Diff>('/v1/diff'))
    output.out(values.output === 'json' ? `${JSON.stringify(diff, null, 4)}\n` : toText(diff))
    return diff.same ? 0 : 1
  })
