// From changes of frontends to lines for ipset, ipvsadm and ip. What the kernel holds is known from what was compiled before, never by
// asking it. A book (`Holding`) is moved on by every compile: after lines that were refused it is worth nothing, and a new one is begun.

import type { Protocol } from '../../api/meta.ts'
import { optionWords, serverName, type VirtualServer } from '../../host/ipvs.ts'
import type { FrontendChange } from '../claims.ts'
import type { Frontend } from '../model.ts'
import { type Entries, type EntryWords, firstKey, needsMark, noEntries, type SetEntry, toEntries } from './entries.ts'
import type { Marks } from './marks.ts'
import { device, type IpvsWords, setName } from './words.ts'

/**
 * A virtual server as the kernel has it, destinations on their way out (of weight 0) included. One without destinations is not there:
 * IPVS would refuse the node's own traffic itself, by an ICMP error, before our rules see it.
 */
export interface HeldServer {
  readonly owner: string
  readonly protocol: Protocol
  readonly server: VirtualServer
}

interface HeldMember {
  readonly entry: SetEntry
  needed: number
}

/** What the kernel holds of one family. */
export interface Holding {
  readonly words: IpvsWords
  readonly entryWords: EntryWords
  readonly marks: Marks
  readonly frontends: Map<string, Frontend>
  readonly servers: Map<string, HeldServer>
  /** Frontends that would have a server that another one has. */
  readonly waiting: Map<string, readonly string[]>
  /** Servers with destinations on their way out. */
  readonly leaving: Set<string>
  readonly members: Map<string, HeldMember>
}

/** The book of a kernel that holds no Service. */
export const emptyHolding = (words: IpvsWords, entryWords: EntryWords, marks: Marks): Holding => ({
  ...{ words, entryWords, marks },
  frontends: new Map(),
  servers: new Map(),
  waiting: new Map(),
  leaving: new Set(),
  members: new Map(),
})

/** The addresses that the device bears. */
export const boundAddresses = ({ members }: Holding): Set<string> => {
  const addresses = new Set<string>()
  for (const { entry } of members.values()) if (entry.set === 'addresses') addresses.add(entry.key)
  return addresses
}

/** What changes are made of: the kernel's set entries as they were before them, and commands for virtual servers. */
export interface Draft {
  /** By set and key; undefined where there was none. */
  readonly before: Map<string, SetEntry | undefined>
  readonly servers: string[]
}

/** A draft that changes nothing. */
export const emptyDraft = (): Draft => ({ before: new Map(), servers: [] })

/** Lines for programs, in the order in which they must be carried out: nothing may be reached before its rules are there. */
export interface Lines {
  readonly members: readonly string[]
  readonly servers: readonly string[]
  readonly addresses: readonly string[]
  /** For when the addresses are gone from the device: until then nothing else may answer on them. */
  readonly late: readonly string[]
}

const destination = (name: string, to: string) => `${name} -r ${to}`

/** TCP connections outlive their endpoint's place in the Service; datagrams would be sent to nobody. */
const isGraceful = (protocol: Protocol): boolean => protocol === 'TCP'

/** What the kernel has of a server that is held. */
export const present = (held: HeldServer | undefined): VirtualServer | undefined =>
  held !== undefined && held.server.destinations.size > 0 ? held.server : undefined

/**
 * The commands from one state of a virtual server to another, and what the kernel has then.
 * @param before undefined when the kernel does not have it
 * @param protocol of the frontend: a server that is found by a mark has none
 */
export const serverLines = (
  before: VirtualServer | undefined,
  after: VirtualServer,
  protocol: Protocol,
): { readonly lines: readonly string[]; readonly state: VirtualServer } => {
  const name = serverName(after.key)
  const gone = [...(before?.destinations ?? [])].filter(([to]) => !after.destinations.has(to))
  if (after.destinations.size === 0 && (gone.length === 0 || !isGraceful(protocol)))
    return { lines: before === undefined ? [] : [`-D ${name}`], state: after }
  const lines: string[] = []
  if (before === undefined) lines.push(`-A ${name} ${optionWords(after)}`)
  else if (optionWords(before) !== optionWords(after)) lines.push(`-E ${name} ${optionWords(after)}`)
  for (const to of after.destinations.keys()) {
    const weight = before?.destinations.get(to)
    if (weight !== 1) lines.push(`${weight === undefined ? '-a' : '-e'} ${destination(name, to)} -m -w 1`)
  }
  const destinations = new Map(after.destinations)
  for (const [to, weight] of gone) {
    if (!isGraceful(protocol)) lines.push(`-d ${destination(name, to)}`)
    else {
      if (weight !== 0) lines.push(`-e ${destination(name, to)} -m -w 0`)
      destinations.set(to, 0)
    }
  }
  return { lines, state: { ...after, destinations } }
}

const hold = (holding: Holding, name: string, held: HeldServer): void => {
  holding.servers.set(name, held)
  if ([...held.server.destinations.values()].includes(0)) holding.leaving.add(name)
  else holding.leaving.delete(name)
}

const takeServers = (
  holding: Holding,
  draft: Draft,
  { key, frontend, before, after }: { key: string; frontend: Frontend | undefined; before: Entries; after: Entries },
): void => {
  const wanted = new Map(after.servers.map(server => [serverName(server.key), server]))
  for (const [name, server] of wanted) {
    const held = holding.servers.get(name)
    if (held !== undefined && held.owner !== key) {
      const queue = holding.waiting.get(name) ?? []
      if (!queue.includes(key)) holding.waiting.set(name, [...queue, key])
      continue
    }
    const { lines, state } = serverLines(present(held), server, frontend!.protocol)
    draft.servers.push(...lines)
    hold(holding, name, { owner: key, protocol: frontend!.protocol, server: state })
  }
  for (const name of before.servers.map(server => serverName(server.key)))
    if (!wanted.has(name)) leaveServer(holding, draft, name, key)
}

/** A frontend does without a server: the next one that waits for it has it, or it goes. */
const leaveServer = (holding: Holding, draft: Draft, name: string, key: string): void => {
  const queue = (holding.waiting.get(name) ?? []).filter(one => one !== key)
  const held = holding.servers.get(name)
  const next = held?.owner === key ? queue.shift() : undefined
  if (queue.length === 0) holding.waiting.delete(name)
  else holding.waiting.set(name, queue)
  if (held?.owner !== key) return
  const frontend = next === undefined ? undefined : holding.frontends.get(next)
  const server = frontend && toEntries(frontend, holding.entryWords, undefined).servers.find(one => serverName(one.key) === name)
  if (next === undefined || frontend === undefined || server === undefined) {
    holding.servers.delete(name)
    holding.leaving.delete(name)
    if (present(held) !== undefined) draft.servers.push(`-D ${name}`)
    return
  }
  const { lines, state } = serverLines(present(held), server, frontend.protocol)
  draft.servers.push(...lines)
  hold(holding, name, { owner: next, protocol: frontend.protocol, server: state })
}

const withBits = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`

const memberId = ({ set, key }: SetEntry): string => `${set} ${key}`

const remember = ({ members }: Holding, draft: Draft, id: string): void => {
  if (!draft.before.has(id)) draft.before.set(id, members.get(id)?.entry)
}

const addMember = (holding: Holding, draft: Draft, entry: SetEntry): void => {
  const id = memberId(entry)
  const held = holding.members.get(id)
  if (held?.entry.options !== entry.options) remember(holding, draft, id)
  holding.members.set(id, { entry, needed: (held?.needed ?? 0) + 1 })
}

const dropMember = (holding: Holding, draft: Draft, entry: SetEntry): void => {
  const id = memberId(entry)
  const held = holding.members.get(id)!
  held.needed -= 1
  if (held.needed > 0) return
  remember(holding, draft, id)
  holding.members.delete(id)
}

const takeMembers = (holding: Holding, draft: Draft, before: Entries, after: Entries): void => {
  // First what comes, so that what stays is never counted down to nothing.
  for (const entry of after.members) addMember(holding, draft, entry)
  for (const entry of before.members) dropMember(holding, draft, entry)
}

/**
 * Adds to the draft what brings the kernel from what `holding` says to these changes; moves `holding` on.
 * @param oldMarks marks by set entry, where the kernel has any already
 */
export const compile = (
  holding: Holding,
  changes: Iterable<FrontendChange>,
  draft: Draft,
  oldMarks: ReadonlyMap<string, number> = new Map(),
): void => {
  const { entryWords, marks, frontends } = holding
  for (const { key, after: frontend } of changes) {
    const had = frontends.get(key)
    const before = had === undefined ? noEntries : toEntries(had, entryWords, marks.of(key))
    if (frontend === undefined) frontends.delete(key)
    else frontends.set(key, frontend)
    let after = noEntries
    if (frontend === undefined || !needsMark(frontend)) marks.give(key)
    if (frontend !== undefined) {
      const mark = needsMark(frontend) ? marks.take(key, oldMarks.get(firstKey(frontend, entryWords))) : undefined
      after = toEntries(frontend, entryWords, mark)
    }
    takeMembers(holding, draft, before, after)
    takeServers(holding, draft, { key, frontend, before, after })
  }
}

/** A draft as text. What several changes did and undid is left out. */
export const toLines = ({ members: held, words: { family } }: Holding, { before, servers }: Draft): Lines => {
  const come: string[] = []
  const go: string[] = []
  const addresses: string[] = []
  const late: string[] = []
  // Duplicate address detection would keep an IPv6 address unusable, and there is nobody to be a duplicate of.
  const dad = family === 'IPv6' ? ' nodad' : ''
  for (const [id, had] of before) {
    const entry = held.get(id)?.entry
    if (entry !== undefined && entry.options !== had?.options) {
      come.push(`add ${setName(entry.set, family)} ${entry.key}${entry.options && ` ${entry.options}`}`)
      if (entry.set === 'addresses') addresses.push(`addr replace ${withBits(entry.key)} dev ${device}${dad}`)
    } else if (entry === undefined && had !== undefined) {
      const line = `del ${setName(had.set, family)} ${had.key}`
      if (had.set === 'addresses') {
        addresses.push(`addr del ${withBits(had.key)} dev ${device}`)
        late.push(line)
      } else go.push(line)
    }
  }
  return { members: [...come, ...go], servers, addresses, late }
}
