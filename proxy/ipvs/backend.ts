// Carries compiled lines to ipset, iptables, ipvsadm and ip for one family, and keeps the book of what the kernel has taken. No policy.
// A change lists nothing. A full sync looks at what is there and changes only what differs: connections of virtual servers that stay are
// never touched, sets are filled aside and swapped, rules are replaced in one commit per table.
import type { Ipsets } from '../../host/ipset.ts'
import type { Iptables } from '../../host/iptables.ts'
import type { Ipvs } from '../../host/ipvs.ts'
import type { Link } from '../../host/link.ts'
import type { Slices } from '../../host/loop.ts'
import type { ApplyCount, Backend } from '../backend.ts'
import type { Inspector } from '../inspect-types.ts'
import { type Frontend, frontendKey } from '../model.ts'
import type { ProxySettings } from '../settings.ts'
import { boundAddresses, compile, emptyDraft, emptyHolding, type Holding, type Lines, serverLines, toLines } from './compile.ts'
import { createIpvsInspector } from './inspect.ts'
import { createMarks } from './marks.ts'
import { chains, readStanding, replacement, type Standing } from './rules.ts'
import type { IpvsSettings } from './settings.ts'
import { type Addresses, mayRemove, nodePortIPs, readAddresses, readMarks, readServers } from './standing.ts'
import { asideName, device, foreignSets, type IpvsTable, type IpvsWords, setIds, setName, setWords, tables } from './words.ts'

export interface IpvsBackendDeps {
  readonly ipvs: Ipvs
  readonly ipsets: Ipsets
  readonly iptables: Pick<Iptables, 'restore' | 'save'>
  readonly link: Pick<Link, 'batch' | 'query'>
  readonly words: IpvsWords
  readonly settings: () => ProxySettings
  readonly ipvsSettings: IpvsSettings
  readonly slices: Slices
}

export interface IpvsBackend extends Backend {
  readonly inspector: Inspector
  /** Takes away destinations that were on their way out and have no connection any more. @returns how many */
  sweep(): Promise<number>
}

// Compiling this many takes a few milliseconds: the loop is asked for in between.
const perSlice = 250

/** The lines that fill every set aside and put it in the place of what is there. */
const setLines = ({ members, words: { family } }: Holding): readonly string[] => {
  const lines: string[] = []
  for (const id of setIds) {
    const aside = asideName(id, family)
    lines.push(`create ${setWords(id, family)}`, `create ${setWords(id, family, aside)}`, `flush ${aside}`)
  }
  for (const { entry } of members.values())
    lines.push(`add ${asideName(entry.set, family)} ${entry.key}${entry.options && ` ${entry.options}`}`)
  for (const id of setIds) {
    const aside = asideName(id, family)
    lines.push(`swap ${aside} ${setName(id, family)}`, `destroy ${aside}`)
  }
  return lines
}

/** The IPVS backend of one family. */
export const createIpvsBackend = (deps: IpvsBackendDeps): IpvsBackend => {
  const { ipvs, ipsets, iptables, link, words, settings, ipvsSettings, slices } = deps
  let holding: Holding | undefined
  // A sweep and a sync never overlap.
  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const result = turn.then(work, work)
    turn = result.catch(() => undefined)
    return result
  }

  const carryOut = async ({ members, servers, addresses, late }: Lines): Promise<void> => {
    await ipsets.restore(members)
    await ipvs.restore(servers)
    await link.batch(addresses)
    await ipsets.restore(late)
  }

  const compileAll = async (book: Holding, frontends: Iterable<Frontend>, oldMarks: ReadonlyMap<string, number>) => {
    let count = 0
    const draft = emptyDraft()
    for (const after of frontends) {
      compile(book, [{ key: frontendKey(after), before: undefined, after }], draft, oldMarks)
      count += 1
      if (count % perSlice === 0) await slices.pause()
    }
  }

  const replaceRules = async (): Promise<void> => {
    const standing = {} as Record<IpvsTable, Standing>
    for (const table of tables) standing[table] = readStanding(await iptables.save(table))
    await iptables.restore(replacement(standing, chains(words, settings())))
  }

  /** From what the kernel lists to what the book says; the book learns what stays on its way out. */
  const replaceServers = async (book: Holding): Promise<readonly string[]> => {
    const there = await readServers(ipvs, words.family)
    const lines: string[] = []
    let count = 0
    for (const [name, held] of book.servers) {
      count += 1
      if (count % perSlice === 0) await slices.pause()
      const { lines: some, state } = serverLines(there.get(name), held.server, held.protocol)
      for (const line of some) lines.push(line)
      book.servers.set(name, { ...held, server: state })
      if ([...state.destinations.values()].includes(0)) book.leaving.add(name)
    }
    for (const [name, { key }] of there)
      if (!book.servers.has(name) && mayRemove(key, words.family, ipvsSettings.excludeCIDRs, book.marks)) lines.push(`-D ${name}`)
    await ipvs.restore(lines)
    return lines
  }

  const replaceAddresses = async (book: Holding, { hasDevice, bound }: Addresses): Promise<readonly string[]> => {
    const wanted = boundAddresses(book)
    const [bits, dad] = words.family === 'IPv6' ? [128, ' nodad'] : [32, '']
    const lines = [
      ...(hasDevice ? [] : [`link add ${device} type dummy`]),
      ...[...wanted.difference(bound)].map(ip => `addr replace ${ip}/${bits} dev ${device}${dad}`),
      ...[...new Set(bound).difference(wanted)].map(ip => `addr del ${ip}/${bits} dev ${device}`),
    ]
    await link.batch(lines)
    return lines
  }

  const full = async (frontends: Iterable<Frontend>): Promise<ApplyCount> => {
    holding = undefined
    const addresses = await readAddresses(link, words.family)
    const marks = createMarks(settings().masqueradeBit)
    const entryWords = {
      scheduler: ipvsSettings.scheduler || 'rr',
      nodePortIPs: nodePortIPs(settings(), addresses, words.family),
      ownIPs: new Set(addresses.own),
    }
    const book = emptyHolding(words, entryWords, marks)
    await compileAll(book, frontends, await readMarks(ipsets, words.family))
    const sets = setLines(book)
    await ipsets.restore(sets)
    await replaceRules()
    const servers = await replaceServers(book)
    const moved = await replaceAddresses(book, addresses)
    await removeForeignSets()
    holding = book
    return { transactions: 4, operations: sets.length + servers.length + moved.length }
  }

  /** Sets that a kube-proxy made and no rule looks into any more. */
  const removeForeignSets = async (): Promise<void> => {
    const names = new Set(foreignSets(words.family))
    const there = (await ipsets.headers()).filter(({ name }) => names.has(name))
    // One that other software looks into stays.
    for (const { name } of there) await ipsets.restore([`destroy ${name}`]).catch(() => undefined)
  }

  const apply: Backend['apply'] = async changes => {
    const book = holding
    if (book === undefined) throw new Error('a full sync must come first')
    holding = undefined
    const draft = emptyDraft()
    for (let at = 0; at < changes.length; at += perSlice) {
      compile(book, changes.slice(at, at + perSlice), draft)
      if (at + perSlice < changes.length) await slices.pause()
    }
    const lines = toLines(book, draft)
    await carryOut(lines)
    holding = book
    const operations = lines.members.length + lines.servers.length + lines.addresses.length + lines.late.length
    return { transactions: operations > 0 ? 1 : 0, operations }
  }

  const sweep = async (): Promise<number> => {
    const book = holding
    if (book === undefined || book.leaving.size === 0) return 0
    const connections = await ipvs.connections()
    const lines: string[] = []
    for (const name of book.leaving) {
      const held = book.servers.get(name)!
      const destinations = new Map(held.server.destinations)
      const gone: string[] = []
      for (const [to, weight] of held.server.destinations) {
        if (weight !== 0 || (connections.get(name)?.get(to) ?? 0) > 0) continue
        destinations.delete(to)
        gone.push(`-d ${name} -r ${to}`)
      }
      for (const line of destinations.size === 0 ? [`-D ${name}`] : gone) lines.push(line)
      book.servers.set(name, { ...held, server: { ...held.server, destinations } })
      if (![...destinations.values()].includes(0)) book.leaving.delete(name)
    }
    holding = undefined
    await ipvs.restore(lines)
    holding = book
    return lines.length
  }

  return {
    name: 'ipvs',
    family: words.family,
    inspector: createIpvsInspector({
      ipvs,
      ipsets,
      iptables,
      link,
      words,
      settings,
      ipvsSettings,
      inTurn,
      holding: () => holding,
    }),
    full: frontends => inTurn(() => full(frontends)),
    apply: changes => inTurn(() => apply(changes)),
    sweep: () => inTurn(sweep),
  }
}
