// hostPorts as elements of four maps: the port on one host address, or on all, per family. A duplicate cannot exist, and a change
// is one element. Compiles text for nftables and tells which tracked flows a change leaves behind; masq.ts lays out the table around
// the maps. Pure.
// Follows the reference portmap plugin: no hostIP means every local address of both families, 0.0.0.0 and :: those of one.

import { formatAddress, parseAddress } from '../host/address.ts'
import type { Flow } from '../host/conntrack.ts'
import type { PortMapping } from './conf.ts'
import type { Attachment } from './store.ts'

export const table = 'inet nodelet-cni'

type PortMap = 'hostports4' | 'hostports6' | 'anyports4' | 'anyports6'

export interface PortElement {
  readonly map: PortMap
  readonly key: string
  readonly target: string
}

const elementsOf = (mapping: PortMapping, podAddress: string): readonly PortElement[] => {
  const pod = podAddress.slice(0, podAddress.indexOf('/'))
  const family = pod.includes(':') ? 'IPv6' : 'IPv4'
  const digit = family === 'IPv6' ? 6 : 4
  const { hostIP, protocol, hostPort, containerPort } = mapping
  const target = `${pod} . ${containerPort}`
  const any = { map: `anyports${digit}`, key: `${protocol} . ${hostPort}`, target } as const
  const on = parseAddress(hostIP)
  if (on === undefined) return [any]
  if (on.family !== family) return []
  if (on.value === 0n) return [any]
  return [{ map: `hostports${digit}`, key: `${formatAddress(on)} . ${protocol} . ${hostPort}`, target }]
}

/** The elements of an attachment's hostPorts. */
export const portElements = ({ ports, addresses }: Pick<Attachment, 'ports' | 'addresses'>): readonly PortElement[] =>
  ports.flatMap(mapping => addresses.flatMap(({ address }) => elementsOf(mapping, address)))

/** The lines of a transaction that add elements. */
export const addElements = (elements: readonly PortElement[]): readonly string[] =>
  elements.map(({ map, key, target }) => `add element ${table} ${map} { ${key} : ${target} }`)

/** The lines that remove elements; adding each first keeps them from failing where somebody flushed the map. */
export const removeElements = (elements: readonly PortElement[]): readonly string[] => [
  ...addElements(elements),
  ...elements.map(({ map, key }) => `delete element ${table} ${map} { ${key} }`),
]

export interface PortConflict {
  readonly mapping: string
  readonly owner: Attachment
}

/**
 * The first hostPort that somebody else has already.
 * @param addresses any address of each family that the pod will have
 */
export const conflictOf = (
  ports: readonly PortMapping[],
  addresses: readonly string[],
  others: readonly Attachment[],
): PortConflict | undefined => {
  const wanted = new Set(ports.flatMap(mapping => addresses.flatMap(address => elementsOf(mapping, address))).map(slotOf))
  if (wanted.size === 0) return undefined
  for (const owner of others)
    for (const element of portElements(owner))
      if (wanted.has(slotOf(element))) return { mapping: element.key.split(' . ').slice(-2).reverse().join('/'), owner }
  return undefined
}

const slotOf = ({ map, key }: PortElement): string => `${map} ${key}`

/** A hostPort of UDP or SCTP in one family. TCP flows end by themselves. */
export interface FlowPort {
  readonly family: Flow['family']
  readonly protocol: Flow['protocol']
  readonly hostPort: number
  readonly containerPort: number
  readonly pod: string
  /** Undefined for every local address. */
  readonly hostIP: string | undefined
}

/** The hostPorts whose flows outlive a change: a client that keeps sending keeps its entry, and with it the pod that is gone. */
export const flowPorts = ({ ports, addresses }: Pick<Attachment, 'ports' | 'addresses'>): readonly FlowPort[] =>
  ports
    .filter(({ protocol }) => protocol !== 'tcp')
    .flatMap(mapping =>
      addresses
        .filter(({ address }) => elementsOf(mapping, address).length > 0)
        .map(({ address }): FlowPort => {
          const pod = address.slice(0, address.indexOf('/'))
          const on = parseAddress(mapping.hostIP)
          return {
            family: pod.includes(':') ? 'IPv6' : 'IPv4',
            protocol: mapping.protocol === 'udp' ? 'UDP' : 'SCTP',
            hostPort: mapping.hostPort,
            containerPort: mapping.containerPort,
            pod,
            hostIP: on === undefined || on.value === 0n ? undefined : formatAddress(on),
          }
        }),
    )

/**
 * Flows that a change of a hostPort leaves behind: of a pod that is going those to it, of one that comes those that went elsewhere so far.
 * @param local the host's own addresses: what is sent to another host's same port is nobody's here
 */
export const staleFlows = (
  flows: readonly Flow[],
  { family, protocol, hostPort, containerPort, pod, hostIP }: FlowPort,
  change: { readonly gone: true } | { readonly gone: false; readonly local: ReadonlySet<string> },
): readonly Flow[] =>
  flows.filter(flow => {
    if (flow.family !== family || flow.protocol !== protocol || flow.toPort !== hostPort) return false
    if (hostIP !== undefined && flow.to !== hostIP) return false
    const isToPod = flow.answeredBy === pod && flow.answeredByPort === containerPort
    return change.gone ? isToPod : !isToPod && (hostIP !== undefined || change.local.has(flow.to))
  })
