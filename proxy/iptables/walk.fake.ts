// Walks a connection's first packet through tables in memory, hook by hook, as netfilter does: prerouting or output, the routing
// decision, then input or forward, then postrouting. A word that is not known here fails the test that meets it.
import { parseAddress } from '../../host/address.ts'
import { coversAddress } from '../address.ts'
import type { FakePacket, FakeVerdict } from '../nftables/walk.fake.ts'

/** Rules by chain, in the words of `-A` without the chain. */
export type FakeChains = Map<string, string[]>

interface State {
  readonly packet: FakePacket
  to: string
  port: number
  mark: number
  translated: boolean
  masqueraded: boolean
}

type End = 'accept' | 'reject' | 'drop' | 'return' | undefined

const wordsOf = (rule: string): readonly string[] => rule.match(/"[^"]*"|\S+/g) ?? []

/** Where a rule sends what matches. */
export const targetOf = (rule: string): string => {
  const at = Math.max(rule.lastIndexOf('-j '), rule.lastIndexOf('-g ')) + 3
  const end = rule.indexOf(' ', at)
  return end < 0 ? rule.slice(at) : rule.slice(at, end)
}

const bitsIn = (text: string): bigint => parseAddress(text)?.value ?? 0n

/** `10.0.0.0/8`, or a mask in full that may have holes: `0.0.0.5/0.0.0.255`. */
const coveredBy = (range: string, address: string): boolean => {
  const [base = '', mask = ''] = range.split('/')
  if (parseAddress(mask) === undefined) return coversAddress([range], address, address.includes(':') ? 'IPv6' : 'IPv4')
  return parseAddress(base)?.family === parseAddress(address)?.family && (bitsIn(address) & bitsIn(mask)) === bitsIn(base)
}

const inPorts = (text: string, port: number): boolean => {
  const [first, last = first] = text.split(':').map(Number)
  return port >= first! && port <= last!
}

const isMarked = (text: string, mark: number): boolean => {
  const [value, mask] = text.split('/').map(Number)
  return (mark & mask!) >>> 0 === value
}

/** Clients by list, as xt_recent keeps them; nobody is forgotten here. */
type Lists = Map<string, Set<string>>

interface Rule {
  readonly state: State
  readonly list: Set<string>
  readonly random: () => number
  readonly isLocal: (address: string) => boolean
}

// What a word with one argument asks of the packet.
const tests: Readonly<Record<string, (argument: string, rule: Rule) => boolean>> = {
  '-p': (protocol, { state }) => state.packet.protocol === protocol,
  '-s': (range, { state }) => coveredBy(range, state.packet.from),
  '-d': (range, { state }) => coveredBy(range, state.to),
  '-i': (name, { state }) => {
    const iif = state.packet.fromNode ? '' : (state.packet.iif ?? '')
    return name.endsWith('+') ? iif.startsWith(name.slice(0, -1)) : iif === name
  },
  '--dport': (ports, { state }) => inPorts(ports, state.port),
  '--dst-type': (_, { state, isLocal }) => isLocal(state.to),
  '--src-type': (_, { state, isLocal }) => isLocal(state.packet.from),
  '--ctstate': (names, { state }) => {
    const all = names.split(',')
    return all.includes('NEW') || (all.includes('DNAT') && state.translated)
  },
  '--mark': (text, { state }) => isMarked(text, state.mark),
  '--probability': (text, { random }) => random() < Number(text),
}
const passed: ReadonlySet<string> = new Set(['-m', '--comment', '--mode', '--name', '--seconds'])
const flags: Readonly<Record<string, (rule: Rule) => boolean>> = {
  '--rsource': () => true,
  '--reap': () => true,
  '--update': ({ list, state }) => list.has(state.packet.from),
  '--set': ({ list, state }) => {
    list.add(state.packet.from)
    return true
  },
}

/** Index of the first word of the target when everything before it matches. */
const matchedUntil = (words: readonly string[], rule: Rule): number | undefined => {
  let not = false
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!
    if (word === '-j' || word === '-g') return at
    if (word === '!') {
      not = true
      continue
    }
    const test = tests[word]
    const flag = flags[word]
    if (test !== undefined) {
      at += 1
      if (test(words[at]!, rule) === not) return undefined
      not = false
    } else if (flag !== undefined) {
      if (!flag(rule)) return undefined
    } else if (passed.has(word)) at += 1
    else throw new Error(`not understood: ${word} in ${words.join(' ')}`)
  }
  return undefined
}

const translate = (target: string, state: State): void => {
  const [, v6, v4, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(target) ?? []
  state.to = v6 ?? v4!
  state.port = Number(port)
  state.translated = true
}

/** The walk over tables that may change underneath it. */
export const createWalk = (
  tables: ReadonlyMap<string, FakeChains>,
  locals: readonly string[],
  random: () => number,
): ((packet: FakePacket) => FakeVerdict) => {
  const lists: Lists = new Map()
  const isLocal = (address: string) => locals.includes(address) || address.startsWith('127.') || address === '::1'
  const listOf = (words: readonly string[]): Set<string> => {
    const name = words[words.indexOf('--name') + 1] ?? ''
    const list = lists.get(name) ?? new Set<string>()
    lists.set(name, list)
    return list
  }

  const walkRule = (chains: FakeChains, text: string, state: State): End => {
    const words = wordsOf(text)
    const at = matchedUntil(words, { state, list: listOf(words), random, isLocal })
    if (at === undefined) return undefined
    const [how, target = '', option, argument = ''] = words.slice(at)
    switch (target) {
      case 'ACCEPT':
        return 'accept'
      case 'DROP':
        return 'drop'
      case 'REJECT':
        return 'reject'
      case 'RETURN':
        return 'return'
      case 'DNAT':
        translate(argument, state)
        return 'accept'
      case 'MASQUERADE':
        state.masqueraded = true
        return 'accept'
      case 'MARK':
        state.mark = option === '--or-mark' ? state.mark | Number(argument) : state.mark ^ Number(argument)
        return undefined
      default: {
        const end = walkChain(chains, target, state)
        // A chain that was gone to does not come back to this one.
        return how === '-g' ? (end ?? 'return') : end === 'return' ? undefined : end
      }
    }
  }
  const walkChain = (chains: FakeChains, name: string, state: State): End => {
    for (const rule of chains.get(name) ?? []) {
      const end = walkRule(chains, rule, state)
      if (end !== undefined) return end
    }
    return undefined
  }
  const walkHook = (hook: string, state: State): End => {
    for (const table of ['nat', 'filter']) {
      const end = walkChain(tables.get(table)!, hook, state)
      if (end === 'reject' || end === 'drop') return end
    }
    return undefined
  }

  return packet => {
    const state: State = { packet, to: packet.to, port: packet.port, mark: 0, translated: false, masqueraded: false }
    const way = packet.fromNode ? ['OUTPUT', 'POSTROUTING'] : ['PREROUTING', 'routed']
    for (const step of way) {
      const hooks = step === 'routed' ? (isLocal(state.to) ? ['INPUT'] : ['FORWARD', 'POSTROUTING']) : [step]
      for (const hook of [...hooks, ...(packet.fromNode && step === 'POSTROUTING' && isLocal(state.to) ? ['INPUT'] : [])]) {
        const end = walkHook(hook, state)
        if (end === 'reject') return 'rejected'
        if (end === 'drop') return 'dropped'
      }
    }
    return { to: state.to, port: state.port, masqueraded: state.masqueraded, translated: state.translated }
  }
}
