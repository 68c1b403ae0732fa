// The parts of our table that do not depend on any Service: sets, maps, and the hooks that look things up in them. Pure text.
// Refusing stands in input, forward and output, as nat chains cannot reject; picking stands in nat chains, which see only the first
// packet of a connection; whoever is remembered or masqueraded is decided on the way out.
import { createHash } from 'node:crypto'
import { signatureSet } from '../../host/nftmonitor.ts'
import type { ProxySettings } from '../settings.ts'
import { masqueradeMark, nodePortRanges, podRanges } from '../settings.ts'
import {
  type Chain,
  type ChainWords,
  endpointMap,
  fromHostChain,
  keyExpression,
  memoryName,
  setMark,
  takeMark,
} from './chains.ts'
import { type Edition, nameIn, textIn } from './edition.ts'
import { type FamilyWords, tableName } from './words.ts'

const ports = 'meta l4proto { tcp, udp, sctp }'
const protocols = ['TCP', 'UDP', 'SCTP'] as const

// A number (`integer`) can only be part of a key by `typeof`; everything else is declared by its types.
const number = 'numgen random mod 2'

// A set of intervals shows what a transaction put into it only a moment after the transaction's rules are in use (the kernel commits
// it apart): one in ten replacements of the table refused a connection to a node port. Single addresses need no intervals.
const needsIntervals = (settings: ProxySettings, { family }: FamilyWords): boolean =>
  nodePortRanges(settings, family).some(range => range.includes('/'))

const sets = (words: FamilyWords, settings: ProxySettings): readonly string[] => {
  const { table: t, address } = words
  const port = 'inet_proto . inet_service'
  const frontend = `${address} . ${port}`
  return [
    `set ${signatureSet} { type mark ; }`,
    `set cluster-ips { type ${address} ; }`,
    `set node-port-ips { type ${address} ;${needsIntervals(settings, words) ? ' flags interval ;' : ''} }`,
    `set hairpin { type ${address} . ${address} ; }`,
    ...['service-ips', 'inside-ips', 'no-endpoint-ips'].map(name => `map ${name} { type ${frontend} : verdict ; }`),
    ...['service-node-ports', 'inside-node-ports', 'no-endpoint-node-ports'].map(
      name => `map ${name} { type ${port} : verdict ; }`,
    ),
    ...protocols.flatMap(protocol => {
      const dport = `${protocol.toLowerCase()} dport`
      return [
        `map ${endpointMap('address', protocol)} { typeof ${t} daddr . ${dport} . ${number} : ${t} daddr . ${dport} ; }`,
        `map ${endpointMap('node-port', protocol)} { typeof ${dport} . ${number} : ${t} daddr . ${dport} ; }`,
      ]
    }),
    `map affinity-ips { type ${frontend} . ${address} . inet_service : verdict ; }`,
    `map affinity-node-ports { type ${port} . ${address} . inet_service : verdict ; }`,
    `map guarded-ips { type ${frontend} : verdict ; }`,
    `map guarded-node-ports { type ${port} : verdict ; }`,
  ]
}

/** Conditions that tell traffic of this node's pods, one each. */
const fromPods = (words: FamilyWords, settings: ProxySettings): readonly string[] => {
  const { localTraffic } = settings
  switch (localTraffic.by) {
    case 'none':
      return []
    case 'cidr': {
      const ranges = podRanges(settings, words.family)
      return ranges.length === 0 ? [] : [`${words.table} saddr { ${ranges.join(', ')} }`]
    }
    case 'interface':
      return [`iifname "${localTraffic.name}"`]
    case 'interface-prefix':
      return [`iifname "${localTraffic.prefix}*"`]
  }
}

/** What chains need to know about the family and the settings. */
export const toChainWords = (family: FamilyWords, settings: ProxySettings): ChainWords => ({
  family,
  mark: masqueradeMark(settings),
  fromPods: fromPods(family, settings),
})

const offCluster = (words: ChainWords, settings: ProxySettings): readonly string[] => {
  const toCluster = `${words.family.table} daddr @cluster-ips`
  if (settings.masqueradeAll) return [`${toCluster} ${setMark(words)}`]
  return words.fromPods.map(
    condition =>
      `${toCluster} ${condition.replace(/ saddr /, ' saddr != ').replace(/^iifname /, 'iifname != ')} ${setMark(words)}`,
  )
}

const chains = (words: ChainWords, settings: ProxySettings): readonly Chain[] => {
  const t = words.family.table
  const address = keyExpression(words.family, 'address')
  const port = keyExpression(words.family, 'node-port')
  const toNode = `${t} daddr @node-port-ips ${t} daddr != ${words.family.loopback} fib daddr type local`
  return [
    fromHostChain(words, 'address'),
    fromHostChain(words, 'node-port'),
    {
      name: 'services',
      rules: [...offCluster(words, settings), `${address} vmap @service-ips`, `${toNode} ${port} vmap @service-node-ports`],
    },
    {
      name: 'remember',
      rules: [
        `${ports} ct original ${t} daddr . meta l4proto . ct original proto-dst . ${t} daddr . th dport vmap @affinity-ips`,
        `${ports} ct original ${t} daddr @node-port-ips meta l4proto . ct original proto-dst . ${t} daddr . th dport vmap @affinity-node-ports`,
      ],
    },
    { name: 'reject-it', rules: ['meta l4proto tcp reject with tcp reset', 'reject'] },
    // What was sent to an endpoint has that endpoint's address by now, and is nobody's to refuse.
    { name: 'refuse', rules: ['ct status dnat return', `${address} vmap @no-endpoint-ips`] },
    { name: 'refuse-node-ports', rules: ['ct status dnat return', `${toNode} ${port} vmap @no-endpoint-node-ports`] },
    { name: 'refuse-unknown-ports', rules: ['ct status dnat return', `${t} daddr @cluster-ips goto reject-it`] },
    {
      name: 'source-ranges-check',
      rules: [`${address} vmap @guarded-ips`, `${toNode} ${port} vmap @guarded-node-ports`],
    },
  ]
}

interface BaseChain extends Chain {
  /** Undefined for a chain that others lead to. */
  readonly hook: string | undefined
}

const baseChains = (words: ChainWords, settings: ProxySettings): readonly BaseChain[] => {
  const t = words.family.table
  const marked = `meta mark and ${words.mark} != 0`
  const check = ['ct state new jump source-ranges-check']
  const refuse = ['ct state new jump refuse', 'ct state new jump refuse-unknown-ports']
  return [
    { name: 'nat-prerouting', hook: 'type nat hook prerouting priority -100', rules: ['jump services'] },
    { name: 'nat-output', hook: 'type nat hook output priority -100', rules: ['jump services'] },
    {
      name: 'nat-postrouting',
      hook: 'type nat hook postrouting priority 100',
      rules: [
        'ct status dnat jump remember',
        // A local socket's port was drawn at random for it alone: drawing another one only costs (a seventh of a new connection).
        `${marked} fib saddr type local ${takeMark(words)} masquerade`,
        `${marked} ${takeMark(words)} masquerade fully-random`,
        `ct status dnat ${t} saddr . ${t} daddr @hairpin masquerade fully-random`,
      ],
    },
    {
      name: 'nat-input',
      hook: 'type nat hook input priority 100',
      rules: ['ct status dnat jump remember', `${marked} ${takeMark(words)}`],
    },
    { name: 'check-prerouting', hook: 'type filter hook prerouting priority -110', rules: check },
    { name: 'check-output', hook: 'type filter hook output priority -110', rules: check },
    {
      name: 'filter-input',
      hook: 'type filter hook input priority 0',
      rules: ['ct state new jump refuse', 'ct state new jump refuse-node-ports'],
    },
    {
      name: 'filter-forward',
      hook: 'type filter hook forward priority 0',
      // What a pod sends and conntrack cannot place would reach its client with the pod's address instead of the Service's.
      rules: [
        ...(settings.dropInvalid ? words.fromPods.map(condition => `${condition} meta l4proto tcp ct state invalid drop`) : []),
        ...refuse,
      ],
    },
    { name: 'filter-output', hook: 'type filter hook output priority 0', rules: refuse },
  ]
}

/** The nft command that makes the memory of one number; its elements are made by traffic, and forget themselves. */
export const memoryLine = ({ table, address }: FamilyWords, slot: number): string =>
  `add set ${table} ${tableName} ${memoryName(slot)} { type ${address} . ${address} . inet_proto . inet_service ; size 262144 ; flags dynamic,timeout ; }`

/** The comment that a rule carries: nft prints rules in other words than it was given, and so they are known by this. */
export const ruleComment = (rule: string): string => createHash('sha256').update(rule).digest('hex').slice(0, 12)

/** Where a line belongs: the table, and the edition of the rules in it. */
export interface Place {
  readonly words: FamilyWords
  readonly edition: Edition
}

const tableOf = ({ words }: Place): string => `${words.table} ${tableName}`

const ruleLine = (place: Place, chain: string, rule: string): string =>
  `add rule ${tableOf(place)} ${nameIn(place.edition, chain)} ${textIn(place.edition, rule)} comment "${ruleComment(rule)}"`

/** nft commands that make one chain. */
export const chainLines = (place: Place, chain: Chain, hook?: string): readonly string[] => [
  `add chain ${tableOf(place)} ${nameIn(place.edition, chain.name)}${hook === undefined ? '' : ` { ${hook} ; }`}`,
  ...chain.rules.map(rule => ruleLine(place, chain.name, rule)),
]

/** What an edition holds before the first Service, by the names in the kernel; rules as they are before they are put in an edition. */
export interface Skeleton {
  readonly sets: readonly string[]
  readonly chains: readonly BaseChain[]
}

/** The parts of an edition that do not depend on any Service. */
export const skeletonOf = ({ words, edition }: Place, settings: ProxySettings): Skeleton => {
  const chainWords = toChainWords(words, settings)
  const all = [...chains(chainWords, settings).map(chain => ({ ...chain, hook: undefined })), ...baseChains(chainWords, settings)]
  return {
    sets: sets(words, settings).map(text => nameIn(edition, text.split(' ')[1] ?? '')),
    chains: all.map(chain => ({ ...chain, name: nameIn(edition, chain.name) })),
  }
}

/** nft commands that make an edition without any Service in it; nothing of it must be there. No packet meets it before hookLines. */
export const skeletonLines = (place: Place, settings: ProxySettings): readonly string[] => {
  const { words, edition } = place
  const at = tableOf(place)
  const nodeRanges = nodePortRanges(settings, words.family)
  const inOrder = chains(toChainWords(words, settings), settings)
  return [
    `add table ${at}`,
    ...sets(words, settings).map(text =>
      text.replace(/^(set|map) (\S+)/, (_, kind, name) => `add ${kind} ${at} ${nameIn(edition, name)}`),
    ),
    ...(nodeRanges.length === 0 ? [] : [`add element ${at} ${nameIn(edition, 'node-port-ips')} { ${nodeRanges.join(', ')} }`]),
    // All chains before the first rule: rules name chains that come later.
    ...inOrder.map(chain => `add chain ${at} ${nameIn(edition, chain.name)}`),
    ...inOrder.flatMap(chain => chain.rules.map(rule => ruleLine(place, chain.name, rule))),
  ]
}

/** nft commands that lead packets to an edition. */
export const hookLines = (place: Place, settings: ProxySettings): readonly string[] =>
  baseChains(toChainWords(place.words, settings), settings).flatMap(chain => chainLines(place, chain, chain.hook))
