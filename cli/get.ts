// nodelet get: lists the pods, Services, endpoints, the node and its problems, as tables, JSON, YAML or names.
// Asks the daemon and prints; what the columns say is worked out in cli/columns.ts.

import type { EndpointSlice, KubeObject, List, Problems } from '../agent/server/wire.ts'
import { systemClock } from '../host/clock.ts'
import { Fault } from '../host/fault.ts'
import { byText } from '../host/order.ts'
import {
  byService,
  type Columns,
  endpointColumns,
  nodeColumns,
  podColumns,
  problemColumns,
  serviceColumns,
  toTable,
} from './columns.ts'
import { type Output, parse, podOptions, processOutput, runCommand, toPodPath, UsageError } from './command.ts'
import { createDaemon, type Daemon } from './socket.ts'

export const usage =
  'nodelet get pods|services|endpoints|node|problems [NAME…] [-n NAMESPACE | -A] [-o wide|json|yaml|name] [--socket PATH]'

const options = {
  ...podOptions,
  'all-namespaces': { type: 'boolean', short: 'A' },
  output: { type: 'string', short: 'o' },
  'no-headers': { type: 'boolean' },
} as const

const formats = ['wide', 'json', 'yaml', 'name']

const kinds: Readonly<Record<string, readonly string[]>> = {
  pods: ['pods', 'pod', 'po'],
  services: ['services', 'service', 'svc'],
  endpoints: ['endpoints', 'endpoint', 'ep', 'endpointslices', 'endpointslice'],
  node: ['node', 'nodes', 'no'],
  problems: ['problems', 'problem'],
}

interface Asked {
  readonly names: readonly string[]
  readonly namespace: string | undefined
  readonly format: string | undefined
  readonly headers: boolean
}

export const run = (argv: readonly string[], output: Output = processOutput): Promise<number> =>
  runCommand(usage, argv, output, async () => {
    const { values, positionals } = parse(argv, options)
    const [word = '', ...names] = positionals
    // As kubectl, also `get pod/web`.
    const [kindName = '', named] = word.split('/')
    const kind = Object.keys(kinds).find(it => kinds[it]?.includes(kindName))
    if (kind === undefined) throw new UsageError(word === '' ? 'say what to get' : `there is nothing called "${word}" to get`)
    if (values.output !== undefined && !formats.includes(values.output)) {
      throw new UsageError(`unknown output format "${values.output}", one of ${formats.join(', ')} is wanted`)
    }
    const asked: Asked = {
      names: named === undefined ? names : [named, ...names],
      namespace: values['all-namespaces'] ? undefined : values.namespace,
      format: values.output,
      headers: !values['no-headers'],
    }
    return show(kind, asked, createDaemon(values.socket), output)
  })

const show = async (kind: string, asked: Asked, daemon: Daemon, output: Output): Promise<number> => {
  if (kind === 'problems') return showProblems(asked, daemon, output)
  if (kind === 'node') return print([await daemon.json('/v1/node')], nodeColumns as Columns<KubeObject>, 'node', asked, output)
  if (kind === 'pods') return print(await pods(asked, daemon), podColumns as Columns<KubeObject>, 'pod', asked, output)
  const all = inNamespace((await daemon.json<List>(`/v1/${kind}`)).items, asked)
  if (kind === 'services')
    return print(pick(all, asked, 'services'), serviceColumns as Columns<KubeObject>, 'service', asked, output)
  if (asked.format === 'json' || asked.format === 'yaml') {
    return print(pick(all, asked, 'endpoints', sliceOwner), endpointColumns as never, 'endpointslice', asked, output)
  }
  const services = pick(byService(all as readonly EndpointSlice[]), asked, 'endpoints')
  return print(services, endpointColumns as unknown as Columns<KubeObject>, 'endpoints', asked, output)
}

const sliceOwner = ({ metadata }: KubeObject): string => metadata.labels?.['kubernetes.io/service-name'] ?? metadata.name

const pods = async ({ names, namespace, ...asked }: Asked, daemon: Daemon): Promise<readonly KubeObject[]> =>
  names.length > 0
    ? Promise.all(names.map(name => daemon.json<KubeObject>(toPodPath(name, namespace ?? 'default'))))
    : inNamespace((await daemon.json<List>('/v1/pods')).items, { names, namespace, ...asked })

const inNamespace = (items: readonly KubeObject[], { namespace }: Asked): readonly KubeObject[] =>
  items.filter(it => namespace === undefined || (it.metadata.namespace ?? 'default') === namespace)

const pick = <T extends KubeObject>(
  items: readonly T[],
  { names, namespace }: Asked,
  kind: string,
  nameOf = ({ metadata }: KubeObject) => metadata.name,
): readonly T[] => {
  if (names.length === 0) return items
  return names.flatMap(name => {
    const found = items.filter(it => nameOf(it) === name)
    if (found.length > 0) return found
    const there = [...new Set(items.map(nameOf))].slice(0, 5).join(', ') || 'none'
    throw new Fault('not-found', `${kind} "${name}" not found in namespace "${namespace ?? 'any'}"; there is ${there}`)
  })
}

const print = async (
  items: readonly KubeObject[],
  columns: Columns<KubeObject>,
  kind: string,
  { format, namespace, names, headers }: Asked,
  { out, err }: Output,
): Promise<number> => {
  if (format === 'json' || format === 'yaml') {
    const list: List = { apiVersion: 'v1', kind: 'List', metadata: { resourceVersion: '' }, items }
    const whole = (names.length === 1 || kind === 'node') && items.length === 1 ? items[0] : list
    out(format === 'json' ? `${JSON.stringify(whole, null, 4)}\n` : (await import('yaml')).default.stringify(whole))
    return 0
  }
  if (format === 'name') {
    for (const { metadata } of items) out(`${kind}/${metadata.name}\n`)
    return 0
  }
  if (items.length === 0) {
    err(namespace === undefined ? 'No resources found\n' : `No resources found in ${namespace} namespace.\n`)
    return 0
  }
  const everywhere = namespace === undefined && kind !== 'node'
  const wide = format === 'wide'
  const now = systemClock.now()
  const line = (space: string, cells: readonly string[], more: readonly string[]) => [
    ...(everywhere ? [space] : []),
    ...cells,
    ...(wide ? more : []),
  ]
  const sorted = items.toSorted((a, b) => byText(keyOf(a), keyOf(b)))
  const rows = sorted.map(item => {
    const { cells, wide: more } = columns.row(item, now)
    return line(item.metadata.namespace ?? 'default', cells, more)
  })
  const table = toTable([line('NAMESPACE', columns.head, columns.wideHead), ...rows])
  out(headers ? table : table.slice(table.indexOf('\n') + 1))
  return 0
}

const keyOf = ({ metadata }: KubeObject): string => `${metadata.namespace ?? 'default'}/${metadata.name}`

const showProblems = async ({ format }: Asked, daemon: Daemon, { out, err }: Output): Promise<number> => {
  const problems = await daemon.json<Problems>('/v1/problems')
  if (format === 'json') out(`${JSON.stringify(problems, null, 4)}\n`)
  else if (format === 'yaml') out((await import('yaml')).default.stringify(problems))
  else if (problems.items.length === 0) err('No problems found.\n')
  else out(toTable([problemColumns.head, ...problems.items.map(it => problemColumns.row(it, systemClock.now()))]))
  return 0
}
