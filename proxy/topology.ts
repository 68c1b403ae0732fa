// Which endpoints a Service port may use on this node: pure, the one place that knows readiness, fall-back to terminating ones and hints.
// Follows kube-proxy (k8s.io: Virtual IPs and Service Proxies, "Traffic policies" and "Traffic to terminating endpoints";
// KEP-1669, KEP-4444). The fall-back is decided for Cluster and Local apart.
import type { EndpointInfo } from './endpoints.ts'

export interface NodePlace {
  readonly name: string
  /** The node's label topology.kubernetes.io/zone; '' when it has none. */
  readonly zone: string
}

export interface UsableEndpoints {
  /** For traffic policy Cluster. */
  readonly cluster: readonly EndpointInfo[]
  /** For traffic policy Local. */
  readonly local: readonly EndpointInfo[]
  /** Somebody somewhere could answer, even if nobody that this node may use. */
  readonly any: boolean
}

export interface PolicyUse {
  readonly usesCluster: boolean
  readonly usesLocal: boolean
}

const isLeaving = (endpoint: EndpointInfo): boolean => endpoint.serving && endpoint.terminating

/** Endpoints near enough, by hints: all ready ones must carry a hint and one must name us, otherwise hints are not used at all. */
const nearby = (ready: readonly EndpointInfo[], node: NodePlace): readonly EndpointInfo[] => {
  for (const [hints, here] of [
    ['forNodes', node.name],
    ['forZones', node.zone],
  ] as const) {
    if (!ready.every(endpoint => endpoint[hints].length > 0)) continue
    const hinted = ready.filter(endpoint => endpoint[hints].includes(here))
    if (hinted.length > 0) return hinted
  }
  return ready
}

const orLeaving = (ready: readonly EndpointInfo[], all: readonly EndpointInfo[]): readonly EndpointInfo[] =>
  ready.length > 0 ? ready : all.filter(isLeaving)

/** The endpoints that each traffic policy may use; lists that no policy asks for are empty. */
export const usableEndpoints = (all: readonly EndpointInfo[], use: PolicyUse, node: NodePlace): UsableEndpoints => {
  const ready = all.filter(endpoint => endpoint.ready)
  const cluster = use.usesCluster ? orLeaving(nearby(ready, node), all) : []
  const here = use.usesLocal ? all.filter(endpoint => endpoint.local) : []
  const local = orLeaving(
    here.filter(endpoint => endpoint.ready),
    here,
  )
  return { cluster, local, any: ready.length > 0 || all.some(isLeaving) }
}
