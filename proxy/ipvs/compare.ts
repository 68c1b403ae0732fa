// What the kernel has against what it should have, of one family: pure, from what was listed. `nodelet diff` and the watch both ask.
// Sets are compared by their number of entries, chains by their number of rules: iptables prints rules in other words than it takes.
import type { SetHeader } from '../../host/ipset.ts'
import { optionWords, type VirtualServer } from '../../host/ipvs.ts'
import type { Compared, Difference } from '../inspect-types.ts'
import type { ProxySettings } from '../settings.ts'
import { boundAddresses, type Holding, present } from './compile.ts'
import { chains, jumps } from './rules.ts'
import { mayRemove } from './standing.ts'
import { device, type IpvsTable, setIds, setName, tables } from './words.ts'

export interface Listed {
  readonly servers: ReadonlyMap<string, VirtualServer>
  /** On the device; undefined when there is none. */
  readonly bound: ReadonlySet<string> | undefined
  /** Addresses of the node that serve node ports by now. */
  readonly nodePortIPs: readonly string[]
  readonly sets: readonly SetHeader[]
  /** What iptables-save prints. */
  readonly saved: Readonly<Record<IpvsTable, string>>
}

const describeServer = ({ destinations, ...options }: VirtualServer): string =>
  [optionWords(options), ...[...destinations].map(([to, weight]) => `${to} weight ${weight}`).sort()].join(', ')

const compareServers = (holding: Holding, servers: Listed['servers'], excluded: readonly string[]): readonly Difference[] => {
  const place = 'IPVS'
  const wanted = [...holding.servers].flatMap(([name, { server }]): Difference[] => {
    const there = servers.get(name)
    if (server.destinations.size === 0) return []
    const should = describeServer(server)
    const found = there && describeServer(there)
    if (found === should) return []
    return [{ place, kind: found === undefined ? 'missing' : 'different', what: `virtual server ${name}`, wanted: should, found }]
  })
  const foreign = [...servers].flatMap(([name, server]): Difference[] =>
    present(holding.servers.get(name)) !== undefined || !mayRemove(server.key, holding.words.family, excluded, holding.marks)
      ? []
      : [{ place, kind: 'foreign', what: `virtual server ${name}`, wanted: undefined, found: describeServer(server) }],
  )
  return [...wanted, ...foreign]
}

const compareAddresses = (holding: Holding, bound: Listed['bound']): readonly Difference[] => {
  const place = `device ${device}`
  if (bound === undefined) return [{ place, kind: 'missing', what: 'the device', wanted: 'a dummy device', found: undefined }]
  const wanted = boundAddresses(holding)
  return [
    ...[...wanted.difference(bound)].map(
      (ip): Difference => ({ place, kind: 'missing', what: `address ${ip}`, wanted: ip, found: undefined }),
    ),
    ...[...new Set(bound).difference(wanted)].map(
      (ip): Difference => ({ place, kind: 'foreign', what: `address ${ip}`, wanted: undefined, found: ip }),
    ),
  ]
}

/** An address that the node got, or lost, since node ports were written. */
const compareNodePorts = ({ entryWords }: Holding, now: readonly string[]): readonly Difference[] => {
  const place = 'addresses of the node'
  const [had, has] = [new Set(entryWords.nodePortIPs), new Set(now)]
  return [
    ...[...has.difference(had)].map(
      (ip): Difference => ({ place, kind: 'missing', what: `node ports of ${ip}`, wanted: ip, found: undefined }),
    ),
    ...[...had.difference(has)].map(
      (ip): Difference => ({ place, kind: 'foreign', what: `node ports of ${ip}`, wanted: undefined, found: ip }),
    ),
  ]
}

const compareSets = ({ members, words: { family } }: Holding, headers: readonly SetHeader[]): readonly Difference[] => {
  const counts = new Map<string, number>()
  for (const { entry } of members.values()) counts.set(entry.set, (counts.get(entry.set) ?? 0) + 1)
  return setIds.flatMap((id): Difference[] => {
    const name = setName(id, family)
    const there = headers.find(header => header.name === name)
    const wanted = counts.get(id) ?? 0
    if (there?.entries === wanted) return []
    const what = `set ${name}`
    if (there === undefined) return [{ place: 'ipset', kind: 'missing', what, wanted: `${wanted} entries`, found: undefined }]
    return [{ place: 'ipset', kind: 'different', what, wanted: `${wanted} entries`, found: `${there.entries} entries` }]
  })
}

const compareRules = (holding: Holding, settings: ProxySettings, saved: Listed['saved']): readonly Difference[] => {
  const differences: Difference[] = []
  const { command } = holding.words.iptables
  const check = (table: IpvsTable, what: string, wanted: number, found: number) => {
    if (found === wanted) return
    const kind = found === 0 ? 'missing' : 'different'
    differences.push({ place: `${command} table ${table}`, kind, what, wanted: `${wanted} rules`, found: `${found} rules` })
  }
  for (const table of tables) {
    const lines = saved[table].split('\n').filter(line => line.startsWith('-A '))
    for (const { name, rules } of chains(holding.words, settings).filter(chain => chain.table === table))
      check(table, `chain ${name}`, rules.length, lines.filter(line => line.startsWith(`-A ${name} `)).length)
    for (const { from, rule } of jumps.filter(jump => jump.table === table)) {
      const target = rule.slice(rule.lastIndexOf(' '))
      const leading = lines.filter(line => line.startsWith(`-A ${from} `) && line.endsWith(target))
      check(table, `jump from ${from} to${target}`, 1, leading.length)
    }
  }
  return differences
}

/** All that differs. */
export const compare = (holding: Holding, settings: ProxySettings, excluded: readonly string[], listed: Listed): Compared => ({
  differences: [
    ...compareServers(holding, listed.servers, excluded),
    ...compareAddresses(holding, listed.bound),
    ...compareNodePorts(holding, listed.nodePortIPs),
    ...compareSets(holding, listed.sets),
    ...compareRules(holding, settings, listed.saved),
  ],
  compared:
    listed.servers.size + (listed.bound?.size ?? 0) + setIds.length + chains(holding.words, settings).length + jumps.length,
})
