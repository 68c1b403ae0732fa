// Which tracked flows have become wrong by a change of Services: pure. UDP and SCTP, since a TCP client notices by itself; of TCP only what
// was begun while nothing sent it on, for its client asks again and again by the same flow.
// Follows kube-proxy's rule: a flow to a Service whose endpoint no longer serves is removed; policies, topology and termination do not
// end a flow. Beyond it: Services that are deleted or emptied, node ports that move, and flows from before the Service was there.
import type { Flow } from '../host/conntrack.ts'
import type { FrontendChange } from './claims.ts'
import { type Frontend, frontendKey } from './model.ts'

/** What is wrong with flows to one frontend. */
export interface FlowRule {
  readonly family: Frontend['family']
  readonly protocol: Frontend['protocol']
  /** '' for a node port. */
  readonly ip: string
  readonly port: number
  /** `address port` of endpoints that are gone; `others` means all but these, for when what was before is not known. */
  readonly gone: { readonly these: ReadonlySet<string> } | { readonly others: ReadonlySet<string> }
  /** Flows that were never sent to any endpoint are wrong too: somebody is there now. */
  readonly untranslated: boolean
}

const names = (frontend: Frontend | undefined): ReadonlySet<string> =>
  new Set(frontend?.serving.map(({ ip, port }) => `${ip} ${port}`) ?? [])

/**
 * The rule that follows from a change, or undefined when no flow can be wrong.
 * @param earlier a rule of the same frontend that has not been carried out yet; endpoints that have come back since are not gone
 */
export const toFlowRule = ({ before, after }: FrontendChange, earlier?: FlowRule): FlowRule | undefined => {
  const frontend = after ?? before
  if (frontend === undefined || frontend.protocol === 'TCP') return undefined
  const { family, protocol, ip, port } = frontend
  const now = names(after)
  const untranslated = now.size > 0 && (earlier?.untranslated === true || before === undefined || before.serving.length === 0)
  if (earlier !== undefined && 'others' in earlier.gone && now.size > 0)
    return { family, protocol, ip, port, gone: { others: now }, untranslated }
  const left = earlier !== undefined && 'these' in earlier.gone ? earlier.gone.these : new Set<string>()
  const these = names(before).union(left).difference(now)
  if (these.size === 0 && !untranslated) return undefined
  return { family, protocol, ip, port, gone: { these }, untranslated }
}

/** The rule for a frontend when nothing is known of the time before: what the first sync after a start goes by. */
export const toReconcileRule = (frontend: Frontend): FlowRule | undefined => {
  if (frontend.protocol === 'TCP' || frontend.serving.length === 0) return undefined
  const { family, protocol, ip, port } = frontend
  return { family, protocol, ip, port, gone: { others: names(frontend) }, untranslated: true }
}

// Loopback serves node ports in some modes; whatever else is there is other software's, and so only what we sent on is looked at.
const isLoopback = (ip: string): boolean => ip.startsWith('127.') || ip === '::1'

/** Flows that one of the rules finds wrong. A node port means flows to one of `nodeIPs` only, and what we sent on from loopback. */
export const staleFlows = (flows: readonly Flow[], rules: readonly FlowRule[], nodeIPs: ReadonlySet<string>): readonly Flow[] => {
  const byKey = new Map<string, FlowRule[]>()
  for (const rule of rules) {
    const key = frontendKey(rule)
    const list = byKey.get(key)
    if (list === undefined) byKey.set(key, [rule])
    else list.push(rule)
  }
  const find = (flow: Flow) => {
    const own = byKey.get(frontendKey({ ...flow, ip: flow.to, port: flow.toPort })) ?? []
    const mayBeNodePort = nodeIPs.has(flow.to) || isLoopback(flow.to)
    const ofPort = mayBeNodePort ? (byKey.get(frontendKey({ ...flow, ip: '', port: flow.toPort })) ?? []) : []
    return [...own, ...(isLoopback(flow.to) ? ofPort.filter(({ gone }) => 'these' in gone && !isPlain(flow)) : ofPort)]
  }
  return flows.filter(flow => find(flow).some(rule => isStale(flow, rule)))
}

/**
 * Connections that nobody has answered yet and nobody sent on, though a frontend would do so now: the kernel goes on as the flow began.
 * Node ports are left out: a node answers at its own address, and a client that was refused begins anew.
 */
export const begunInVain = (unanswered: readonly Flow[], frontends: () => Iterable<Frontend>): readonly Flow[] => {
  const plain = unanswered.filter(isPlain)
  if (plain.length === 0) return []
  const asked = Map.groupBy(plain, flow => frontendKey({ ...flow, ip: flow.to, port: flow.toPort }))
  const found: Flow[] = []
  for (const frontend of frontends())
    if (frontend.lane.to.length > 0 || (frontend.inside?.to.length ?? 0) > 0)
      found.push(...(asked.get(frontendKey(frontend)) ?? []))
  return found
}

/** Nobody sent it on to another address. */
const isPlain = (flow: Flow): boolean => flow.answeredBy === flow.to && flow.answeredByPort === flow.toPort

const isStale = (flow: Flow, { gone, untranslated }: FlowRule): boolean => {
  if (isPlain(flow)) return untranslated
  const endpoint = `${flow.answeredBy} ${flow.answeredByPort}`
  return 'these' in gone ? gone.these.has(endpoint) : !gone.others.has(endpoint)
}
