// Walks a connection's first packet through an in-memory table, hook by hook, as netfilter does: prerouting or output, the routing
// decision, then input or forward, then postrouting. Any statement that is not known here fails the test that meets it.
import { coversAddress } from '../address.ts'

export interface FakeSet {
  readonly kind: 'set' | 'map'
  readonly verdicts: boolean
  readonly elements: Map<string, string>
}

export interface FakeChain {
  readonly hook: string | undefined
  readonly priority: number
  readonly rules: string[]
}

export interface FakeTable {
  readonly sets: Map<string, FakeSet>
  readonly chains: Map<string, FakeChain>
}

export interface FakePacket {
  /** The node itself sent it. */
  readonly fromNode: boolean
  readonly from: string
  readonly to: string
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly port: number
  readonly iif?: string
}

export type FakeVerdict =
  | { readonly to: string; readonly port: number; readonly masqueraded: boolean; readonly translated: boolean }
  | 'rejected'
  | 'dropped'

interface State {
  readonly packet: FakePacket
  readonly family: 'ip' | 'ip6'
  to: string
  port: number
  mark: number
  translated: boolean
  masqueraded: boolean
}

type End = 'accept' | 'reject' | 'drop' | 'return' | undefined

const term =
  '(?:ct original ip6? [sd]addr|ct original proto-dst|ip6? [sd]addr|meta l4proto|(?:th|tcp|udp|sctp) dport|numgen random mod \\d+(?: offset \\d+)?)'
const concat = `(${term}(?: \\. ${term})*)`

/** The walk over tables that may change underneath it. */
export const createWalk = (tables: Map<string, FakeTable>, locals: readonly string[], random: () => number) => {
  const isLocal = (address: string) => locals.includes(address) || address.startsWith('127.') || address === '::1'

  const partOf = (text: string, state: State): string | undefined => {
    const [, number, offset = '0'] = /^numgen random mod (\d+)(?: offset (\d+))?$/.exec(text) ?? []
    if (number !== undefined) return String(Math.floor(random() * Number(number)) + Number(offset))
    if (/^ct original ip6? saddr$|^ip6? saddr$/.test(text)) return state.packet.from
    if (/^ct original ip6? daddr$/.test(text)) return state.packet.to
    if (/^ip6? daddr$/.test(text)) return state.to
    if (text === 'ct original proto-dst') return String(state.packet.port)
    if (text === 'meta l4proto') return state.packet.protocol
    const [, protocol] = /^(th|tcp|udp|sctp) dport$/.exec(text) ?? []
    return protocol === 'th' || protocol === state.packet.protocol ? String(state.port) : undefined
  }
  const keyOf = (text: string, state: State): string | undefined => {
    const parts = text.split(' . ').map(part => partOf(part, state))
    return parts.includes(undefined) ? undefined : parts.join(' . ')
  }
  const family = (state: State) => (state.family === 'ip' ? ('IPv4' as const) : ('IPv6' as const))
  const inSet = (table: FakeTable, name: string, key: string, state: State): boolean => {
    const { elements } = table.sets.get(name)!
    // An element may be a range of addresses.
    return elements.has(key) || coversAddress([...elements.keys()], key, family(state))
  }

  const statements = (table: FakeTable, state: State): readonly [RegExp, (found: RegExpExecArray) => boolean | End][] => [
    [/^meta l4proto \{ tcp, udp, sctp \} ?/, () => true],
    [/^meta l4proto (tcp|udp|sctp) ?(?!\.)/, ([, protocol]) => protocol === state.packet.protocol],
    [/^ct state (new|invalid) ?/, ([, name]) => name === 'new'],
    [/^ct status dnat ?/, () => state.translated],
    [
      /^ip6? saddr (!= )?\{ ([^}]*) \} ?/,
      ([, not, list = '']) => coversAddress(list.split(', '), state.packet.from, family(state)) === !not,
    ],
    [/^ip6? daddr != (\S+) ?/, ([, range = '']) => !coversAddress([range], state.to, family(state))],
    [
      /^iifname (!= )?"([^"]*)" ?/,
      ([, not, name = '']) => {
        const iif = state.packet.fromNode ? '' : (state.packet.iif ?? '')
        return (name.endsWith('*') ? iif.startsWith(name.slice(0, -1)) : iif === name) === !not
      },
    ],
    [/^fib ([sd])addr type local ?/, ([, side]) => isLocal(side === 's' ? state.packet.from : state.to)],
    [/^meta mark and (\S+) != 0 ?/, ([, mask]) => (state.mark & Number(mask)) !== 0],
    [
      /^meta mark set meta mark (or|xor) (\S+) ?/,
      ([, how, mask]) => {
        state.mark = how === 'or' ? state.mark | Number(mask) : state.mark ^ Number(mask)
        return true
      },
    ],
    [
      new RegExp(`^dnat ip6? to ${concat} map @(\\S+) ?`),
      ([, key = '', map = '']) => {
        const found = table.sets.get(map)!.elements.get(keyOf(key, state) ?? '')
        if (found === undefined) return false
        const [address = '', port] = found.split(' . ')
        state.to = address
        state.port = Number(port)
        state.translated = true
        return 'accept'
      },
    ],
    [
      new RegExp(`^update @(\\S+) \\{ ${concat} timeout \\d+s \\} ?`),
      ([, set = '', key = '']) => {
        table.sets.get(set)!.elements.set(keyOf(key, state)!, '')
        return true
      },
    ],
    [
      new RegExp(`^${concat} vmap @(\\S+) ?`),
      ([, key = '', map = '']) => {
        const verdict = table.sets.get(map)!.elements.get(keyOf(key, state) ?? '')
        return verdict === undefined ? false : carryOut(table, state, verdict)
      },
    ],
    [
      new RegExp(`^${concat} (!= )?@(\\S+) ?`),
      ([, text = '', not, set = '']) => {
        const key = keyOf(text, state)
        return key !== undefined && inSet(table, set, key, state) === !not
      },
    ],
    [
      /^masquerade( fully-random)? ?/,
      () => {
        state.masqueraded = true
        return 'accept'
      },
    ],
    [/^reject( with tcp reset)? ?/, () => 'reject'],
    [/^(drop|return|jump \S+|goto \S+) ?/, ([, verdict = '']) => carryOut(table, state, verdict)],
  ]

  const carryOut = (table: FakeTable, state: State, verdict: string): boolean | End => {
    if (verdict === 'drop' || verdict === 'return') return verdict
    const [how, chain = ''] = verdict.split(' ')
    const end = walkChain(table, table.chains.get(chain)!, state)
    // A chain that was gone to does not come back to this one.
    if (how === 'goto') return end ?? 'return'
    return end === undefined || end === 'return' ? true : end
  }
  const walkRule = (table: FakeTable, rule: string, state: State): End => {
    let rest = rule
    while (rest !== '') {
      const hit = statements(table, state).flatMap(([pattern, run]) => {
        const found = pattern.exec(rest)
        return found === null ? [] : [{ found, run }]
      })[0]
      if (hit === undefined) throw new Error(`not understood: ${rest}`)
      const result = hit.run(hit.found)
      if (typeof result === 'string') return result
      if (!result) return undefined
      rest = rest.slice(hit.found[0].length)
    }
    return undefined
  }
  const walkChain = (table: FakeTable, chain: FakeChain, state: State): End => {
    for (const rule of chain.rules) {
      const end = walkRule(table, rule, state)
      if (end !== undefined) return end
    }
    return undefined
  }
  const walkHook = (hook: string, state: State): End => {
    const based = [...tables]
      .filter(([name]) => name.startsWith(`${state.family} `))
      .flatMap(([, table]) => [...table.chains.values()].map(chain => ({ table, chain })))
      .filter(({ chain }) => chain.hook?.includes(` hook ${hook} `))
      .sort((a, b) => a.chain.priority - b.chain.priority)
    for (const { table, chain } of based) {
      const end = walkChain(table, chain, state)
      if (end === 'reject' || end === 'drop') return end
    }
    return undefined
  }

  return (packet: FakePacket): FakeVerdict => {
    const state: State = {
      packet,
      family: packet.to.includes(':') ? 'ip6' : 'ip',
      to: packet.to,
      port: packet.port,
      mark: 0,
      translated: false,
      masqueraded: false,
    }
    const way = packet.fromNode ? ['output', 'postrouting'] : ['prerouting', 'routed']
    for (const step of way) {
      const hooks = step === 'routed' ? (isLocal(state.to) ? ['input'] : ['forward', 'postrouting']) : [step]
      for (const hook of hooks) {
        const end = walkHook(hook, state)
        if (end === 'reject') return 'rejected'
        if (end === 'drop') return 'dropped'
      }
    }
    if (packet.fromNode && isLocal(state.to)) {
      const end = walkHook('input', state)
      if (end === 'reject') return 'rejected'
      if (end === 'drop') return 'dropped'
    }
    return { to: state.to, port: state.port, masqueraded: state.masqueraded, translated: state.translated }
  }
}
