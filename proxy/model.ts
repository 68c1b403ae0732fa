// All policy of Service routing, decided once for every backend: which addresses a Service answers on, where each kind of traffic goes,
// what happens when nobody is there, whose source address is hidden, who is remembered and who is kept out. Pure.
// Follows kube-proxy (k8s.io: Virtual IPs and Service Proxies). Backends print these values and decide nothing.
import type { Protocol } from '../api/meta.ts'
import type { EndpointSlice, IPFamily, Service } from '../api/service-types.ts'
import { coversAddress } from './address.ts'
import { type EndpointInfo, endpointsAt, indexPorts } from './endpoints.ts'
import { type ServicePortInfo, toServicePorts } from './services.ts'
import { type NodePlace, usableEndpoints } from './topology.ts'

export type FrontendKind = 'cluster-ip' | 'external-ip' | 'load-balancer' | 'node-port'
/** Reject tells the client at once (nobody could answer); drop keeps still (another node could). */
export type Refusal = 'reject' | 'drop'

export interface Destination {
  readonly ip: string
  readonly port: number
  /** It runs on this node, so it may call itself through the Service. */
  readonly local: boolean
}

/** Where one kind of traffic goes: to one of these, or it is refused when there are none. */
export interface Lane {
  readonly to: readonly Destination[]
  readonly otherwise: Refusal
}

/** One address, protocol and port that a Service answers on. */
export interface Frontend {
  readonly kind: FrontendKind
  readonly family: IPFamily
  /** '' for a node port, which every address of the node serves. */
  readonly ip: string
  readonly protocol: Protocol
  readonly port: number
  /** namespace/name of the Service, and when it was made. */
  readonly service: string
  readonly created: string
  readonly portName: string
  readonly lane: Lane
  /** Traffic of this node and its pods, where it goes elsewhere than traffic from outside (policy Local cuts it short). */
  readonly inside: Lane | undefined
  /** `off-cluster`: only sources that are no pods of the cluster; hairpin traffic is masqueraded in any case. */
  readonly masquerade: 'off-cluster' | 'always' | 'never'
  /** How long a client stays with its endpoint; 0 when it does not. */
  readonly affinitySeconds: number
  /** Only these sources may use it; undefined for everybody. */
  readonly sourceRanges: readonly string[] | undefined
  /** Endpoints whose connections are left alone: all that serve, whatever the policies now say. */
  readonly serving: readonly Destination[]
}

export interface NodeView extends NodePlace {
  /** The node's own addresses, of both families. */
  readonly ips: readonly string[]
}

const toDestination = ({ ip, port, local }: EndpointInfo): Destination => ({ ip, port, local })

/** Names a frontend among all of the node. */
export const frontendKey = ({ family, ip, protocol, port }: Pick<Frontend, 'family' | 'ip' | 'protocol' | 'port'>): string =>
  `${ip || family} ${protocol} ${port}`

/** All frontends of a Service in one family. */
export const toFrontends = (
  service: Service,
  slices: readonly EndpointSlice[],
  family: IPFamily,
  node: NodeView,
): readonly Frontend[] => {
  const ports = toServicePorts(service, family)
  if (ports.length === 0) return []
  const index = indexPorts(slices, family)
  return ports.flatMap(port => portFrontends(port, endpointsAt(index, port, node.name), node))
}

const portFrontends = (port: ServicePortInfo, endpoints: readonly EndpointInfo[], node: NodeView): readonly Frontend[] => {
  const external = port.nodePort !== 0 || port.externalIPs.length > 0 || port.loadBalancerIPs.length > 0
  const usable = usableEndpoints(
    endpoints,
    { usesCluster: !port.internalLocal || external, usesLocal: port.internalLocal || (port.externalLocal && external) },
    node,
  )
  // A policy that keeps traffic on this node drops where others could answer: a client that asks again may come by another way.
  const cluster: Lane = { to: usable.cluster.map(toDestination), otherwise: usable.any ? 'drop' : 'reject' }
  const local: Lane = { to: usable.local.map(toDestination), otherwise: usable.any ? 'drop' : 'reject' }
  const shared = {
    family: port.family,
    protocol: port.protocol,
    service: port.service,
    created: port.created,
    portName: port.name,
    affinitySeconds: port.affinitySeconds,
    serving: port.protocol === 'TCP' ? [] : endpoints.filter(endpoint => endpoint.serving).map(toDestination),
  }
  const outward = {
    ...shared,
    lane: port.externalLocal ? local : cluster,
    // Without any endpoint there is nothing to cut short, and everybody is refused alike.
    inside: port.externalLocal && usable.any ? cluster : undefined,
    masquerade: port.externalLocal ? ('never' as const) : ('always' as const),
  }
  const frontends: Frontend[] = [
    {
      ...shared,
      kind: 'cluster-ip',
      ip: port.clusterIP,
      port: port.port,
      lane: port.internalLocal ? local : cluster,
      inside: undefined,
      masquerade: 'off-cluster',
      sourceRanges: undefined,
    },
  ]
  for (const ip of port.externalIPs)
    frontends.push({ ...outward, kind: 'external-ip', ip, port: port.port, sourceRanges: undefined })
  for (const ip of port.loadBalancerIPs) {
    if (port.externalIPs.includes(ip)) continue
    frontends.push({ ...outward, kind: 'load-balancer', ip, port: port.port, sourceRanges: rangesFor(port, ip, node) })
  }
  if (port.nodePort !== 0)
    frontends.push({ ...outward, kind: 'node-port', ip: '', port: port.nodePort, sourceRanges: port.sourceRanges })
  return frontends
}

/**
 * A balancer's address is often an address of the node too; then the node's own traffic to it has it as its source,
 * and belongs to those who may come in as soon as the node itself does.
 */
const rangesFor = (port: ServicePortInfo, ip: string, node: NodeView): readonly string[] | undefined => {
  const ranges = port.sourceRanges
  if (ranges === undefined || coversAddress(ranges, ip, port.family)) return ranges
  const fromNode = node.ips.some(address => coversAddress(ranges, address, port.family))
  return fromNode ? [...ranges, `${ip}/${port.family === 'IPv4' ? 32 : 128}`] : ranges
}

const sameList = <T>(a: readonly T[], b: readonly T[], same: (x: T, y: T) => boolean): boolean =>
  a === b || (a.length === b.length && a.every((x, index) => same(x, b[index]!)))

const sameDestination = (a: Destination, b: Destination): boolean => a.ip === b.ip && a.port === b.port && a.local === b.local

const sameLane = (a: Lane | undefined, b: Lane | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && a.otherwise === b.otherwise && sameList(a.to, b.to, sameDestination))

/** True when no backend and no conntrack rule could tell the two apart. */
export const sameFrontend = (a: Frontend, b: Frontend): boolean =>
  a.kind === b.kind &&
  a.masquerade === b.masquerade &&
  a.affinitySeconds === b.affinitySeconds &&
  a.service === b.service &&
  sameLane(a.lane, b.lane) &&
  sameLane(a.inside, b.inside) &&
  sameList(a.sourceRanges ?? [], b.sourceRanges ?? [], Object.is) &&
  (a.sourceRanges === undefined) === (b.sourceRanges === undefined) &&
  sameList(a.serving, b.serving, sameDestination)
