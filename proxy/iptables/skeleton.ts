// The chains that stand whatever Services there are, and the jumps to them from the kernel's own chains. Pure text.
// Sending stands in nat, which sees the first packet of a connection; refusing stands in filter, as nat cannot reject.
import { masqueradeMark, nodePortRanges, type ProxySettings, podRanges, servesLoopback } from '../settings.ts'
import type { RuleWords } from './rules.ts'
import { chainName, type FamilyWords, type Shelf, type Table } from './words.ts'

/** A chain that always stands: shelves and lines come between head and tail. */
export interface FixedChain {
  readonly table: Table
  readonly name: string
  readonly head: readonly string[]
  readonly tail: readonly string[]
  /** Rules of frontends lead to it: it is written before them, and no frontend writes into it. */
  readonly leaf: boolean
}

/** A rule of one of the kernel's own chains that leads to us. */
export interface Jump {
  readonly table: Table
  readonly from: string
  readonly rule: string
}

const isNew = '-m conntrack --ctstate NEW'
// What was sent to an endpoint has that endpoint's address by now, and is nobody's to refuse.
const sentOn = '-m conntrack --ctstate DNAT -j RETURN'

// The kernel setting route_localnet, which node ports on loopback need, would let neighbours of the node reach what listens there.
const onlyOwnLoopback = '! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP'

const guardsLoopback = ({ family }: FamilyWords, settings: ProxySettings): boolean =>
  family === 'IPv4' && servesLoopback(settings)

/** How our jumps are told from those of a kube-proxy. */
export const jumpComment = 'nodelet services'
const note = `-m comment --comment "${jumpComment}"`

/** The jumps in the order in which they stand, before all other rules of their chain. */
export const jumpsOf = (words: FamilyWords, settings: ProxySettings): readonly Jump[] => [
  { table: 'nat', from: 'PREROUTING', rule: `${note} -j ${chainName.services}` },
  { table: 'nat', from: 'OUTPUT', rule: `${note} -j ${chainName.services}` },
  { table: 'nat', from: 'POSTROUTING', rule: `${note} -j ${chainName.postrouting}` },
  ...(guardsLoopback(words, settings)
    ? ([{ table: 'filter', from: 'INPUT', rule: `${note} -j ${chainName.localnet}` }] as const)
    : []),
  { table: 'filter', from: 'INPUT', rule: `${isNew} ${note} -j ${chainName.externalServices}` },
  { table: 'filter', from: 'FORWARD', rule: `${isNew} ${note} -j ${chainName.services}` },
  { table: 'filter', from: 'FORWARD', rule: `${note} -j ${chainName.forward}` },
  { table: 'filter', from: 'OUTPUT', rule: `${isNew} ${note} -j ${chainName.services}` },
]

const fromPods = (words: FamilyWords, settings: ProxySettings): readonly string[] => {
  const { localTraffic } = settings
  switch (localTraffic.by) {
    case 'none':
      return []
    case 'cidr':
      return podRanges(settings, words.family).map(range => `-s ${range}`)
    case 'interface':
      return [`-i ${localTraffic.name}`]
    case 'interface-prefix':
      return [`-i ${localTraffic.prefix}+`]
  }
}

/** What the rules of frontends need to know of the settings. */
export const toRuleWords = (words: FamilyWords, settings: ProxySettings): RuleWords => ({ fromPods: fromPods(words, settings) })

const markOffCluster = (pods: readonly string[], { masqueradeAll }: ProxySettings): readonly string[] => {
  if (masqueradeAll) return [`-j ${chainName.markMasquerade}`]
  return pods.length === 0 ? [] : [...pods.map(condition => `${condition} -j RETURN`), `-j ${chainName.markMasquerade}`]
}

/** All fixed chains of both tables. */
export const fixedChains = (words: FamilyWords, settings: ProxySettings): readonly FixedChain[] => {
  const mark = masqueradeMark(settings)
  const marked = `-m mark --mark ${mark}/${mark}`
  const pods = fromPods(words, settings)
  const chain = (table: Table, name: string, head: readonly string[] = [], tail: readonly string[] = []): FixedChain => ({
    table,
    name,
    head,
    tail,
    leaf: false,
  })
  const leaf = (table: Table, name: string, head: readonly string[]): FixedChain => ({ table, name, head, tail: [], leaf: true })
  const toNode = `-m addrtype --dst-type LOCAL -j ${chainName.nodeIPs}`
  const nodeIPs = [
    ...(guardsLoopback(words, settings) ? [] : [`-d ${words.loopback} -j RETURN`]),
    ...nodePortRanges(settings, words.family).map(range => `-d ${range} -j ${chainName.nodePorts}`),
  ]
  return [
    chain('nat', chainName.services, [], [toNode]),
    chain('nat', chainName.nodeIPs, nodeIPs),
    chain('nat', chainName.nodePorts),
    leaf('nat', chainName.markMasquerade, [`-j MARK --or-mark ${mark}`]),
    leaf('nat', chainName.markOffCluster, markOffCluster(pods, settings)),
    chain('nat', chainName.hairpin),
    chain('nat', chainName.postrouting, [
      `-m conntrack --ctstate DNAT -j ${chainName.hairpin}`,
      `-m mark ! --mark ${mark}/${mark} -j RETURN`,
      // Only once: a packet that is looked at again behind a tunnel must not be masqueraded there too.
      `-j MARK --xor-mark ${mark}`,
      '-j MASQUERADE --random-fully',
    ]),
    chain('filter', chainName.services, [sentOn]),
    chain('filter', chainName.externalServices, [sentOn, `-j ${chainName.services}`, toNode]),
    chain('filter', chainName.nodeIPs, nodeIPs),
    chain('filter', chainName.nodePorts),
    leaf('filter', chainName.firewall, ['-j DROP']),
    // A reset is heard at once and always; of ICMP errors the kernel sends only so many a second.
    leaf('filter', chainName.reject, ['-p tcp -j REJECT --reject-with tcp-reset', '-j REJECT']),
    ...(guardsLoopback(words, settings) ? [chain('filter', chainName.localnet, [onlyOwnLoopback])] : []),
    chain('filter', chainName.forward, [
      // What a pod sends and conntrack cannot place would reach its client with the pod's address instead of the Service's.
      ...(settings.dropInvalid ? pods.map(condition => `${condition} -p tcp -m conntrack --ctstate INVALID -j DROP`) : []),
      `${marked} -j ACCEPT`,
      '-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    ]),
  ]
}

/** The rule that leads to a shelf. */
export const shelfRule = ({ condition, name }: Shelf): string => `${condition} -j ${name}`
