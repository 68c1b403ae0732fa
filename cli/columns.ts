// The columns of `nodelet get`, as kubectl shows them. Pure: objects and `now` come in, cells go out.
// Follows the table printers of kubectl (printers.go of Kubernetes 1.36): the STATUS of a pod is worked out from its containers.
import type { ContainerStatus, EndpointSlice, KubeObject, Pod, Problem, Service } from '../agent/server/wire.ts'

export interface Columns<T> {
  readonly head: readonly string[]
  /** Further columns of `-o wide`. */
  readonly wideHead: readonly string[]
  row(object: T, now: number): { readonly cells: readonly string[]; readonly wide: readonly string[] }
}

/** How long ago, in kubectl's few letters: `45s`, `3m10s`, `5h2m`, `12d`. */
export const toAge = (since: string | undefined, now: number): string => {
  if (since === undefined) return '<unknown>'
  const seconds = Math.floor((now - Date.parse(since)) / 1000)
  if (Number.isNaN(seconds)) return '<unknown>'
  if (seconds < 0) return seconds < -1 ? '<invalid>' : '0s'
  const [minutes, hours, days] = [60, 3600, 86_400].map(unit => Math.floor(seconds / unit)) as [number, number, number]
  const both = (big: string, small: number, unit: string) => (small === 0 ? big : `${big}${small}${unit}`)
  if (seconds < 120) return `${seconds}s`
  if (minutes < 10) return both(`${minutes}m`, seconds % 60, 's')
  if (minutes < 180) return `${minutes}m`
  if (hours < 8) return both(`${hours}h`, minutes % 60, 'm')
  if (hours < 48) return `${hours}h`
  if (hours < 192) return both(`${days}d`, hours % 24, 'h')
  if (days < 730) return `${days}d`
  return days < 2920 ? both(`${Math.floor(days / 365)}y`, days % 365, 'd') : `${Math.floor(days / 365)}y`
}

/** Rows under their heads, columns three blanks apart. */
export const toTable = (rows: readonly (readonly string[])[]): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0)))
  const lines = rows.map(row => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   '))
  return lines.map(line => `${line.trimEnd()}\n`).join('')
}

const orNone = (text: string | undefined): string => (text === undefined || text === '' ? '<none>' : text)

export const podColumns: Columns<Pod> = {
  head: ['NAME', 'READY', 'STATUS', 'RESTARTS', 'AGE'],
  wideHead: ['IP', 'NODE', 'READINESS GATES'],
  row: (pod, now) => {
    const { ready, total, status, restarts, lastRestart } = summarize(pod)
    const ago = restarts > 0 && lastRestart !== undefined ? ` (${toAge(lastRestart, now)} ago)` : ''
    const created = pod.metadata.creationTimestamp ?? pod.status?.startTime
    const gates = pod.spec.readinessGates ?? []
    const passed = gates.filter(gate => isTrue(pod, gate.conditionType)).length
    return {
      cells: [pod.metadata.name, `${ready}/${total}`, status, `${restarts}${ago}`, toAge(created, now)],
      wide: [
        orNone(pod.status?.podIPs?.[0]?.ip ?? pod.status?.podIP),
        orNone(pod.spec.nodeName),
        gates.length === 0 ? '<none>' : `${passed}/${gates.length}`,
      ],
    }
  },
}

const isTrue = ({ status }: Pod, type: string): boolean => status?.conditions?.find(it => it.type === type)?.status === 'True'

export interface PodSummary {
  readonly ready: number
  readonly total: number
  readonly status: string
  readonly restarts: number
  /** When a container ended for the last time before it was started again. */
  readonly lastRestart: string | undefined
}

/** What the columns READY, STATUS and RESTARTS say. */
export const summarize = (pod: Pod): PodSummary => {
  const sidecars = new Set((pod.spec.initContainers ?? []).filter(it => it.restartPolicy === 'Always').map(it => it.name))
  const inits = pod.status?.initContainerStatuses ?? []
  const apps = pod.status?.containerStatuses ?? []
  const phase = pod.status?.reason || pod.status?.phase || 'Pending'
  const init = initStatus(pod, sidecars)
  const total = pod.spec.containers.length + sidecars.size
  const initReady = inits.filter(it => sidecars.has(it.name) && it.started === true && it.ready).length
  if (init !== undefined && !isTrue(pod, 'Initialized')) {
    return { ready: initReady, total, status: terminating(pod) ?? init, ...restartsOf(inits) }
  }
  const ready = initReady + apps.filter(it => it.ready && it.state?.running).length
  const counted = [...inits.filter(it => sidecars.has(it.name)), ...apps]
  return { ready, total, status: terminating(pod) ?? appStatus(pod, apps, init ?? phase), ...restartsOf(counted) }
}

const terminating = ({ metadata, status }: Pod): string | undefined => {
  if (metadata.deletionTimestamp === undefined) return undefined
  if (status?.reason === 'NodeLost') return 'Unknown'
  return status?.phase === 'Succeeded' || status?.phase === 'Failed' ? undefined : 'Terminating'
}

const restartsOf = (statuses: readonly ContainerStatus[]) => ({
  restarts: statuses.reduce((sum, it) => sum + it.restartCount, 0),
  lastRestart: statuses
    .flatMap(it => it.lastState?.terminated?.finishedAt ?? [])
    .sort()
    .at(-1),
})

/** What holds up the start of the app containers; undefined when nothing does. */
const initStatus = ({ spec, status }: Pod, sidecars: ReadonlySet<string>): string | undefined => {
  for (const [index, { name, state, started }] of (status?.initContainerStatuses ?? []).entries()) {
    const ended = state?.terminated
    if (ended?.exitCode === 0 || (sidecars.has(name) && started === true)) continue
    if (ended) return `Init:${endOf(ended)}`
    const reason = state?.waiting?.reason
    if (reason && reason !== 'PodInitializing') return `Init:${reason}`
    return `Init:${index}/${spec.initContainers?.length ?? 0}`
  }
  return undefined
}

const endOf = ({ reason, signal, exitCode }: { reason?: string; signal?: number; exitCode: number }): string =>
  reason || (signal ? `Signal:${signal}` : `ExitCode:${exitCode}`)

/** The first container that waits or has ended gives its reason; among ended ones a failure is told before a success. */
const appStatus = (pod: Pod, apps: readonly ContainerStatus[], phase: string): string => {
  let status = phase
  let failure = ''
  let running = false
  for (const { state, ready } of apps.toReversed()) {
    if (state?.waiting?.reason) status = state.waiting.reason
    else if (state?.terminated) {
      status = endOf(state.terminated)
      if (state.terminated.exitCode !== 0) failure = status
    } else if (ready && state?.running) running = true
  }
  if (status !== 'Completed') return status
  if (running && isTrue(pod, 'Ready')) return 'Running'
  return failure || (running ? 'NotReady' : status)
}

export const serviceColumns: Columns<Service> = {
  head: ['NAME', 'TYPE', 'CLUSTER-IP', 'EXTERNAL-IP', 'PORT(S)', 'AGE'],
  wideHead: ['SELECTOR'],
  row: ({ metadata, spec, status }, now) => {
    const { type = 'ClusterIP', ports = [], selector = {} } = spec
    const balancers = (status?.loadBalancer?.ingress ?? []).map(it => it.ip ?? it.hostname ?? '')
    const given = type === 'ExternalName' ? [spec.externalName ?? ''] : [...balancers, ...(spec.externalIPs ?? [])]
    const external = given.length === 0 && type === 'LoadBalancer' ? '<pending>' : orNone(given.join(','))
    const shown = ports.map(it => `${it.port}${it.nodePort ? `:${it.nodePort}` : ''}/${it.protocol ?? 'TCP'}`)
    const pairs = Object.entries(selector).map(([key, value]) => `${key}=${value}`)
    return {
      cells: [
        metadata.name,
        type,
        orNone(spec.clusterIP),
        external,
        orNone(shown.join(',')),
        toAge(metadata.creationTimestamp, now),
      ],
      wide: [orNone(pairs.sort().join(','))],
    }
  },
}

/** The endpoints of one Service, out of all its slices. */
export interface ServiceEndpoints extends KubeObject {
  readonly slices: readonly EndpointSlice[]
}

/** Slices put together by the Service that they belong to. */
export const byService = (slices: readonly EndpointSlice[]): readonly ServiceEndpoints[] => {
  const groups = new Map<string, EndpointSlice[]>()
  for (const slice of slices) {
    const name = slice.metadata.labels?.['kubernetes.io/service-name'] ?? slice.metadata.name
    const key = `${slice.metadata.namespace ?? 'default'}/${name}`
    groups.set(key, [...(groups.get(key) ?? []), slice])
  }
  return [...groups].map(([key, own]) => {
    const [namespace = '', name = ''] = key.split('/')
    const created = own.flatMap(it => it.metadata.creationTimestamp ?? []).sort()[0]
    return { metadata: { name, namespace, ...(created && { creationTimestamp: created }) }, slices: own }
  })
}

const addressesOf = ({ slices }: ServiceEndpoints, ready: boolean): string[] =>
  slices.flatMap(({ addressType, endpoints, ports }) =>
    endpoints
      .filter(it => (it.conditions?.ready ?? true) === ready)
      .flatMap(it => it.addresses)
      .map(it => (addressType === 'IPv6' ? `[${it}]` : it))
      .flatMap(address =>
        ports.length === 0 ? [address.replace(/[[\]]/g, '')] : ports.map(({ port }) => `${address}:${port ?? '*'}`),
      ),
  )

export const endpointColumns: Columns<ServiceEndpoints> = {
  head: ['NAME', 'ENDPOINTS', 'AGE'],
  wideHead: ['NOT READY'],
  row: (service, now) => {
    const ready = addressesOf(service, true)
    const more = ready.length > 3 ? ` + ${ready.length - 3} more...` : ''
    return {
      cells: [
        service.metadata.name,
        `${orNone(ready.slice(0, 3).join(','))}${more}`,
        toAge(service.metadata.creationTimestamp, now),
      ],
      wide: [orNone(addressesOf(service, false).join(','))],
    }
  },
}

interface Node extends KubeObject {
  readonly spec?: { readonly unschedulable?: boolean }
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
    readonly addresses?: readonly { readonly type: string; readonly address: string }[]
    readonly nodeInfo?: Readonly<Record<string, string | undefined>>
  }
}

export const nodeColumns: Columns<Node> = {
  head: ['NAME', 'STATUS', 'ROLES', 'AGE', 'VERSION'],
  wideHead: ['INTERNAL-IP', 'EXTERNAL-IP', 'OS-IMAGE', 'KERNEL-VERSION', 'CONTAINER-RUNTIME'],
  row: ({ metadata, spec, status }, now) => {
    const ready = status?.conditions?.find(it => it.type === 'Ready')?.status
    const state = ready === undefined ? 'Unknown' : ready === 'True' ? 'Ready' : 'NotReady'
    const rolePrefix = 'node-role.kubernetes.io/'
    const roles = Object.keys(metadata.labels ?? {}).flatMap(it => (it.startsWith(rolePrefix) ? it.slice(rolePrefix.length) : []))
    const address = (type: string) => orNone(status?.addresses?.find(it => it.type === type)?.address)
    const fact = (name: string) => orNone(status?.nodeInfo?.[name])
    return {
      cells: [
        metadata.name,
        spec?.unschedulable ? `${state},SchedulingDisabled` : state,
        orNone(roles.sort().join(',')),
        toAge(metadata.creationTimestamp, now),
        fact('kubeletVersion'),
      ],
      wide: [
        address('InternalIP'),
        address('ExternalIP'),
        fact('osImage'),
        fact('kernelVersion'),
        fact('containerRuntimeVersion'),
      ],
    }
  },
}

export const problemColumns = {
  head: ['AGE', 'CODE', 'OBJECT', 'MESSAGE'],
  row: ({ since, code, object, message }: Problem, now: number) => [toAge(since, now), code, object, message],
}
