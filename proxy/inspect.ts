// Answers `nodelet trace` and `nodelet diff`: gathers what is wanted, what the kernel has and which connections there are.
// Reads only, off the sync path, and only when asked. Loaded when it is asked for the first time.
import type { EndpointSlice, IPFamily, Service } from '../api/service-types.ts'
import type { Source } from '../api/source.ts'
import type { Clock } from '../host/clock.ts'
import type { FlowFinder } from '../host/conntrack.ts'
import { Fault, isFault } from '../host/fault.ts'
import type { Backend } from './backend.ts'
import type { Compared, Difference, Sight } from './inspect-types.ts'
import type { Frontend, NodeView } from './model.ts'
import type { ProxySettings } from './settings.ts'
import { type Surroundings, traceFrontend } from './trace.ts'
import { type Found, parseAddressPort, resolveTarget, serviceNotes } from './trace-target.ts'
import { traceText } from './trace-text.ts'
import type { FrontendTrace, Trace, TraceQuery } from './trace-types.ts'

export interface InspectionDeps {
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  readonly backends: readonly Backend[]
  readonly node: NodeView
  readonly settings: ProxySettings
  readonly flows: FlowFinder
  readonly clock: Clock
  readonly settled: () => Promise<void>
}

export interface Traced {
  readonly text: string
  readonly body: Trace
}

export interface ProxyDiff {
  readonly same: boolean
  readonly mode: string
  /** Pieces of the kernel that were compared. */
  readonly compared: number
  readonly differences: readonly Difference[]
}

const mostPieces = 40
const mostFlows = 20
// What is being written just now is waited for; a kernel that refuses everything must still be told of.
const settleMs = 2_000

/**
 * The way of a packet. A question of one Service is answered for all its addresses.
 * @throws Fault `not-found` with names that come near, `bad-config` for an address without a port
 */
export const trace = async (query: TraceQuery, deps: InspectionDeps): Promise<Traced> => {
  await settle(deps)
  const families: readonly IPFamily[] = deps.backends.map(({ family }) => family)
  const found = resolveTarget(query, {
    services: deps.services.list(),
    slices: deps.endpointSlices.list(),
    node: deps.node,
    families,
  })
  const from = query.from && describeCaller(query.from)
  const founds =
    'notes' in found ? [] : found.map(one => ({ ...one, frontends: one.frontends.filter(it => canBegin(query, it)) }))
  const frontends: FrontendTrace[] = []
  for (const one of founds) for (const frontend of one.frontends) frontends.push(await traceOne(frontend, one, query, deps))
  const [first] = founds
  const body: Trace = {
    target: query.target,
    from,
    service: first && founds.map(({ service }) => `${service.metadata.namespace}/${service.metadata.name}`).join(', '),
    notes: 'notes' in found ? found.notes : [...found.flatMap(serviceNotes), ...leftOut(query, found, founds)],
    frontends,
  }
  return { text: traceText(body), body }
}

const familyOf = (ip: string): IPFamily => (ip.includes(':') ? 'IPv6' : 'IPv4')

/** A caller sends by the families that it has addresses of; one whose addresses are not known yet may have any. */
const canBegin = ({ from }: TraceQuery, { family }: Frontend): boolean =>
  from === undefined || from.ips.length === 0 || from.ips.some(ip => familyOf(ip) === family)

const leftOut = ({ from }: TraceQuery, all: readonly Found[], kept: readonly Found[]): readonly string[] => {
  const count = (founds: readonly Found[]) => founds.reduce((sum, { frontends }) => sum + frontends.length, 0)
  const left = count(all) - count(kept)
  const families = new Set(from?.ips.map(familyOf))
  return left === 0 ? [] : [`the caller has ${[...families].join()} only: ${left} addresses of the other family are left out`]
}

const describeCaller = ({ name, ips }: NonNullable<TraceQuery['from']>): string =>
  ips.includes(name) ? name : `${name} (${ips.join(', ') || 'it has no address yet'})`

const settle = ({ settled, clock }: InspectionDeps): Promise<void> => Promise.race([settled(), clock.sleep(settleMs)])

const traceOne = async (frontend: Frontend, found: Found, query: TraceQuery, deps: InspectionDeps): Promise<FrontendTrace> => {
  const { node, settings } = deps
  const around: Surroundings = { ...found, node, settings, caller: query.from }
  const isOfFamily = (ip: string) => familyOf(ip) === frontend.family
  const asked = parseAddressPort(query.target)?.ip
  const clients = {
    from: query.from?.ips.filter(isOfFamily) ?? [],
    to: asked === undefined ? node.ips.filter(isOfFamily) : [asked],
  }
  const inspector = deps.backends.find(({ family }) => family === frontend.family)?.inspector
  const sight: Sight | undefined = await inspector?.look(frontend, clients, mostPieces)
  return { ...traceFrontend(frontend, around, sight), ...(await connections(frontend, clients, deps)) }
}

const connections = async (
  { family, protocol, ip, port }: Frontend,
  { to, from }: { readonly to: readonly string[]; readonly from: readonly string[] },
  { flows, node }: InspectionDeps,
): Promise<Pick<FrontendTrace, 'flows' | 'moreFlows'>> => {
  // A node port has the addresses of the node; a caller that is named, at most one of a family.
  const target = { family, protocol, from: from[0] ?? '', to: ip || (to.length === 1 ? (to[0] ?? '') : ''), toPort: port }
  try {
    const found = await flows.find(target, mostFlows + 1)
    const ours = found.filter(flow => ip !== '' || node.ips.includes(flow.to))
    return { flows: ours.slice(0, mostFlows), moreFlows: found.length > mostFlows }
  } catch (error) {
    if (!isFault(error, 'command')) throw error
    return { flows: undefined, moreFlows: false }
  }
}

const attempts = 3

const compareOne = async ({ inspector, name, family }: Backend, deps: InspectionDeps): Promise<Compared> => {
  if (inspector === undefined) throw new Fault('unsupported', `rules of the mode ${name} cannot be compared`, { retry: 'never' })
  for (let attempt = 1; attempt <= attempts; attempt++) {
    await settle(deps)
    const compared = await inspector.diff()
    if (compared !== undefined) return compared
  }
  throw new Fault('kernel-refused', `Services of ${family} are being written, or the kernel refuses them: ask again`)
}

/**
 * Everything that the kernel holds against everything that it should.
 * @throws Fault `unsupported` when the mode cannot show what it holds, `kernel-refused` when nothing stands that could be compared
 */
export const diff = async (deps: InspectionDeps): Promise<ProxyDiff> => {
  const differences: Difference[] = []
  let compared = 0
  for (const backend of deps.backends) {
    const one = await compareOne(backend, deps)
    differences.push(...one.differences)
    compared += one.compared
  }
  return { same: differences.length === 0, mode: deps.backends[0]?.name ?? '', compared, differences }
}
