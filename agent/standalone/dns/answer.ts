// Answers for the names of the cluster: a pure function from a question and the zone to records. No packets, no sockets, no clock.
// Follows the Kubernetes DNS specification 1.1.0 (records of Services, endpoints, ports, addresses, pods) and RFC 2308:
// a name that exists without a record of the asked type is NODATA, one that does not exist is NXDOMAIN, both with the SOA.
import type { Answer } from 'dns-packet'
import type { Endpoint, EndpointSlice, Service, ServicePort } from '../../../api/service-types.ts'
import { type Cidr, contains, parseAddress } from '../../../host/address.ts'
import { isHeadless } from '../families.ts'
import { type Asked, askedBy, dashed, normalName } from './names.ts'
import type { Zone } from './zone.ts'

export interface ZoneConfig {
  /** The cluster domain in normal form: `cluster.local`. */
  readonly domain: string
  /** Addresses that the responder itself is reached at. */
  readonly addresses: readonly string[]
  /** Ranges of Services: an address in them that is nobody's is known not to have a name. */
  readonly ranges: readonly Cidr[]
}

export type Rcode = 'NOERROR' | 'FORMERR' | 'SERVFAIL' | 'NXDOMAIN' | 'NOTIMP' | 'REFUSED'

export interface Reply {
  readonly rcode: Rcode
  readonly authoritative: boolean
  readonly answers: readonly Answer[]
  readonly authorities: readonly Answer[]
  readonly additionals: readonly Answer[]
  /** The answers end in an alias for this name, whose records the client wants too. */
  readonly alias?: string
}

export interface Asking {
  /** As the client wrote it. */
  readonly name: string
  readonly type: string
}

/** Seconds that an answer may be kept: short, since pods come and go and there is nobody who would be spared a round trip. */
export const zoneTtl = 5

const reply = (rcode: Rcode, parts: Partial<Reply> = {}): Reply => ({
  rcode,
  authoritative: true,
  answers: [],
  authorities: [],
  additionals: [],
  ...parts,
})

/** A reply that is nothing but its code. */
export const bareReply = (rcode: Rcode): Reply => reply(rcode, { authoritative: false })

const soaOf = ({ domain }: ZoneConfig): Answer => ({
  type: 'SOA',
  name: domain,
  ttl: zoneTtl,
  data: {
    mname: `ns.dns.${domain}`,
    rname: `hostmaster.${domain}`,
    serial: 1,
    refresh: 7_200,
    retry: 1_800,
    expire: 86_400,
    minimum: zoneTtl,
  },
})

const isType = (asked: string, type: string): boolean => asked === type || asked === 'ANY'

const addressRecords = (name: string, type: string, addresses: Iterable<string>): readonly Answer[] =>
  [...new Set(addresses)].flatMap((address): readonly Answer[] => {
    const kind = parseAddress(address)?.family === 'IPv6' ? 'AAAA' : 'A'
    return isType(type, kind) ? [{ type: kind, name, ttl: zoneTtl, data: address }] : []
  })

const isReadyEndpoint = ({ conditions }: Endpoint): boolean => conditions?.ready !== false

const hostOf = (endpoint: Endpoint, address: string): string => endpoint.hostname?.toLowerCase() ?? dashed(address)

interface Target {
  readonly host: string
  readonly address: string
  readonly slice: EndpointSlice
}

/** Every address of every ready endpoint, with the host name that it has below its Service. */
const targetsOf = (slices: readonly EndpointSlice[]): readonly Target[] =>
  slices.flatMap(slice =>
    slice.endpoints
      .filter(isReadyEndpoint)
      .flatMap(endpoint => endpoint.addresses.map(address => ({ host: hostOf(endpoint, address), address, slice }))),
  )

const clusterIPsOf = ({ spec }: Service): readonly string[] =>
  spec.clusterIPs ?? (spec.clusterIP === undefined ? [] : [spec.clusterIP])

const fullName = ({ domain }: ZoneConfig, namespace: string, service: string): string => `${service}.${namespace}.svc.${domain}`

const protocolOf = ({ protocol }: { readonly protocol?: string }): string => (protocol ?? 'TCP').toLowerCase()

/** A name that can be written into a packet. */
const isWritable = (name: string): boolean =>
  name.length <= 253 && name.split('.').every(label => label.length > 0 && Buffer.byteLength(label) <= 63)

interface Ask {
  readonly asking: Asking
  readonly zone: Zone
  readonly config: ZoneConfig
}

/** Records, or NODATA when the name exists without any of this type. */
const found = ({ config }: Ask, answers: readonly Answer[], additionals: readonly Answer[] = []): Reply =>
  answers.length > 0 ? reply('NOERROR', { answers, additionals }) : reply('NOERROR', { authorities: [soaOf(config)] })

const missing = ({ config }: Ask): Reply => reply('NXDOMAIN', { authorities: [soaOf(config)] })

const aliasOf = (ask: Ask, service: Service): Reply => {
  const alias = (service.spec.externalName ?? '').replace(/\.$/, '')
  if (!isWritable(alias)) return bareReply('SERVFAIL')
  const answers: readonly Answer[] = [{ type: 'CNAME', name: ask.asking.name, ttl: zoneTtl, data: alias }]
  return reply('NOERROR', { answers, ...(!isType(ask.asking.type, 'CNAME') && { alias }) })
}

const serviceReply = (ask: Ask, asked: Extract<Asked, { kind: 'service' }>): Reply => {
  const { asking, zone } = ask
  const service = zone.service(asked.namespace, asked.service)
  if (service === undefined) return missing(ask)
  if (service.spec.type === 'ExternalName') return aliasOf(ask, service)
  const addresses = isHeadless(service.spec)
    ? targetsOf(zone.slices(asked.namespace, asked.service)).map(({ address }) => address)
    : clusterIPsOf(service)
  return found(ask, addressRecords(asking.name, asking.type, addresses))
}

const endpointReply = (ask: Ask, asked: Extract<Asked, { kind: 'endpoint' }>): Reply => {
  const service = ask.zone.service(asked.namespace, asked.service)
  if (service === undefined || !isHeadless(service.spec)) return missing(ask)
  const targets = targetsOf(ask.zone.slices(asked.namespace, asked.service)).filter(({ host }) => host === asked.host)
  if (targets.length === 0) return missing(ask)
  const addresses = targets.map(({ address }) => address)
  return found(ask, addressRecords(ask.asking.name, ask.asking.type, addresses))
}

const srvRecord = (name: string, port: number, target: string): Answer => ({
  type: 'SRV',
  name,
  ttl: zoneTtl,
  data: { priority: 0, weight: 100, port, target },
})

const headlessSrv = (ask: Ask, asked: Extract<Asked, { kind: 'port' }>): Reply => {
  const parent = fullName(ask.config, asked.namespace, asked.service)
  const matches = targetsOf(ask.zone.slices(asked.namespace, asked.service)).flatMap(target =>
    target.slice.ports
      .filter(port => port.name === asked.port && protocolOf(port) === asked.protocol)
      .map(({ port = 0 }) => ({ name: `${target.host}.${parent}`, port, address: target.address })),
  )
  // A host that has an address of each family is one target.
  const targets = new Map(matches.map(({ name, port }) => [`${port} ${name}`, { name, port }]))
  return found(
    ask,
    [...targets.values()].map(({ name, port }) => srvRecord(ask.asking.name, port, name)),
    matches.flatMap(({ name, address }) => addressRecords(name, 'ANY', [address])),
  )
}

const portReply = (ask: Ask, asked: Extract<Asked, { kind: 'port' }>): Reply => {
  const service = ask.zone.service(asked.namespace, asked.service)
  const named = (service?.spec.ports ?? []).filter((port: ServicePort) => port.name && protocolOf(port) === asked.protocol)
  const port = asked.port === undefined ? named[0] : named.find(({ name }) => name === asked.port)
  if (service === undefined || port === undefined || service.spec.type === 'ExternalName') return missing(ask)
  if (asked.port === undefined || !isType(ask.asking.type, 'SRV')) return found(ask, [])
  if (isHeadless(service.spec)) return headlessSrv(ask, asked)
  const target = fullName(ask.config, asked.namespace, asked.service)
  return found(ask, [srvRecord(ask.asking.name, port.port, target)], addressRecords(target, 'ANY', clusterIPsOf(service)))
}

const namesOfAddress = ({ zone, config }: Ask, address: string): readonly string[] =>
  zone.servicesAt(address).flatMap(service => {
    const { namespace = '', name } = service.metadata
    const parent = fullName(config, namespace, name)
    if (clusterIPsOf(service).includes(address)) return [parent]
    if (!isHeadless(service.spec)) return []
    return targetsOf(zone.slices(namespace, name)).flatMap(target =>
      target.address === address ? [`${target.host}.${parent}`] : [],
    )
  })

const addressReply = (ask: Ask, address: string): Reply | 'forward' => {
  const { asking, config } = ask
  const names = [...new Set(namesOfAddress(ask, address))]
  if (names.length > 0) {
    // No SOA beside these: the reverse zones are not ours, only these names are.
    const answers = isType(asking.type, 'PTR') ? names : []
    return reply('NOERROR', { answers: answers.map(data => ({ type: 'PTR', name: asking.name, ttl: zoneTtl, data })) })
  }
  const parsed = parseAddress(address)
  const isOurs = parsed !== undefined && config.ranges.some(range => contains(range, parsed))
  return isOurs ? reply('NXDOMAIN') : 'forward'
}

const apexReply = (ask: Ask): Reply => {
  const { asking, config } = ask
  const server = `ns.dns.${config.domain}`
  const soa = isType(asking.type, 'SOA') ? [soaOf(config)] : []
  const ns: readonly Answer[] = isType(asking.type, 'NS') ? [{ type: 'NS', name: config.domain, ttl: zoneTtl, data: server }] : []
  return found(ask, [...soa, ...ns], ns.length > 0 ? addressRecords(server, 'ANY', config.addresses) : [])
}

/**
 * The answer to a question of class IN.
 * @returns `forward` when neither the name nor the address is the cluster's
 */
export const answer = (asking: Asking, zone: Zone, config: ZoneConfig): Reply | 'forward' => {
  const ask: Ask = { asking, zone, config }
  const asked = askedBy(normalName(asking.name), config.domain)
  if (asked.kind === 'outside') return 'forward'
  // Before everything is known, "there is none" would be a lie that clients remember.
  if (!zone.isSynced && asked.kind !== 'address') return bareReply('SERVFAIL')
  switch (asked.kind) {
    case 'nothing':
      return missing(ask)
    case 'apex':
      return apexReply(ask)
    case 'branch':
      return found(ask, [])
    case 'version':
      return found(ask, isType(asking.type, 'TXT') ? [{ type: 'TXT', name: asking.name, ttl: zoneTtl, data: '1.1.0' }] : [])
    case 'server':
      return found(ask, addressRecords(asking.name, asking.type, config.addresses))
    case 'namespace':
      return zone.hasNamespace(asked.namespace) ? found(ask, []) : missing(ask)
    case 'service':
      return serviceReply(ask, asked)
    case 'endpoint':
      return endpointReply(ask, asked)
    case 'port':
      return portReply(ask, asked)
    case 'pod':
      return zone.hasPod(asked.namespace, asked.address)
        ? found(ask, addressRecords(asking.name, asking.type, [asked.address]))
        : missing(ask)
    case 'address':
      return addressReply(ask, asked.address)
  }
}
