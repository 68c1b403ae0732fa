// Shows what the kernel has of one frontend, and everything that differs. Reads only, off the sync path, never while something is written.
import type { Ipsets } from '../../host/ipset.ts'
import type { Iptables } from '../../host/iptables.ts'
import { type Ipvs, serverName } from '../../host/ipvs.ts'
import type { Link } from '../../host/link.ts'
import type { Inspector, Piece } from '../inspect-types.ts'
import { type Frontend, frontendKey } from '../model.ts'
import type { ProxySettings } from '../settings.ts'
import { compare } from './compare.ts'
import { type Holding, present } from './compile.ts'
import { toEntries } from './entries.ts'
import type { IpvsSettings } from './settings.ts'
import { nodePortIPs, readAddresses, readServers } from './standing.ts'
import { type IpvsTable, type IpvsWords, setName, tables } from './words.ts'

export interface IpvsInspectorDeps {
  readonly ipvs: Pick<Ipvs, 'list'>
  readonly ipsets: Pick<Ipsets, 'headers' | 'has'>
  readonly iptables: Pick<Iptables, 'save'>
  readonly link: Pick<Link, 'query'>
  readonly words: IpvsWords
  readonly settings: () => ProxySettings
  readonly ipvsSettings: IpvsSettings
  readonly holding: () => Holding | undefined
  /** Nothing is written while this works. */
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>
}

const weights = (destinations: ReadonlyMap<string, number> | undefined): string | undefined =>
  destinations &&
  [...destinations]
    .map(([to, weight]) => `${to} weight ${weight}`)
    .sort()
    .join(', ')

const piecesOf = async (
  { ipvs, ipsets, words }: IpvsInspectorDeps,
  { servers, entryWords, marks }: Holding,
  frontend: Frontend,
  most: number,
): Promise<{ readonly pieces: readonly Piece[]; readonly notAsked: number }> => {
  const entries = toEntries(frontend, entryWords, marks.of(frontendKey(frontend)))
  const there = await readServers(ipvs, words.family)
  const names = entries.servers
    .map(({ key }) => serverName(key))
    .filter(name => there.has(name) || present(servers.get(name)) !== undefined)
  const members = entries.members.slice(0, Math.max(0, most - names.length))
  const pieces = names.map(
    (name): Piece => ({
      where: 'virtual server',
      key: name,
      wanted: weights(servers.get(name)?.server.destinations) ?? '',
      found: weights(there.get(name)?.destinations),
    }),
  )
  for (const { set, key, options } of members) {
    const where = setName(set, words.family)
    pieces.push({ where, key, wanted: options, found: (await ipsets.has(where, key)) ? options : undefined })
  }
  return { pieces, notAsked: entries.members.length - members.length }
}

/** The inspector of one family. */
export const createIpvsInspector = (deps: IpvsInspectorDeps): Inspector => {
  const { inTurn, words, ipvs, ipsets, iptables, link } = deps
  const place = 'IPVS'
  return {
    look: (asked, _clients, most) =>
      inTurn(async () => {
        const holding = deps.holding()
        const written = holding?.frontends.get(frontendKey(asked))
        if (holding === undefined || written === undefined)
          return { place, written: undefined, pieces: [], notAsked: 0, remembered: [] }
        return { place, written, ...(await piecesOf(deps, holding, written, most)), remembered: [] }
      }),
    diff: () =>
      inTurn(async () => {
        const holding = deps.holding()
        if (holding === undefined) return undefined
        const addresses = await readAddresses(link, words.family)
        const saved = {} as Record<IpvsTable, string>
        for (const table of tables) saved[table] = await iptables.save(table)
        return compare(holding, deps.settings(), deps.ipvsSettings.excludeCIDRs, {
          servers: await readServers(ipvs, words.family),
          bound: addresses.hasDevice ? addresses.bound : undefined,
          nodePortIPs: nodePortIPs(deps.settings(), addresses, words.family),
          sets: await ipsets.headers(),
          saved,
        })
      }),
  }
}
