// From one frontend to rules: the chains that are its own, and its lines in chains that it shares with others. Pure text.
// There is no chain per endpoint: a rule draws and translates in one, a client list remembers, and who called itself is found on the
// way out. A packet that no rule here sends anywhere keeps its address, and the filter table says what becomes of it.
import type { Destination, Frontend, Lane, Refusal } from '../model.ts'
import { addressShelf, chainName, clientList, frontendChains, portShelf, type Shelf, type Table } from './words.ts'

/** A chain of one frontend, written whole. */
export interface OwnChain {
  readonly name: string
  readonly rules: readonly string[]
}

/** A piece of a shared chain; frontends that need the same one (`id`) share it. */
export interface Line {
  readonly table: Table
  readonly chain: string
  /** Of which list the chain is a part; undefined for a chain that always stands. */
  readonly shelf: Shelf | undefined
  readonly id: string
  /** Comes after all lines that are not late. */
  readonly late: boolean
  readonly rules: readonly string[]
}

/** What rules need to know of the settings. */
export interface RuleWords {
  /** Conditions that each tell traffic of this node's pods; empty when there is no telling. */
  readonly fromPods: readonly string[]
}

const withPort = ({ ip, port }: Destination): string => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`)

// Nothing of a name may end the quotes; the kernel takes 255 bytes.
const comment = ({ service, portName }: Frontend): string =>
  `-m comment --comment "${`${service}${portName && `:${portName}`}`.replace(/["\\\s]/g, '_').slice(0, 240)}"`

const protocolOf = ({ protocol }: Frontend): string => `-p ${protocol.toLowerCase()}`

const pickRules = (frontend: Frontend, { to }: Lane): readonly string[] => {
  const protocol = protocolOf(frontend)
  const sticky = frontend.affinitySeconds > 0
  const list = (destination: Destination) => `-m recent --name ${clientList(frontend, destination)} --rsource`
  const dnat = (destination: Destination) => `-j DNAT --to-destination ${withPort(destination)}`
  const remembered = to.map(one => `${protocol} ${list(one)} --update --seconds ${frontend.affinitySeconds} --reap ${dnat(one)}`)
  const drawn = to.map((one, index) => {
    const rest = to.length - index
    const draw = rest === 1 ? '' : ` -m statistic --mode random --probability ${(1 / rest).toFixed(10)}`
    return `${protocol}${draw}${sticky ? ` ${list(one)} --set` : ''} ${dnat(one)}`
  })
  return sticky ? [...remembered, ...drawn] : drawn
}

const isSent = ({ lane, inside }: Frontend): boolean => lane.to.length > 0 || (inside?.to.length ?? 0) > 0

const externalRules = (frontend: Frontend, service: string, { fromPods }: RuleWords): readonly string[] => {
  const { lane, inside, masquerade } = frontend
  const picks = pickRules(frontend, lane)
  if (masquerade === 'always') return [`-j ${chainName.markMasquerade}`, ...picks]
  if (inside === undefined || inside.to.length === 0) return picks
  return [
    ...fromPods.map(condition => `${condition} -g ${service}`),
    // Traffic of the host itself goes where its pods' goes, but needs the node's address to find back.
    `-m addrtype --src-type LOCAL -j ${chainName.markMasquerade}`,
    `-m addrtype --src-type LOCAL -g ${service}`,
    ...picks,
  ]
}

/** The chains of a frontend, in the nat table; none when it has nobody to send to. */
export const ownChains = (frontend: Frontend, words: RuleWords): readonly OwnChain[] => {
  if (!isSent(frontend)) return []
  const names = frontendChains(frontend)
  if (frontend.kind === 'cluster-ip')
    return [{ name: names.service, rules: [`-j ${chainName.markOffCluster}`, ...pickRules(frontend, frontend.lane)] }]
  const { inside, sourceRanges } = frontend
  return [
    ...(inside === undefined || inside.to.length === 0 ? [] : [{ name: names.service, rules: pickRules(frontend, inside) }]),
    { name: names.external, rules: externalRules(frontend, names.service, words) },
    ...(sourceRanges === undefined
      ? []
      : [{ name: names.ranges, rules: sourceRanges.map(range => `-s ${range} -j ${names.external}`) }]),
  ]
}

const bits = { IPv4: 32, IPv6: 128 } as const

/** The shelf that a frontend's lines stand on. */
export const shelfOf = ({ ip, family, protocol, port }: Frontend): Shelf =>
  ip === '' ? portShelf(protocol, port) : addressShelf(ip, family)

const refusal = { reject: `-j ${chainName.reject}`, drop: '-j DROP' } as const satisfies Record<Refusal, string>

const refusalRules = (frontend: Frontend, match: string): readonly string[] => {
  const { lane, sourceRanges } = frontend
  const refused = lane.to.length > 0 ? [] : [`${match} ${refusal[lane.otherwise]}`]
  if (sourceRanges === undefined) return refused
  // Who may come in has been sent on, or is told that nobody is there; whoever else comes this far is kept out in silence.
  return [...sourceRanges.flatMap(range => refused.map(rule => `-s ${range} ${rule}`)), `${match} -j ${chainName.firewall}`]
}

const hairpinLine = ({ ip }: Destination): Line => ({
  table: 'nat',
  chain: chainName.hairpin,
  shelf: undefined,
  id: ip,
  late: false,
  rules: [`-s ${ip} -d ${ip} -j MASQUERADE --random-fully`],
})

/** The lines of a frontend in chains that it shares. */
export const sharedLines = (frontend: Frontend): readonly Line[] => {
  const { kind, ip, family, port, sourceRanges, lane, inside } = frontend
  const shelf = shelfOf(frontend)
  const address = ip === '' ? '' : `-d ${ip}/${bits[family]} `
  const match = `${address}${protocolOf(frontend)} ${comment(frontend)} --dport ${port}`
  const id = `${ip} ${frontend.protocol} ${port}`
  const names = frontendChains(frontend)
  const target = sourceRanges !== undefined ? names.ranges : kind === 'cluster-ip' ? names.service : names.external
  const on = (table: Table, key: string, rules: readonly string[], late = false): Line => ({
    table,
    chain: shelf.name,
    shelf,
    id: key,
    late,
    rules,
  })
  const refused = refusalRules(frontend, match)
  const local = [...new Set([...lane.to, ...(inside?.to ?? [])])].filter(destination => destination.local)
  return [
    ...(isSent(frontend) ? [on('nat', id, [`${match} -j ${target}`])] : []),
    ...(refused.length > 0 ? [on('filter', id, refused)] : []),
    // Ports that no Service has at this address.
    ...(kind === 'cluster-ip' ? [on('filter', `${ip} unknown`, [`-d ${ip}/${bits[family]} -j ${chainName.reject}`], true)] : []),
    ...[...new Map(local.map(one => [one.ip, one])).values()].map(hairpinLine),
  ]
}
