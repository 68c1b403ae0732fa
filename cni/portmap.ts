// hostPorts as elements of four maps: the port on one host address, or on all, per family. A duplicate cannot exist, and a change
// is one element. Compiles text for nftables and arguments for conntrack(8); masq.ts lays out the table around the maps. Pure.
// Follows the reference portmap plugin: no hostIP means every local address of both families, 0.0.0.0 and :: those of one.

import { formatAddress, parseAddress } from '../host/address.ts'
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

/**
 * The conntrack(8) calls that forget flows which a change of hostPorts leaves behind. TCP flows end by themselves;
 * a UDP or SCTP client that keeps sending keeps its entry, and with it the address of a pod that is gone, for ever.
 * @param gone the pod is going: only flows to it are meant; otherwise all to its hostPorts, which so far went elsewhere
 */
export const staleFlows = (
  { ports, addresses }: Pick<Attachment, 'ports' | 'addresses'>,
  gone: boolean,
): readonly (readonly string[])[] =>
  ports
    .filter(({ protocol }) => protocol !== 'tcp')
    .flatMap(mapping =>
      addresses
        .filter(({ address }) => elementsOf(mapping, address).length > 0)
        .map(({ address }) => {
          const pod = address.slice(0, address.indexOf('/'))
          const on = parseAddress(mapping.hostIP)
          return [
            ...['conntrack', '-D', '-f', pod.includes(':') ? 'ipv6' : 'ipv4', '-p', mapping.protocol],
            ...['--orig-port-dst', String(mapping.hostPort)],
            ...(on !== undefined && on.value !== 0n ? ['--orig-dst', formatAddress(on)] : []),
            ...(gone ? ['--reply-src', pod] : []),
          ]
        }),
    )
