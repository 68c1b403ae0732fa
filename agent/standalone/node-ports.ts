// The node ports of one Service: those its manifest names, or free ones near where a hash points. No I/O, no clock.
// A number belongs to one Service, in all protocols, as with the apiserver's port allocator; within a Service one port number
// in two protocols shares a node port. A port that cannot have one is left without, and the rest of the Service works.
import type { ServicePort, ServiceSpec } from '../../api/service-types.ts'
import { keyHash } from './hash.ts'
import { around, type Pool } from './pool.ts'

export interface PortRange {
  readonly first: number
  readonly last: number
}

export interface PortsHeld {
  /** By `TCP/80`: the protocol and port of the Service. */
  readonly nodePorts: Readonly<Record<string, number>>
  readonly healthCheckNodePort?: number
}

export interface PlacedPorts {
  readonly ports: readonly ServicePort[]
  readonly healthCheckNodePort: number | undefined
  readonly problems: readonly string[]
}

/** Both kinds of wish: what a Service of this type gets by itself, and what it may name. */
export const mayHaveNodePorts = ({ type }: ServiceSpec): boolean => type === 'NodePort' || type === 'LoadBalancer'

const wantsNodePorts = (spec: ServiceSpec): boolean =>
  spec.type === 'NodePort' || (spec.type === 'LoadBalancer' && spec.allocateLoadBalancerNodePorts !== false)

const wantsHealthCheckPort = (spec: ServiceSpec): boolean =>
  spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local'

export const portKey = ({ protocol, port }: ServicePort): string => `${protocol ?? 'TCP'}/${port}`

const isIn = ({ first, last }: PortRange, port: number): boolean => port >= first && port <= last

function* candidates({ first, last }: PortRange, hash: number): Generator<number> {
  const size = last - first + 1
  const low = size <= 16 ? 0 : Math.min(Math.max(16, Math.floor(size / 32)), 128)
  for (const port of around(hash, BigInt(first + low), BigInt(size - low))) yield Number(port)
  for (const port of around(hash, BigInt(first), BigInt(low))) yield Number(port)
}

/** Claims a port that a manifest names; what is wrong when it may not have it. */
export const claimNamedPort = (
  range: PortRange,
  pool: Pool<number>,
  key: string,
  port: number,
  field = 'nodePort',
): string | undefined => {
  if (!isIn(range, port)) return `${field} ${port} is not in the range ${range.first}-${range.last}`
  if (!pool.mayHave(key, port)) return `${field} ${port} is taken by Service ${pool.ownerOf(port)}`
  pool.claim(key, port)
  return undefined
}

const claimAny = (range: PortRange, pool: Pool<number>, key: string, seed: string, before?: number): number | undefined => {
  const remembered = before !== undefined && isIn(range, before) && pool.mayHave(key, before) ? before : undefined
  const port = remembered ?? candidates(range, keyHash(`${key} ${seed}`)).find(it => pool.ownerOf(it) === undefined)
  if (port !== undefined) pool.claim(key, port)
  return port
}

type Given = { readonly nodePort: number | undefined } | { readonly problem: string }

/** The node port of one port; `shared` is the one that its number has already in another protocol. */
const nodePortOf = (
  range: PortRange,
  pool: Pool<number>,
  key: string,
  spec: ServiceSpec,
  port: ServicePort,
  shared: number | undefined,
  before: number | undefined,
): Given => {
  if (port.nodePort && !mayHaveNodePorts(spec))
    return { problem: `nodePort ${port.nodePort} is not for a Service of type ${spec.type}` }
  if (!port.nodePort && !wantsNodePorts(spec)) return { nodePort: undefined }
  const named = port.nodePort || shared
  const problem = named === undefined ? undefined : claimNamedPort(range, pool, key, named)
  if (problem !== undefined) return { problem }
  const nodePort = named ?? claimAny(range, pool, key, `${port.port}`, before)
  return nodePort === undefined ? { problem: `no free node port is left in ${range.first}-${range.last}` } : { nodePort }
}

const claimHealthCheck = (range: PortRange, pool: Pool<number>, key: string, spec: ServiceSpec, before: PortsHeld): Given => {
  if (!wantsHealthCheckPort(spec)) return { nodePort: undefined }
  const named = spec.healthCheckNodePort || undefined
  if (named === undefined) return { nodePort: claimAny(range, pool, key, 'health', before.healthCheckNodePort) }
  const problem = claimNamedPort(range, pool, key, named, 'healthCheckNodePort')
  return problem === undefined ? { nodePort: named } : { problem }
}

/**
 * Claims the node ports that a Service names or is due.
 * @param before what the Service had: taken again where it still may
 */
export const claimNodePorts = (
  range: PortRange,
  pool: Pool<number>,
  key: string,
  spec: ServiceSpec,
  before: PortsHeld,
): PlacedPorts => {
  const problems: string[] = []
  const byNumber = new Map<number, number>()
  for (const { port, nodePort } of spec.ports ?? []) if (nodePort && !byNumber.has(port)) byNumber.set(port, nodePort)
  const used = new Set<string>()
  const ports = (spec.ports ?? []).map(({ nodePort: named, ...port }): ServicePort => {
    const asked = named ? { ...port, nodePort: named } : port
    const given = nodePortOf(range, pool, key, spec, asked, byNumber.get(port.port), before.nodePorts[portKey(port)])
    const once = 'nodePort' in given ? `${port.protocol ?? 'TCP'}/${given.nodePort}` : ''
    const problem = 'problem' in given ? given.problem : used.has(once) ? `nodePort ${given.nodePort} is named twice` : undefined
    if (problem !== undefined) {
      problems.push(`${problem}; port ${port.name ? `"${port.name}"` : port.port} is left without a node port`)
      return port
    }
    if ('problem' in given || given.nodePort === undefined) return port
    used.add(once)
    byNumber.set(port.port, given.nodePort)
    return { ...port, nodePort: given.nodePort }
  })
  const health = claimHealthCheck(range, pool, key, spec, before)
  if ('problem' in health) problems.push(health.problem)
  return { ports, healthCheckNodePort: 'problem' in health ? undefined : health.nodePort, problems }
}
