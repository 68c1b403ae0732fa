// The endpoints behind a Service port, read from its EndpointSlices: a pure reading, no policy yet.
// Follows kube-proxy: conditions that are not given mean ready and not terminating, addresses of a wrong family are passed over,
// and an endpoint that stands in two slices for a moment counts once.
import type { Protocol } from '../api/meta.ts'
import type { Endpoint, EndpointSlice, IPFamily } from '../api/service-types.ts'
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

/** Who serves a port of a Service, by the port's name and protocol: a Service may have tens of thousands of ports. */
export type PortIndex = ReadonlyMap<string, readonly { readonly port: number; readonly endpoints: EndpointSlice['endpoints'] }[]>

const portKey = ({ name, protocol }: Pick<PortRef, 'name' | 'protocol'>): string => `${protocol} ${name}`

/** Slices of one family with their ports at hand; others are passed over. */
export const indexPorts = (slices: readonly EndpointSlice[], family: IPFamily): PortIndex => {
  const index = new Map<string, { readonly port: number; readonly endpoints: EndpointSlice['endpoints'] }[]>()
  for (const { addressType, ports, endpoints } of slices) {
    if (addressType !== family) continue
    for (const { name = '', protocol = 'TCP', port } of ports ?? []) {
      if (port === undefined) continue
      const key = portKey({ name, protocol })
      const entry = { port, endpoints: endpoints ?? [] }
      const known = index.get(key)
      if (known === undefined) index.set(key, [entry])
      else known.push(entry)
    }
  }
  return index
}

/** The endpoints of one Service port, each address and port once; of two that say different things the healthier one counts. */
export const endpointsAt = (index: PortIndex, ref: PortRef, nodeName: string): readonly EndpointInfo[] => {
  const found = new Map<string, EndpointInfo>()
  for (const { port, endpoints } of index.get(portKey(ref)) ?? [])
    for (const endpoint of endpoints) {
      const ip = canonicalAddress(endpoint.addresses[0] ?? '', ref.family)
      if (ip === undefined) continue
      const info = toInfo(endpoint, ip, port, nodeName)
      const key = `${ip} ${port}`
      const other = found.get(key)
      if (other === undefined || rank(other) < rank(info)) found.set(key, info)
    }
  return [...found.values()]
}

/** As endpointsAt, for somebody who asks for one port only. */
export const toEndpoints = (slices: readonly EndpointSlice[], ref: PortRef, nodeName: string): readonly EndpointInfo[] =>
  endpointsAt(indexPorts(slices, ref.family), ref, nodeName)
