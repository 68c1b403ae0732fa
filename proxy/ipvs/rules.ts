// The iptables rules around IPVS, the same whatever Services there are: all that changes is in ipsets. Pure text.
// A packet to a Service is for this node itself, whose device bears the address: mangle and nat of PREROUTING see it, then filter of
// INPUT, then IPVS; the node's own traffic meets IPVS in OUTPUT, between nat and filter. So refusing stands in INPUT, where both come by
// while there is nobody to send to, and what the node itself may not do is dropped in mangle of OUTPUT, before IPVS.
import { jumpComment, toRuleWords } from '../iptables/skeleton.ts'
import { isProxyChain } from '../iptables/words.ts'
import { masqueradeMark, type ProxySettings } from '../settings.ts'
import { chainName, type IpvsTable, type IpvsWords, isIpvsChain, type SetId, setName, tables } from './words.ts'

interface Chain {
  readonly table: IpvsTable
  readonly name: string
  readonly rules: readonly string[]
}

/** A rule of one of the kernel's own chains that leads to us. */
interface Jump {
  readonly table: IpvsTable
  readonly from: string
  readonly rule: string
}

const note = `-m comment --comment "${jumpComment}"`
const isNew = '-m conntrack --ctstate NEW'

/** In the order in which they stand, before all other rules of their chain. */
export const jumps: readonly Jump[] = [
  { table: 'mangle', from: 'PREROUTING', rule: `${note} -j ${chainName.inside}` },
  { table: 'mangle', from: 'OUTPUT', rule: `${note} -j ${chainName.outFilter}` },
  { table: 'nat', from: 'PREROUTING', rule: `${note} -j ${chainName.services}` },
  { table: 'nat', from: 'OUTPUT', rule: `${note} -j ${chainName.services}` },
  { table: 'nat', from: 'POSTROUTING', rule: `${note} -j ${chainName.postrouting}` },
  { table: 'filter', from: 'INPUT', rule: `${isNew} ${note} -j ${chainName.filter}` },
  { table: 'filter', from: 'FORWARD', rule: `${note} -j ${chainName.forward}` },
]

interface Words {
  readonly mark: string
  /** Conditions that each tell traffic of this node's pods; empty when there is no telling. */
  readonly fromPods: readonly string[]
  /** That a packet is in a set. */
  readonly to: (id: SetId, sides?: string) => string
  /** Gives a packet the mark that its frontend has for this node's own traffic. */
  readonly lead: string
}

const chain = (table: IpvsTable, name: string, rules: readonly string[]): Chain => ({ table, name, rules })

const mangleChains = ({ fromPods, to, lead }: Words, mayUse: readonly string[]): readonly Chain[] => [
  chain(
    'mangle',
    chainName.inside,
    fromPods.map(condition => `${condition} ${lead}`),
  ),
  chain('mangle', chainName.outFilter, [
    `${isNew} ${to('guarded')} -j ${chainName.ranges}`,
    lead,
    `${to('inside')} -j RETURN`,
    `${isNew} ${to('dropped')} -j DROP`,
  ]),
  chain('mangle', chainName.ranges, mayUse),
]

const natChains = ({ mark, fromPods, to }: Words, { masqueradeAll }: ProxySettings): readonly Chain[] => {
  const offCluster = [...(masqueradeAll ? [] : fromPods.map(one => `${one} -j RETURN`)), `-j ${chainName.markMasquerade}`]
  return [
    chain('nat', chainName.services, [
      `${to('clusterIP')} -j ${chainName.markOffCluster}`,
      `${to('external')} -j ${chainName.markMasquerade}`,
      `${to('balancer')} -j ${chainName.balancer}`,
      `${to('nodePort')} -j ${chainName.markMasquerade}`,
    ]),
    chain('nat', chainName.balancer, [`${to('balancerLocal')} -j RETURN`, `-j ${chainName.markMasquerade}`]),
    chain('nat', chainName.markMasquerade, [`-j MARK --or-mark ${mark}`]),
    chain('nat', chainName.markOffCluster, masqueradeAll || fromPods.length > 0 ? offCluster : []),
    chain('nat', chainName.postrouting, [
      `${to('loopBack', 'dst,dst,src')} -j MASQUERADE --random-fully`,
      // The node calls a Service from the Service's own address, which its device bears: other nodes bear it too.
      '-m ipvs --ipvs -m addrtype --src-type LOCAL -j MASQUERADE --random-fully',
      `-m mark ! --mark ${mark}/${mark} -j RETURN`,
      // Only once: a packet that is looked at again behind a tunnel must not be masqueraded there too.
      `-j MARK --xor-mark ${mark}`,
      '-j MASQUERADE --random-fully',
    ]),
  ]
}

/** Tells the client at once: by a reset, which no firewall on the way takes for noise, or else by an ICMP error. */
const rejects = (match: string): readonly string[] => [
  `-p tcp ${match} -j REJECT --reject-with tcp-reset`,
  ...['udp', 'sctp'].map(protocol => `-p ${protocol} ${match} -j REJECT`),
]

const filterChains = ({ mark, fromPods, to }: Words, mayUse: readonly string[], settings: ProxySettings): readonly Chain[] => [
  chain('filter', chainName.filter, [
    `${to('guarded')} -j ${chainName.ranges}`,
    ...fromPods.map(condition => `${condition} ${to('inside')} -j RETURN`),
    `${to('dropped')} -j DROP`,
    ...rejects(to('rejected')),
    ...(['clusterIP', 'external', 'externalLocal', 'balancer'] as const).map(id => `${to(id)} -j RETURN`),
    // Whatever listens on the node must not answer on the address of a Service; that it is there may be asked.
    ...rejects(to('addresses', 'dst')),
  ]),
  chain('filter', chainName.ranges, mayUse),
  chain('filter', chainName.forward, [
    // What a pod sends and conntrack cannot place would reach its client with the pod's address instead of the Service's.
    ...(settings.dropInvalid ? fromPods.map(one => `${one} -p tcp -m conntrack --ctstate INVALID -j DROP`) : []),
    `-m mark --mark ${mark}/${mark} -j ACCEPT`,
    '-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
  ]),
]

/** All chains of a family. */
export const chains = ({ family, iptables }: IpvsWords, settings: ProxySettings): readonly Chain[] => {
  const to: Words['to'] = (id, sides = 'dst,dst') => `-m set --match-set ${setName(id, family)} ${sides}`
  const lead = `-j SET --map-set ${setName('inside', family)} dst,dst --map-mark`
  const words: Words = { mark: masqueradeMark(settings), fromPods: toRuleWords(iptables, settings).fromPods, to, lead }
  const mayUse = [`${to('sources', 'dst,dst,src')} -j RETURN`, '-j DROP']
  return [...mangleChains(words, mayUse), ...natChains(words, settings), ...filterChains(words, mayUse, settings)]
}

/** What one table has of service proxies: chains of ours or others, and the rules of other chains that lead to them. */
export interface Standing {
  readonly chains: readonly string[]
  readonly jumps: readonly string[]
}

const isOurs = (name: string): boolean => isIpvsChain(name) || isProxyChain(name)

/** Reads what iptables-save prints of a table. */
export const readStanding = (saved: string): Standing => {
  const found: string[] = []
  const leading: string[] = []
  for (const line of saved.split('\n')) {
    const [, chain = ''] = /^:(\S+) /.exec(line) ?? []
    if (isOurs(chain)) found.push(chain)
    const [, from = '', target = ''] = /^-A (\S+) .*-[jg] (\S+)/.exec(line) ?? []
    if (isOurs(target) && !isOurs(from)) leading.push(line)
  }
  return { chains: found, jumps: leading }
}

const tableLines = (
  table: IpvsTable,
  { chains: standing, jumps: leading }: Standing,
  wanted: readonly Chain[],
): readonly string[] => {
  const ours = wanted.filter(chain => chain.table === table)
  const gone = standing.filter(name => !ours.some(chain => chain.name === name))
  const lead = wanted.length === 0 ? [] : jumps.filter(jump => jump.table === table)
  if (ours.length + gone.length + leading.length === 0) return []
  return [
    `*${table}`,
    // Naming a chain makes it, or empties it.
    ...ours.map(({ name }) => `:${name} - [0:0]`),
    ...gone.map(name => `:${name} - [0:0]`),
    ...leading.map(rule => rule.replace(/^-A/, '-D')),
    ...lead.toReversed().map(({ from, rule }) => `-I ${from} ${rule}`),
    ...ours.flatMap(({ name, rules }) => rules.map(rule => `-A ${name} ${rule}`)),
    ...gone.map(name => `-X ${name}`),
    'COMMIT',
  ]
}

/**
 * A text of iptables-restore that leaves exactly our chains of what service proxies have made, in one commit per table.
 * @param wanted what `chains` says; none takes everything away
 */
export const replacement = (standing: Readonly<Record<IpvsTable, Standing>>, wanted: readonly Chain[]): string => {
  const lines = tables.flatMap(table => tableLines(table, standing[table], wanted))
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}
