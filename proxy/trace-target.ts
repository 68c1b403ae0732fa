// What a trace is about: finds the Service that a name or an address and port means. Pure; what is not there is a Fault that says
// what comes near, and what becomes of a packet that no Service takes.
import { isIP } from 'node:net'
import { type EndpointSlice, type IPFamily, type Service, serviceNameLabel } from '../api/service-types.ts'
import { nearest } from '../api/validate/nearest.ts'
import { canonicalAddress } from '../host/address.ts'
import { Fault } from '../host/fault.ts'
import { type Frontend, type NodeView, toFrontends } from './model.ts'
import type { TraceQuery } from './trace-types.ts'

export interface Found {
  readonly service: Service
  readonly slices: readonly EndpointSlice[]
  readonly frontends: readonly Frontend[]
}

/** An address and port that no Service has: why, and what a packet meets. */
export interface Unclaimed {
  readonly notes: readonly string[]
}

interface Cluster {
  readonly services: readonly Service[]
  readonly slices: readonly EndpointSlice[]
  readonly node: NodeView
  readonly families: readonly IPFamily[]
}

const nameOf = ({ metadata }: Service): string => `${metadata.namespace ?? ''}/${metadata.name}`

/** The slices of a Service. */
export const slicesOf = (service: Service, slices: readonly EndpointSlice[]): readonly EndpointSlice[] =>
  slices.filter(
    ({ metadata }) =>
      metadata.labels?.[serviceNameLabel] === service.metadata.name && metadata.namespace === service.metadata.namespace,
  )

/** `10.96.0.1:80` or `[fd00::1]:80`; undefined when it is no address. @throws Fault `bad-config` when the port is none */
export const parseAddressPort = (text: string): { readonly ip: string; readonly port: number } | undefined => {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]*))(?::([^:]*))?$/.exec(text) ?? []
  // An IPv6 address without brackets has no port that could be told from it.
  const host = bracketed ?? plain ?? text
  const ip = canonicalAddress(host)
  if (ip === undefined) return undefined
  const port = Number(digits)
  if (digits === undefined || !/^\d+$/.test(digits) || port < 1 || port > 65_535) {
    const example = isIP(host) === 6 ? `[${host}]:80` : `${host}:80`
    throw new Fault('bad-config', `"${text}": want an address and a port, such as ${example}`, { retry: 'never' })
  }
  return { ip, port }
}

const findService = ({ target, namespace }: TraceQuery, services: readonly Service[]) => {
  const [bare = '', port] = target.replace(/^(svc|service|services)\//, '').split(':')
  const [first = '', second] = bare.split('/')
  const wanted = second === undefined ? `${namespace}/${first}` : `${first}/${second}`
  const service = services.find(one => nameOf(one) === wanted)
  if (service !== undefined) return { service, port }
  const name = second ?? first
  const elsewhere = services.filter(one => one.metadata.name === name).map(nameOf)
  const near =
    nearest(wanted, services.map(nameOf)) ??
    nearest(
      name,
      services.map(one => one.metadata.name),
    )
  const hint = elsewhere.length > 0 ? elsewhere.slice(0, 3).join(', ') : near
  throw new Fault('not-found', `service "${wanted}" not found${hint === undefined ? '' : `; there is ${hint}`}`, {
    retry: 'never',
  })
}

const toFound = (service: Service, { slices, node, families }: Cluster): Found => {
  const own = slicesOf(service, slices)
  return { service, slices: own, frontends: families.flatMap(family => toFrontends(service, own, family, node)) }
}

const byName = (query: TraceQuery, cluster: Cluster): Found => {
  const { service, port } = findService(query, cluster.services)
  const found = toFound(service, cluster)
  const frontends = found.frontends.filter(
    it =>
      (query.protocol === undefined || it.protocol === query.protocol) &&
      (port === undefined || it.portName === port || portOf(service, it) === Number(port)),
  )
  if (frontends.length === 0 && found.frontends.length > 0) {
    const ports = (service.spec.ports ?? []).map(it => `${it.name ?? it.port} (${it.port}/${it.protocol ?? 'TCP'})`)
    throw new Fault('not-found', `service ${nameOf(service)} has no such port; it has ${ports.join(', ')}`, { retry: 'never' })
  }
  return { ...found, frontends }
}

const portOf = ({ spec }: Service, { portName, protocol }: Frontend): number | undefined =>
  spec.ports?.find(it => (it.name ?? '') === portName && (it.protocol ?? 'TCP') === protocol)?.port

/** Asked of every Service of the node before the costlier question what it answers on. */
const mentions = ({ spec, status }: Service, ip: string, port: number): boolean =>
  spec.ports?.some(it => it.nodePort === port) === true ||
  [spec.clusterIP, ...(spec.clusterIPs ?? []), ...(spec.externalIPs ?? [])]
    .concat(status?.loadBalancer?.ingress?.map(it => it.ip) ?? [])
    .some(text => text !== undefined && (text === ip || canonicalAddress(text) === ip))

const byAddress = (
  { ip, port }: { ip: string; port: number },
  query: TraceQuery,
  cluster: Cluster,
): readonly Found[] | Unclaimed => {
  const family: IPFamily = ip.includes(':') ? 'IPv6' : 'IPv4'
  const isNode = cluster.node.ips.includes(ip)
  const mentioned = cluster.services.filter(service => mentions(service, ip, port))
  const founds = mentioned.flatMap(service => {
    const found = toFound(service, { ...cluster, families: [family] })
    const frontends = found.frontends.filter(
      it =>
        it.port === port &&
        (it.ip === ip || (it.kind === 'node-port' && isNode)) &&
        (query.protocol === undefined || it.protocol === query.protocol),
    )
    return frontends.length === 0 ? [] : [{ ...found, frontends }]
  })
  if (founds.length > 0) return founds
  const owners = mentioned.filter(service => toFound(service, cluster).frontends.some(it => it.ip === ip))
  return { notes: [whyUnclaimed({ ip, port }, isNode, owners, cluster)] }
}

const whyUnclaimed = (
  { ip, port }: { ip: string; port: number },
  isNode: boolean,
  owners: readonly Service[],
  { slices }: Cluster,
): string => {
  const [owner] = owners
  if (owner !== undefined) {
    const ports = (owner.spec.ports ?? []).map(it => `${it.port}/${it.protocol ?? 'TCP'}`).join(', ')
    return `${ip} belongs to ${nameOf(owner)}, which has no port ${port} (it has ${ports}): new connections are rejected`
  }
  if (isNode) return `${ip} is this node, and no Service has node port ${port}: no rule of Services meets the packet`
  const backed = new Set(
    slices
      .filter(slice => slice.endpoints?.some(({ addresses }) => addresses.includes(ip)))
      .map(({ metadata }) => `${metadata.namespace ?? ''}/${metadata.labels?.[serviceNameLabel] ?? metadata.name}`),
  )
  if (backed.size > 0)
    return `no Service has the address ${ip}; it is an endpoint of ${[...backed].join(', ')}: a packet to it goes there as it is`
  return `no Service has the address ${ip}: no rule of Services meets the packet`
}

/**
 * The Services and frontends that are meant: one Service by its name, or each that claims the address and port.
 * @throws Fault `not-found` with names that come near, `bad-config` for an address without a port
 */
export const resolveTarget = (query: TraceQuery, cluster: Cluster): readonly Found[] | Unclaimed => {
  const address = parseAddressPort(query.target)
  return address === undefined ? [byName(query, cluster)] : byAddress(address, query, cluster)
}

/** What is to be known of a Service as a whole; why nothing of it is routed, when nothing is. */
export const serviceNotes = ({ service, slices, frontends }: Found): readonly string[] => {
  const { spec, metadata } = service
  const notes: string[] = []
  if (frontends.length === 0) {
    const other = metadata.labels?.['service.kubernetes.io/service-proxy-name']
    if (spec.type === 'ExternalName')
      notes.push(`it is a name for ${spec.externalName ?? '?'} and has no address: nothing is routed`)
    else if (spec.clusterIP === 'None') notes.push('it is headless: clients get the addresses of its pods, and nothing is routed')
    else if (other !== undefined) notes.push(`it is left to another proxy, by its label service-proxy-name: ${other}`)
    else notes.push('it has no cluster IP that this node can route: nothing is routed')
  }
  const named = new Set(slices.flatMap(slice => (slice.ports ?? []).map(it => it.name ?? '')))
  const sliceFamilies = new Set(slices.map(({ addressType }) => addressType))
  const bare = [...new Set(frontends.map(({ family }) => family))].filter(family => !sliceFamilies.has(family))
  if (slices.length === 0) notes.push('it has no EndpointSlice: no pod matches its selector, or its controller has not made one')
  else if (bare.length > 0)
    notes.push(`it has no EndpointSlice for ${bare.join(', ')}, only for ${[...sliceFamilies].join(', ')}`)
  else
    for (const { name = '' } of spec.ports ?? [])
      if (named.size > 0 && !named.has(name))
        notes.push(`its EndpointSlices have no port "${name}", only ${[...named].map(it => `"${it}"`).join(', ')}`)
  if (spec.publishNotReadyAddresses) notes.push('publishNotReadyAddresses: pods count as ready whatever they say')
  return notes
}
