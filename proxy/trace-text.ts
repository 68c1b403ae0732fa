// A trace in words, for a person at a terminal. Pure: prints what trace.ts worked out and decides nothing.
import { hostPort } from '../host/address.ts'
import type { CallerKind, FrontendTrace, Outcome, Trace } from './trace-types.ts'

const kindNames = {
  'cluster-ip': 'cluster IP',
  'external-ip': 'external IP',
  'load-balancer': 'load balancer address',
  'node-port': 'node port',
} as const

const callerNames: Readonly<Record<CallerKind, string>> = { pod: 'pods', node: 'this node', elsewhere: 'elsewhere' }

/** A table of cells, each column as wide as its widest, indented. */
const columns = (rows: readonly (readonly string[])[], indent: string): readonly string[] => {
  const width = (column: number) => Math.max(...rows.map(row => row[column]?.length ?? 0))
  const widths = (rows[0] ?? []).map((_, column) => width(column))
  return rows.map(row => `${indent}${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd())
}

const outcomeText = ({ does, to, masqueraded, why }: Outcome): string => {
  if (does !== 'translate') return `${does === 'drop' ? 'DROPPED' : 'REJECTED'}: ${why}`
  const choice = to.length === 1 ? `sent to ${to[0]}` : `sent to one of ${to.length} endpoints, drawn at random`
  return `${choice}; ${masqueraded ? 'masqueraded' : 'not masqueraded'} (${why})`
}

const usedNames = { yes: 'used', inside: 'in part', no: 'NOT USED' } as const

const element = (where: string, key: string, value: string): string => `${where} { ${key}${value === '' ? '' : ` : ${value}`} }`

const kernelLines = ({ kernel }: FrontendTrace): readonly string[] => {
  if (kernel === undefined || kernel.pieces.length === 0) return []
  const rows = kernel.pieces.map(({ where, key, wanted, found }) => [
    found === wanted ? 'there' : found === undefined ? 'MISSING' : 'DIFFERS',
    `${element(where, key, wanted)}${found === undefined || found === wanted ? '' : `, and the kernel has ${found || 'no value'}`}`,
  ])
  const rest = kernel.notAsked > 0 ? [`    and ${kernel.notAsked} more, which were not asked for`] : []
  return [`  kernel: ${kernel.place}`, ...columns(rows, '    '), ...rest]
}

const endpointLines = ({ endpoints }: FrontendTrace): readonly string[] =>
  endpoints.length === 0
    ? ['  endpoints: none']
    : [
        '  endpoints',
        ...columns(
          endpoints.map(({ address, pod, used, why }) => [address, pod ?? '', usedNames[used], why]),
          '    ',
        ),
      ]

const rememberedLines = ({ kernel }: FrontendTrace): readonly string[] =>
  (kernel?.remembered ?? []).map(({ frontend, endpoint, expires }) => {
    const address = frontend.replace(/ (\d+)$/, ':$1')
    const to = endpoint === undefined ? 'an endpoint that has gone: another is drawn' : endpoint.replace(' . ', ':')
    return `  remembered: the caller of ${address} stays with ${to}, for ${expires} more`
  })

const flowLines = ({ flows, moreFlows }: FrontendTrace): readonly string[] => {
  if (flows === undefined) return ['  connections: conntrack cannot be asked here']
  if (flows.length === 0) return ['  connections: none is tracked']
  const rows = flows.map(({ from, fromPort, to, toPort, answeredBy, answeredByPort }) => [
    hostPort(from, fromPort),
    `-> ${hostPort(to, toPort)}`,
    answeredBy === to && answeredByPort === toPort ? 'not translated' : `answered by ${hostPort(answeredBy, answeredByPort)}`,
  ])
  return [`  connections${moreFlows ? ` (the first ${flows.length})` : ''}`, ...columns(rows, '    ')]
}

const frontendLines = (it: FrontendTrace): readonly string[] => [
  '',
  `${kindNames[it.kind]} ${it.address}/${it.protocol}${it.portName === '' ? '' : ` (port ${it.portName})`}`,
  `  policy: ${it.policy.join('; ')}`,
  ...columns(
    it.outcomes.map(outcome => [`from ${outcome.callers.map(kind => callerNames[kind]).join(', ')}:`, outcomeText(outcome)]),
    '  ',
  ),
  ...endpointLines(it),
  ...rememberedLines(it),
  ...kernelLines(it),
  ...flowLines(it),
  `  ${it.verdict === 'same' ? 'verdict' : 'VERDICT'}: ${it.verdictText}`,
]

/** The trace as `nodelet trace` prints it. */
export const traceText = ({ target, from, service, notes, frontends }: Trace): string => {
  const title = `${service ?? target}${from === undefined ? '' : ` from ${from}`}`
  return [title, ...notes.map(note => `  ${note}`), ...frontends.flatMap(frontendLines), ''].join('\n')
}
