// Walks a connection's first packet through tables, sets and virtual servers in memory, hook by hook, as the kernel does with IPVS:
// in INPUT after the filter table, in OUTPUT between nat and filter. Any match or target that is not known here fails the test.
import { coversAddress } from '../address.ts'

export interface FakeSet {
  readonly type: string
  readonly family: string
  /** Options by entry. */
  entries: Map<string, string>
}

export interface FakeServer {
  options: string
  readonly destinations: Map<string, number>
  /** Connections by destination, as a test says. */
  readonly connections: Map<string, number>
}

export interface FakeTables {
  /** Rules by chain, by table. */
  readonly [table: string]: Map<string, string[]>
}

export interface IpvsPacket {
  /** The node itself sent it: from the address that it sends to, where that is one of its own. */
  readonly fromNode: boolean
  readonly from: string
  readonly to: string
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly port: number
  readonly iif?: string
}

export type IpvsVerdict = { readonly to: string; readonly port: number; readonly masqueraded: boolean } | 'rejected' | 'dropped'
export type PacketWalk = (packet: IpvsPacket) => IpvsVerdict

interface State {
  readonly packet: IpvsPacket
  readonly from: string
  readonly tables: FakeTables
  to: string
  port: number
  mark: number
  masqueraded: boolean
  byIpvs: boolean
}

type End = 'accept' | 'reject' | 'drop' | 'return' | undefined

export interface WalkDeps {
  readonly servers: ReadonlyMap<string, FakeServer>
  readonly sets: ReadonlyMap<string, FakeSet>
  readonly iptables: Readonly<Record<'iptables' | 'ip6tables', FakeTables>>
  readonly devices: ReadonlyMap<string, ReadonlySet<string>>
  readonly random: () => number
}

const serviceOption = { tcp: '-t', udp: '-u', sctp: '--sctp-service' } as const

/** The walk over what may change underneath it; remembers who is persistent. */
export const createPacketWalk = ({ servers, sets, iptables, devices, random }: WalkDeps): PacketWalk => {
  const persistent = new Map<string, string>()
  const isLocal = (address: string) =>
    address.startsWith('127.') || address === '::1' || [...devices.values()].some(addresses => addresses.has(address))

  const entryIn = (name: string, sides: string, state: State): string | undefined => {
    const set = sets.get(name)!
    const parts = sides.split(',').map((side, at) => {
      const ip = side === 'src' ? state.from : state.to
      return at === 1 ? `${state.packet.protocol}:${state.port}` : ip
    })
    if (set.type === 'hash:ip,port,net') {
      const [ip, port, source = ''] = parts
      const family = source.includes(':') ? 'IPv6' : 'IPv4'
      const ranges = [...set.entries.keys()]
        .filter(entry => entry.startsWith(`${ip},${port},`))
        .map(entry => entry.slice(`${ip},${port},`.length))
      return coversAddress(ranges, source, family) ? '' : undefined
    }
    return set.entries.get(parts.join(','))
  }

  const matches = (state: State): readonly [RegExp, (found: RegExpExecArray) => boolean][] => [
    [/^-m comment --comment "[^"]*" ?/, () => true],
    [/^-m set --match-set (\S+) (\S+) ?/, ([, set = '', sides = '']) => entryIn(set, sides, state) !== undefined],
    [/^-m conntrack --ctstate (\S+) ?/, ([, states]) => states === 'NEW'],
    [/^-m addrtype --(src|dst)-type LOCAL ?/, ([, side]) => isLocal(side === 'src' ? state.from : state.to)],
    [/^-m ipvs --ipvs ?/, () => state.byIpvs],
    [/^-m mark (! )?--mark (\w+)\/\w+ ?/, ([, not, mark]) => ((state.mark & Number(mark)) !== 0) === !not],
    [/^-s (\S+) ?/, ([, range = '']) => coversAddress([range], state.from, range.includes(':') ? 'IPv6' : 'IPv4')],
    [
      /^-i (\S+) ?/,
      ([, name = '']) =>
        name.endsWith('+') ? (state.packet.iif ?? '').startsWith(name.slice(0, -1)) : state.packet.iif === name,
    ],
    [/^-p (\S+) ?/, ([, protocol]) => protocol === state.packet.protocol],
  ]

  const carryOut = (table: string, target: string, state: State): End => {
    const [name = '', option = '', ...rest] = target.split(' ')
    switch (name) {
      case 'RETURN':
      case 'ACCEPT':
      case 'DROP':
      case 'REJECT':
        return name.toLowerCase() as End
      case 'MASQUERADE':
        state.masqueraded = true
        return 'accept'
      case 'MARK':
        state.mark = option === '--or-mark' ? state.mark | Number(rest[0]) : state.mark ^ Number(rest[0])
        return undefined
      case 'SET': {
        const options = entryIn(rest[0]!, rest[1]!, state)
        if (options !== undefined) state.mark = Number(options.split(' ')[1])
        return undefined
      }
      default: {
        const end = walkChain(table, name, state)
        return end === 'return' ? undefined : end
      }
    }
  }
  const walkRule = (table: string, rule: string, state: State): End => {
    let rest = rule
    while (!rest.startsWith('-j ')) {
      const hit = matches(state).flatMap(([pattern, run]) => {
        const found = pattern.exec(rest)
        return found === null ? [] : [{ found, run }]
      })[0]
      if (hit === undefined) throw new Error(`not understood: ${rest}`)
      if (!hit.run(hit.found)) return undefined
      rest = rest.slice(hit.found[0].length)
    }
    return carryOut(table, rest.slice(3), state)
  }
  const walkChain = (table: string, chain: string, state: State): End => {
    for (const rule of state.tables[table]!.get(chain)!) {
      const end = walkRule(table, rule, state)
      if (end !== undefined) return end
    }
    return undefined
  }
  /** True when the packet goes no further. */
  const refusedAt = (state: State, ...places: readonly (readonly [string, string])[]): 'rejected' | 'dropped' | undefined => {
    for (const [table, chain] of places) {
      const end = walkChain(table, chain, state)
      if (end === 'reject') return 'rejected'
      if (end === 'drop') return 'dropped'
    }
    return undefined
  }

  const pick = (name: string, { destinations, options }: FakeServer, client: string): string | undefined => {
    const usable = [...destinations].filter(([, weight]) => weight > 0).map(([to]) => to)
    const isSticky = options.includes(' -p ')
    const remembered = persistent.get(`${name} ${client}`)
    if (isSticky && remembered !== undefined && usable.includes(remembered)) return remembered
    const drawn = usable[Math.floor(random() * usable.length)]
    if (isSticky && drawn !== undefined) persistent.set(`${name} ${client}`, drawn)
    return drawn
  }
  /** What IPVS does with a packet for this node: nothing, refuse it, or send it on. */
  const schedule = (state: State): 'rejected' | 'sent' | undefined => {
    const isV6 = state.to.includes(':')
    const byMark = `-f ${state.mark}${isV6 ? ' -6' : ''}`
    const address = isV6 ? `[${state.to}]` : state.to
    const byAddress = `${serviceOption[state.packet.protocol]} ${address}:${state.port}`
    const name = servers.has(byMark) ? byMark : byAddress
    const server = servers.get(name)
    if (server === undefined) return undefined
    const to = pick(name, server, state.from)
    if (to === undefined) return 'rejected'
    const at = to.lastIndexOf(':')
    state.to = to.slice(0, at).replace(/^\[|\]$/g, '')
    state.port = Number(to.slice(at + 1))
    state.byIpvs = true
    return 'sent'
  }

  return packet => {
    const tables = iptables[packet.to.includes(':') ? 'ip6tables' : 'iptables']
    const from = packet.fromNode && isLocal(packet.to) ? packet.to : packet.from
    const state: State = { packet, from, tables, to: packet.to, port: packet.port, mark: 0, masqueraded: false, byIpvs: false }
    const verdict = () => ({ to: state.to, port: state.port, masqueraded: state.masqueraded })
    const leave = () => refusedAt(state, ['nat', 'POSTROUTING']) ?? verdict()
    const output = (): IpvsVerdict | undefined => refusedAt(state, ['mangle', 'OUTPUT'], ['filter', 'OUTPUT'])

    if (packet.fromNode) {
      const refused = refusedAt(state, ['mangle', 'OUTPUT'], ['nat', 'OUTPUT'])
      if (refused !== undefined) return refused
      const sent = schedule(state)
      if (sent === 'rejected') return 'rejected'
      if (sent === 'sent' || !isLocal(state.to)) return refusedAt(state, ['filter', 'OUTPUT']) ?? leave()
      return refusedAt(state, ['filter', 'INPUT']) ?? verdict()
    }
    const early = refusedAt(state, ['mangle', 'PREROUTING'], ['nat', 'PREROUTING'])
    if (early !== undefined) return early
    if (!isLocal(state.to)) return refusedAt(state, ['filter', 'FORWARD']) ?? leave()
    const refused = refusedAt(state, ['filter', 'INPUT'])
    if (refused !== undefined) return refused
    const sent = schedule(state)
    if (sent === 'rejected') return 'rejected'
    return sent === 'sent' ? (output() ?? leave()) : verdict()
  }
}
