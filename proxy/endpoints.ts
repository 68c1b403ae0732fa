// The endpoints behind a Service port, read from its EndpointSlices: a pure reading, no policy yet.
// Follows kube-proxy: conditions that are not given mean ready and not terminating, addresses of a wrong family are passed over,
// and an endpoint that stands in two slices for a moment counts once.
import type { Endpoint, EndpointSlice, IPFamily, Protocol } from '../api/types.ts'
import { canonicalAddress } from './address.ts'

export interface EndpointInfo {
  readonly ip: string
  readonly port: number
  readonly ready: boolean
  readonly serving: boolean
  readonly terminating: boolean
  /** It runs on this node. */
  readonly local: boolean
  readonly forZones: readonly string[]
  readonly forNodes: readonly string[]
}

/** Names a Service port among the ports of its slices. */
export interface PortRef {
  readonly name: string
  readonly protocol: Protocol
  readonly family: IPFamily
}

const none: readonly string[] = []
const names = (hints: readonly { readonly name: string }[] | undefined): readonly string[] =>
  hints?.map(({ name }) => name) ?? none

const toInfo = (endpoint: Endpoint, ip: string, port: number, nodeName: string): EndpointInfo => {
  const { ready = true, serving = ready, terminating = false } = endpoint.conditions ?? {}
  return {
    ip,
    port,
    ready,
    serving,
    terminating,
    local: endpoint.nodeName !== undefined && endpoint.nodeName === nodeName,
    forZones: names(endpoint.hints?.forZones),
    forNodes: names(endpoint.hints?.forNodes),
  }
}

const rank = ({ ready, serving }: EndpointInfo): number => (ready ? 2 : serving ? 1 : 0)

/** The endpoints of one Service port, each address and port once; of two that say different things the healthier one counts. */
export const toEndpoints = (slices: readonly EndpointSlice[], ref: PortRef, nodeName: string): readonly EndpointInfo[] => {
  const found = new Map<string, EndpointInfo>()
  for (const slice of slices) {
    if (slice.addressType !== ref.family) continue
    for (const { name = '', protocol = 'TCP', port } of slice.ports ?? []) {
      if (port === undefined || name !== ref.name || protocol !== ref.protocol) continue
      for (const endpoint of slice.endpoints ?? []) {
        const ip = canonicalAddress(endpoint.addresses[0] ?? '', ref.family)
        if (ip === undefined) continue
        const info = toInfo(endpoint, ip, port, nodeName)
        const key = `${ip} ${port}`
        const other = found.get(key)
        if (other === undefined || rank(other) < rank(info)) found.set(key, info)
      }
    }
  }
  return [...found.values()]
}
