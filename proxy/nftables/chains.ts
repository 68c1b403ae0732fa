// The chains that a map's verdict leads to, made when they are first needed: one per distinct number of endpoints, not per Service.
// A chain is a value; its name and rules follow from it. Pure text.
// Numbers in the endpoint maps are lanes: each kind of traffic has its own stretch of them. There is a map per protocol, because
// nft 1.0.6 cannot add a rule that looks up a map of `th dport` by `typeof` once the map is in the kernel.
import { createHash } from 'node:crypto'
import type { Protocol } from '../../api/meta.ts'
import type { FamilyWords } from './words.ts'

/** How a frontend is found: by its own address, or by port on any address of the node. */
export type Keyed = 'address' | 'node-port'
export type LaneName = 'main' | 'inside'

/** Where the numbers of each lane begin, and those that remembered clients are looked up by. */
export const laneStart: Readonly<Record<LaneName, number>> = { main: 0, inside: 65_536 }
export const slotStart: Readonly<Record<LaneName, number>> = { main: 131_072, inside: 196_608 }

export interface Pick {
  readonly keyed: Keyed
  readonly protocol: Protocol
  readonly lane: LaneName
  readonly count: number
  /** How many numbers a remembered client may hold: 0 (nobody is remembered) or a power of two, so that few chains differ. */
  readonly slots: number
}

export interface Entry extends Pick {
  /** `masquerade` marks first; `split` sends traffic of this node and its pods another way first. */
  readonly way: 'plain' | 'masquerade' | 'split'
}

export interface Chain {
  readonly name: string
  readonly rules: readonly string[]
  /** Numbers whose memory of clients the rules use; see memoryName. */
  readonly memories?: readonly number[]
}

export interface ChainWords {
  readonly family: FamilyWords
  readonly mark: string
  /** Conditions that each tell traffic of this node's pods; empty when there is no telling. */
  readonly fromPods: readonly string[]
}

const ports = 'meta l4proto { tcp, udp, sctp }'
const insideMap = { address: 'inside-ips', 'node-port': 'inside-node-ports' } as const

/** The map that holds the endpoints of one kind of frontend and one protocol. */
export const endpointMap = (keyed: Keyed, protocol: Protocol): string =>
  `${keyed === 'node-port' ? 'node-port-' : ''}endpoints-${protocol.toLowerCase()}`

/** The expression that a frontend is looked up by. */
export const keyExpression = ({ table }: FamilyWords, keyed: Keyed): string =>
  keyed === 'address' ? `${table} daddr . meta l4proto . th dport` : 'meta l4proto . th dport'

/** The power of two that holds this many numbers; at least 4. */
export const slotsFor = (used: number): number => (used === 0 ? 0 : Math.max(4, 2 ** Math.ceil(Math.log2(used))))

const prefix = ({ keyed, lane, protocol }: Pick): string =>
  `${keyed === 'node-port' ? 'node-port-' : ''}${lane === 'inside' ? 'inside-' : ''}${protocol.toLowerCase()}-`
const rememberedName = (pick: Pick): string => `${prefix(pick)}remembered-${pick.slots}`
const plainName = (pick: Pick): string => `${prefix(pick)}pick-${pick.count}`
const pickName = (pick: Pick): string => (pick.slots === 0 ? plainName(pick) : `${plainName(pick)}-of-${pick.slots}`)
const wayPrefix = { plain: '', masquerade: 'masquerade-', split: 'split-' } as const

/** The chain that a verdict names. */
export const entryName = (entry: Entry): string => `${wayPrefix[entry.way]}${pickName(entry)}`
/**
 * The set of clients that hold one number: by client and frontend. A set per number, since a number inside a dynamic set's key makes
 * nft 1.0.6 end by an assertion as soon as it reads that set back, whatever it was asked to list.
 */
export const memoryName = (slot: number): string => `${memoryPrefix}${slot}`
export const memoryPrefix = 'remembered-by-'
export const rememberName = (slot: number, seconds: number): string => `remember-${slot}-for-${seconds}`
const fromHostName = (keyed: Keyed): string => (keyed === 'address' ? 'from-host' : 'node-port-from-host')

const dnat = ({ family: { table } }: ChainWords, { keyed, protocol }: Pick, number: string): string => {
  const port = `${protocol.toLowerCase()} dport`
  const key = keyed === 'address' ? `${table} daddr . ${port}` : port
  return `dnat ${table} to ${key} . ${number} map @${endpointMap(keyed, protocol)}`
}

const pickRule = (words: ChainWords, pick: Pick): string => {
  const offset = laneStart[pick.lane] === 0 ? '' : ` offset ${laneStart[pick.lane]}`
  return dnat(words, pick, `numgen random mod ${pick.count}${offset}`)
}

// `numgen random mod 1 offset N` is the constant N: nft takes no plain number inside a concatenation.
const constant = (number: number): string => `numgen random mod 1 offset ${number}`

const rememberedRules = (words: ChainWords, pick: Pick): readonly string[] =>
  Array.from({ length: pick.slots }, (_, slot) => {
    const { table } = words.family
    const port = `${pick.protocol.toLowerCase()} dport`
    const client = `${table} saddr . ${table} daddr . meta l4proto . ${port} @${memoryName(slot)}`
    // An endpoint that has gone is no longer in the map: the rule then does not match and the client is given another one.
    return `${client} ${dnat(words, pick, constant(slotStart[pick.lane] + slot))}`
  })

const pickChains = (words: ChainWords, pick: Pick): readonly Chain[] => {
  if (pick.count === 0) return []
  const plain = { name: plainName(pick), rules: [pickRule(words, pick)] }
  if (pick.slots === 0) return [plain]
  return [
    plain,
    {
      name: rememberedName(pick),
      rules: rememberedRules(words, pick),
      memories: Array.from({ length: pick.slots }, (_, slot) => slot),
    },
    { name: pickName(pick), rules: [`jump ${rememberedName(pick)}`, `goto ${plainName(pick)}`] },
  ]
}

/** The chain of an entry after those that it leads to. */
export const entryChains = (words: ChainWords, entry: Entry): readonly Chain[] => {
  const inner = pickChains(words, entry)
  if (entry.way === 'plain') return inner
  const rest = entry.count === 0 ? [] : [`goto ${pickName(entry)}`]
  if (entry.way === 'masquerade') return [...inner, { name: entryName(entry), rules: [setMark(words), ...rest] }]
  const lookup = `${keyExpression(words.family, entry.keyed)} vmap @${insideMap[entry.keyed]}`
  const rules = [
    ...words.fromPods.map(condition => `${condition} ${lookup}`),
    `fib saddr type local jump ${fromHostName(entry.keyed)}`,
  ]
  return [...inner, { name: entryName(entry), rules: [...rules, ...rest] }]
}

/** Traffic of the host itself takes the way of its pods, but needs the node's address to find back. */
export const fromHostChain = (words: ChainWords, keyed: Keyed): Chain => ({
  name: fromHostName(keyed),
  rules: [setMark(words), `${keyExpression(words.family, keyed)} vmap @${insideMap[keyed]}`, takeMark(words)],
})

/** The chain of a list of source ranges: Services that let in the same ones share it. */
export const guardName = (ranges: readonly string[]): string =>
  `only-from-${createHash('sha256')
    .update([...ranges].sort().join(' '))
    .digest('hex')
    .slice(0, 12)}`

/**
 * Drops what does not come from one of these ranges. A rule, not a set of intervals with the frontend in its key: deleting from such
 * a set ends a running `nft monitor` of 1.0.6 by a segmentation fault.
 */
export const guardChain = ({ family: { table } }: ChainWords, ranges: readonly string[]): Chain => ({
  name: guardName(ranges),
  rules: [...(ranges.length === 0 ? [] : [`${table} saddr { ${ranges.join(', ')} } return`]), 'drop'],
})

/** Remembers the client of the connection that is being set up: it holds number `slot` for `seconds` from now. */
export const rememberChain = ({ family: { table } }: ChainWords, slot: number, seconds: number): Chain => ({
  name: rememberName(slot, seconds),
  rules: [
    `${ports} update @${memoryName(slot)} { ct original ${table} saddr . ct original ${table} daddr . meta l4proto . ct original proto-dst timeout ${seconds}s }`,
  ],
  memories: [slot],
})

export const setMark = ({ mark }: { readonly mark: string }): string => `meta mark set meta mark or ${mark}`
export const takeMark = ({ mark }: { readonly mark: string }): string => `meta mark set meta mark xor ${mark}`
