// Cluster IPs and node ports: who has which, and what a Service gets. No I/O, no clock: the same Services and the same memory
// give the same result. An address is looked for first where a hash of the Service's name points, so that a lost memory mostly
// leads to the same addresses again. What a manifest names is taken as it is or refused, never replaced by something else.
// Stands in for the apiserver's allocation of a created Service (k8s.io: Service ClusterIP allocation).

import { fullName } from '../../api/pod.ts'
import type { Service } from '../../api/service-types.ts'
import { addressAt, type Cidr, canonicalAddress, parseCidr } from '../../host/address.ts'
import { byText } from '../../host/order.ts'
import { claimClusterIPs, claimNamed, rangeOf } from './cluster-ips.ts'
import { chooseFamilies, type FamilyChoice, isHeadless } from './families.ts'
import { claimNamedPort, claimNodePorts, mayHaveNodePorts, type PortRange, type PortsHeld, portKey } from './node-ports.ts'
import { createPool, type Pool } from './pool.ts'

export const defaultNodePorts: PortRange = { first: 30_000, last: 32_767 }

export interface AllocationRules {
  /** At most one of each family; the first is the default family. */
  readonly ranges: readonly Cidr[]
  readonly nodePorts: PortRange
  /** Addresses kept for one Service each (its key), whether that Service is there or not. */
  readonly reserved: ReadonlyMap<string, string>
}

/** What one Service has been given. */
export interface Holding extends PortsHeld {
  readonly clusterIPs: readonly string[]
}

/** By namespace/name. */
export type Allocations = Readonly<Record<string, Holding>>

export interface Outcome {
  /** The Service with its addresses and ports; undefined when it is refused. */
  readonly service: Service | undefined
  readonly problems: readonly string[]
}

export interface Ledger {
  /** Gives all these Services what they need at once: what they had first, then what they name, then anything free. */
  placeAll(services: readonly Service[], remembered: Allocations): ReadonlyMap<string, Outcome>
  /** Gives one new or changed Service what it needs; it keeps what it had where it still may. */
  place(service: Service): Outcome
  release(key: string): void
  /** What every Service holds: the memory of the next start. */
  holdings(): Allocations
}

/** The address of the range that kubeadm gives to cluster DNS: the tenth. */
export const dnsAddressOf = (range: Cidr): string | undefined => addressAt(range, 10n)

/**
 * Rules for these service CIDRs (checked by the configuration's reader), with the first address of each kept for
 * `kubernetes` and that of cluster DNS (default: the tenth) for `kube-dns`.
 */
export const createRules = (
  serviceCIDRs: readonly string[],
  nodePorts: PortRange = defaultNodePorts,
  clusterDNS?: readonly string[],
): AllocationRules => {
  const ranges = serviceCIDRs.map(parseCidr).filter(range => range !== undefined)
  const dns = (clusterDNS ?? ranges.map(dnsAddressOf)).map(address => address && canonicalAddress(address))
  const reserved = new Map<string, string>()
  for (const range of ranges) reserved.set(addressAt(range, 1n) ?? '', 'default/kubernetes')
  for (const address of dns) if (address !== undefined && address !== '') reserved.set(address, 'kube-system/kube-dns')
  return { ranges, nodePorts, reserved }
}

export const serviceKey: (service: Service) => string = fullName

interface Books {
  readonly rules: AllocationRules
  readonly addresses: Pool<string>
  readonly ports: Pool<number>
  readonly held: Map<string, Holding>
}

const nothingHeld: Holding = { clusterIPs: [], nodePorts: {} }

const familiesOf = ({ rules }: Books, { spec }: Service): FamilyChoice =>
  chooseFamilies(
    spec,
    rules.ranges.map(range => range.family),
  )

const release = ({ addresses, ports, held }: Books, key: string): void => {
  addresses.keepOnly(key, new Set())
  ports.keepOnly(key, new Set())
  held.delete(key)
}

const portsOf = ({ nodePorts, healthCheckNodePort }: PortsHeld): ReadonlySet<number> =>
  new Set([...Object.values(nodePorts), ...(healthCheckNodePort === undefined ? [] : [healthCheckNodePort])])

/** Writes down what a Service holds and lets go of what else it had claimed. */
const settle = ({ addresses, ports, held }: Books, key: string, holding: Holding): void => {
  addresses.keepOnly(key, new Set(holding.clusterIPs))
  ports.keepOnly(key, portsOf(holding))
  held.set(key, holding)
}

const refuse = (books: Books, key: string, problem: string): Outcome => {
  release(books, key)
  return { service: undefined, problems: [`${problem}; the Service is left out`] }
}

const placeExternalName = (books: Books, service: Service): Outcome => {
  release(books, serviceKey(service))
  const { clusterIP: _ip, clusterIPs: _ips, ...spec } = service.spec
  return { service: { ...service, spec }, problems: [] }
}

const place = (books: Books, service: Service): Outcome => {
  const { rules, addresses, held } = books
  const key = serviceKey(service)
  if (service.spec.type === 'ExternalName') return placeExternalName(books, service)
  const before = held.get(key) ?? nothingHeld
  const choice = familiesOf(books, service)
  if ('problem' in choice) return refuse(books, key, choice.problem)
  const headless = isHeadless(service.spec)
  if (headless && mayHaveNodePorts(service.spec))
    return refuse(books, key, `clusterIP None is not for a Service of type ${service.spec.type}`)
  const clusterIPs = headless ? [] : claimClusterIPs(rules.ranges, addresses, key, choice.ok, before.clusterIPs)
  if (typeof clusterIPs === 'string') return refuse(books, key, clusterIPs)
  const { ports, healthCheckNodePort, problems } = claimNodePorts(rules.nodePorts, books.ports, key, service.spec, before)
  const health = healthCheckNodePort === undefined ? {} : { healthCheckNodePort }
  const nodePorts = Object.fromEntries(ports.flatMap(port => (port.nodePort ? [[portKey(port), port.nodePort]] : [])))
  settle(books, key, { clusterIPs, nodePorts, ...health })
  const { healthCheckNodePort: _, ...spec } = service.spec
  const families = { ipFamilies: choice.ok.families, ipFamilyPolicy: choice.ok.policy }
  const shown = { clusterIP: clusterIPs[0] ?? 'None', clusterIPs: headless ? ['None'] : clusterIPs }
  return {
    service: { ...service, spec: { ...spec, ...shown, ...families, ...health, ...(service.spec.ports && { ports }) } },
    problems,
  }
}

/** Keeps for a Service what it had, before any other is given something: an owner keeps its address against a newcomer. */
const claimRemembered = (books: Books, service: Service, holding: Holding | undefined): void => {
  const { rules, addresses, ports, held } = books
  const key = serviceKey(service)
  if (service.spec.type === 'ExternalName' || holding === undefined) return
  held.set(key, holding)
  const choice = familiesOf(books, service)
  const named = 'ok' in choice ? choice.ok.given : []
  const kept = named.length === 0 ? holding.clusterIPs : holding.clusterIPs.filter(address => named.includes(address))
  for (const address of kept) if (rangeOf(rules.ranges, address) && addresses.mayHave(key, address)) addresses.claim(key, address)
  for (const port of portsOf(holding)) claimNamedPort(rules.nodePorts, ports, key, port)
}

/** Keeps for a Service what its manifest names, before any other is given something that nobody named. */
const claimWritten = (books: Books, service: Service): void => {
  const { rules, addresses, ports } = books
  const key = serviceKey(service)
  const choice = familiesOf(books, service)
  if (service.spec.type === 'ExternalName' || 'problem' in choice) return
  for (const address of choice.ok.given) claimNamed(rules.ranges, addresses, key, address)
  if (!mayHaveNodePorts(service.spec)) return
  const named = [...(service.spec.ports ?? []).map(port => port.nodePort), service.spec.healthCheckNodePort]
  for (const port of named) if (port) claimNamedPort(rules.nodePorts, ports, key, port)
}

export const createLedger = (rules: AllocationRules): Ledger => {
  const books: Books = { rules, addresses: createPool(rules.reserved), ports: createPool<number>(), held: new Map() }
  return {
    placeAll: (services, remembered) => {
      const ordered = [...services].sort((a, b) => byText(serviceKey(a), serviceKey(b)))
      for (const service of ordered) claimRemembered(books, service, remembered[serviceKey(service)])
      for (const service of ordered) claimWritten(books, service)
      return new Map(ordered.map(service => [serviceKey(service), place(books, service)]))
    },
    place: service => place(books, service),
    release: key => release(books, key),
    holdings: () => Object.fromEntries(books.held),
  }
}
