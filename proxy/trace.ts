// The way of a packet to one frontend, from what the model decided to an explanation: who is sent where, why the other endpoints are
// not used, whose address is hidden. Pure: decides nothing anew, so that what it tells is what is written to the kernel.
import type { Endpoint, EndpointSlice, Service } from '../api/service-types.ts'
import { hostPort } from '../host/address.ts'
import { canonicalAddress, coversAddress } from './address.ts'
import { type EndpointInfo, toEndpoints } from './endpoints.ts'
import type { Sight } from './inspect-types.ts'
import { type Destination, type Frontend, type Lane, type NodeView, sameFrontend } from './model.ts'
import type { ProxySettings } from './settings.ts'
import type { CallerKind, EndpointTrace, FrontendTrace, Outcome, Verdict } from './trace-types.ts'

export interface Caller {
  readonly name: string
  readonly ips: readonly string[]
}

export interface Surroundings {
  readonly service: Service
  readonly slices: readonly EndpointSlice[]
  readonly node: NodeView
  readonly settings: ProxySettings
  readonly caller: Caller | undefined
}

const addressOf = ({ ip, port }: Destination): string => hostPort(ip, port)

/** The frontend's address as a person would type it. */
export const frontendAddress = ({ ip, port }: Frontend): string => (ip === '' ? `*:${port}` : hostPort(ip, port))

/** The kinds that a caller may be of, by the rules: more than one where an address alone does not tell. */
export const callerKinds = (
  { ips }: Caller,
  { node, settings }: Pick<Surroundings, 'node' | 'settings'>,
): readonly CallerKind[] => {
  const { localTraffic } = settings
  if (ips.some(ip => node.ips.includes(ip) || ip === '::1' || ip.startsWith('127.'))) return ['node']
  if (localTraffic.by === 'none') return ['elsewhere']
  if (localTraffic.by !== 'cidr') return ['pod', 'elsewhere']
  const isPod = ips.some(ip => coversAddress(localTraffic.cidrs, ip, ip.includes(':') ? 'IPv6' : 'IPv4'))
  return [isPod ? 'pod' : 'elsewhere']
}

const everyKind: readonly CallerKind[] = ['pod', 'node', 'elsewhere']

const masquerade = (
  kind: CallerKind,
  { masquerade: how }: Frontend,
  { masqueradeAll, localTraffic }: ProxySettings,
): { readonly masqueraded: boolean; readonly why: string } => {
  const not = (why: string) => ({ masqueraded: false, why })
  const yes = (why: string) => ({ masqueraded: true, why })
  if (how === 'always') return yes('traffic policy Cluster: replies must come back by this node')
  if (how === 'never')
    return kind === 'node'
      ? yes('the node calls itself: replies must come back by it')
      : not('traffic policy Local keeps the source address')
  if (masqueradeAll) return yes('masqueradeAll is set')
  if (kind === 'pod') return not('the caller is a pod of the cluster')
  if (localTraffic.by === 'none') return not('nothing tells pods of the cluster from others (detectLocalMode)')
  return yes('the caller is no pod of the cluster')
}

const refusalWhy = ({ lane }: Frontend, hasEndpoints: boolean): string =>
  lane.otherwise === 'drop'
    ? 'the traffic policy leaves no endpoint here, and another node may have one'
    : hasEndpoints
      ? 'no endpoint is ready'
      : 'there is no endpoint'

const outcomeFor = (kind: CallerKind, frontend: Frontend, hasEndpoints: boolean, { settings, caller }: Surroundings): Outcome => {
  const { sourceRanges, inside } = frontend
  const refused = (does: Outcome['does'], why: string): Outcome => ({ callers: [kind], does, to: [], masqueraded: false, why })
  const ofFamily = caller?.ips.filter(ip => ip.includes(':') === (frontend.family === 'IPv6')) ?? []
  if (sourceRanges !== undefined && ofFamily.some(ip => !coversAddress(sourceRanges, ip, frontend.family)))
    return refused('drop', 'the caller is in none of loadBalancerSourceRanges')
  const own: Lane | undefined = kind === 'elsewhere' ? undefined : inside
  const lane = own !== undefined && own.to.length > 0 ? own : frontend.lane
  if (lane.to.length === 0) return refused(lane.otherwise, refusalWhy(frontend, hasEndpoints))
  const self = lane.to.some(({ ip, local }) => local && ofFamily.includes(ip))
  const { masqueraded, why } = masquerade(kind, frontend, settings)
  const hairpin = self && !masqueraded ? '; masqueraded where it draws itself' : ''
  return { callers: [kind], does: 'translate', to: lane.to.map(addressOf), masqueraded, why: `${why}${hairpin}` }
}

const sameOutcome = (a: Outcome, b: Outcome): boolean =>
  a.does === b.does && a.masqueraded === b.masqueraded && a.why === b.why && a.to.join() === b.to.join()

/** What becomes of a connection, by who begins it; callers that fare alike are told of together. */
export const outcomes = (frontend: Frontend, hasEndpoints: boolean, around: Surroundings): readonly Outcome[] => {
  const kinds = around.caller === undefined ? everyKind : callerKinds(around.caller, around)
  const told: Outcome[] = []
  for (const kind of kinds) {
    const outcome = outcomeFor(kind, frontend, hasEndpoints, around)
    const at = told.findIndex(other => sameOutcome(other, outcome))
    if (at < 0) told.push(outcome)
    else told[at] = { ...told[at]!, callers: [...told[at]!.callers, kind] }
  }
  return told
}

const isLeaving = ({ serving, terminating }: EndpointInfo): boolean => serving && terminating

const whyNot = (endpoint: EndpointInfo, frontend: Frontend, isLocalOnly: boolean, node: NodeView): string => {
  if (!endpoint.ready && !endpoint.serving) return endpoint.terminating ? 'terminating, and no longer serving' : 'not ready'
  if (isLocalOnly && !endpoint.local) return 'on another node, and the traffic policy is Local'
  if (isLeaving(endpoint)) return 'terminating: used only when nobody is ready'
  if (!endpoint.ready) return 'serving, but neither ready nor terminating'
  if (endpoint.forNodes.length > 0 && !endpoint.forNodes.includes(node.name) && frontend.lane.to.some(({ local }) => local))
    return `its hints are for node ${endpoint.forNodes.join(', ')}, this is ${node.name}`
  if (endpoint.forZones.length > 0)
    return `its hints are for zone ${endpoint.forZones.join(', ')}, this node is in ${node.zone || 'none'}`
  return 'its hints are for other nodes'
}

const whyUsed = (endpoint: EndpointInfo): string => {
  const where = endpoint.local ? 'on this node' : 'on another node'
  return endpoint.ready ? where : `${where}; terminating, but nobody is ready`
}

/** Endpoints that no proxy can use, since their address is none of their slice's family. */
const misfits = ({ portName, protocol, family }: Frontend, slices: readonly EndpointSlice[]): readonly EndpointTrace[] =>
  slices
    .filter(
      ({ addressType, ports }) =>
        addressType === family && ports?.some(port => (port.name ?? '') === portName && (port.protocol ?? 'TCP') === protocol),
    )
    .flatMap(({ endpoints }) => endpoints ?? [])
    .filter(({ addresses: [ip = ''] }) => canonicalAddress(ip, family) === undefined)
    .map(({ addresses: [ip = ''], nodeName, ...endpoint }) => ({
      address: ip,
      pod: podOf(endpoint),
      node: nodeName,
      used: 'no',
      why: `no ${family} address, which its EndpointSlice is for`,
    }))

const podOf = ({ targetRef }: Pick<Endpoint, 'targetRef'>): string | undefined =>
  targetRef?.kind === 'Pod' ? `${targetRef.namespace}/${targetRef.name}` : undefined

/** Each endpoint of a frontend: whether it may be drawn, and why not. */
export const explainEndpoints = (
  frontend: Frontend,
  all: readonly EndpointInfo[],
  { service, slices, node }: Pick<Surroundings, 'service' | 'slices' | 'node'>,
): readonly EndpointTrace[] => {
  const includes = (lane: Lane | undefined, { ip, port }: EndpointInfo) =>
    lane?.to.some(to => to.ip === ip && to.port === port) ?? false
  const { internalTrafficPolicy, externalTrafficPolicy } = service.spec
  const isLocalOnly = (frontend.kind === 'cluster-ip' ? internalTrafficPolicy : externalTrafficPolicy) === 'Local'
  const origins = new Map(
    slices
      .filter(({ addressType }) => addressType === frontend.family)
      .flatMap(slice => slice.endpoints ?? [])
      .map(origin => [canonicalAddress(origin.addresses[0] ?? '', frontend.family), origin]),
  )
  const explained = all.map((endpoint): EndpointTrace => {
    const origin = origins.get(endpoint.ip)
    const base = { address: addressOf(endpoint), pod: origin && podOf(origin), node: origin?.nodeName }
    if (includes(frontend.lane, endpoint)) return { ...base, used: 'yes', why: whyUsed(endpoint) }
    if (includes(frontend.inside, endpoint))
      return { ...base, used: 'inside', why: `for callers of this node only: ${whyNot(endpoint, frontend, isLocalOnly, node)}` }
    return { ...base, used: 'no', why: whyNot(endpoint, frontend, isLocalOnly, node) }
  })
  return [...explained, ...misfits(frontend, slices)]
}

const policyOf = (frontend: Frontend, { spec }: Service): readonly string[] => [
  frontend.kind === 'cluster-ip'
    ? `internalTrafficPolicy ${spec.internalTrafficPolicy ?? 'Cluster'}`
    : `externalTrafficPolicy ${spec.externalTrafficPolicy ?? 'Cluster'}`,
  ...(spec.trafficDistribution === undefined ? [] : [`trafficDistribution ${spec.trafficDistribution}`]),
  ...(frontend.affinitySeconds > 0 ? [`clients stay with their endpoint for ${frontend.affinitySeconds} s`] : []),
  ...(frontend.sourceRanges === undefined ? [] : [`only from ${frontend.sourceRanges.join(', ') || 'nobody'}`]),
]

const judge = (frontend: Frontend, sight: Sight | undefined): readonly [Verdict, string] => {
  if (sight === undefined) return ['unknown', 'this mode cannot show single rules of the kernel']
  const { written, pieces, place, notAsked } = sight
  if (written === undefined) return ['not-written', `nothing of it is written to ${place} yet`]
  if (written.service !== frontend.service)
    return ['other-owner', `${written.service} has this address and port: it is older, and this Service waits`]
  if (!sameFrontend(written, frontend)) return ['not-written', `its last change is not written to ${place} yet`]
  const wrong = pieces.filter(({ wanted, found }) => found !== wanted).length
  if (wrong > 0) return ['differs', `${place} differs in ${wrong} of ${pieces.length} pieces; \`nodelet diff\` shows all of it`]
  const rest = notAsked > 0 ? ` (${notAsked} more were not asked for)` : ''
  return ['same', `${place} holds what it should${rest}`]
}

/** Everything about one frontend but its connections. */
export const traceFrontend = (
  frontend: Frontend,
  around: Surroundings,
  sight: Sight | undefined,
): Omit<FrontendTrace, 'flows' | 'moreFlows'> => {
  const ref = { name: frontend.portName, protocol: frontend.protocol, family: frontend.family }
  const all = toEndpoints(around.slices, ref, around.node.name)
  const [verdict, verdictText] = judge(frontend, sight)
  return {
    kind: frontend.kind,
    address: frontendAddress(frontend),
    protocol: frontend.protocol,
    portName: frontend.portName,
    policy: policyOf(frontend, around.service),
    outcomes: outcomes(frontend, all.length > 0, around),
    endpoints: explainEndpoints(frontend, all, around),
    kernel: sight && {
      place: sight.place,
      pieces: sight.pieces,
      notAsked: sight.notAsked,
      remembered: sight.remembered,
    },
    verdict,
    verdictText,
  }
}
