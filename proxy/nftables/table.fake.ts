// nftables in memory: takes the text that this folder compiles, all or nothing as the kernel does, and walks packets through it.
// Knows only the words that we use; any other one is refused, so that a test cannot pass by being misunderstood.
import { Fault } from '../../host/fault.ts'
import type { Nft } from '../../host/nft.ts'
import { createWalk, type FakePacket, type FakeTable, type FakeVerdict } from './walk.fake.ts'

export interface FakeNft extends Nft {
  readonly tables: Map<string, FakeTable>
  /** Every text that was applied. */
  readonly applied: string[]
  /** Makes the kernel refuse the next `times` texts. */
  refuse(times: number): void
  /** Where a new connection's first packet ends, and with which source address. */
  walk(packet: FakePacket): FakeVerdict
  /** Counts of one table, for pinning: rules, chains, elements. */
  size(table: string): { readonly chains: number; readonly rules: number; readonly elements: number }
}

const copy = (tables: Map<string, FakeTable>): Map<string, FakeTable> =>
  new Map(
    [...tables].map(([name, { sets, chains }]) => [
      name,
      {
        sets: new Map([...sets].map(([set, one]) => [set, { ...one, elements: new Map(one.elements) }])),
        chains: new Map([...chains].map(([chain, one]) => [chain, { ...one, rules: [...one.rules] }])),
      },
    ]),
  )

const refuse = (why: string, line: string): never => {
  throw new Fault('kernel-refused', `${why}: ${line}`)
}

const priorityOf = (hook: string): number => Number(/priority (-?\d+)/.exec(hook)?.[1] ?? 0)

const elementsOf = (text: string): readonly (readonly [string, string])[] =>
  text.split(', ').map(element => {
    const at = element.indexOf(' : ')
    return at < 0 ? [element, ''] : [element.slice(0, at), element.slice(at + 3)]
  })

type Verb = (tables: Map<string, FakeTable>, name: string, rest: string, line: string) => void

const tableAt = (tables: Map<string, FakeTable>, name: string, line: string): FakeTable =>
  tables.get(name) ?? refuse('no such table', line)

const checkReferences = (table: FakeTable, text: string, line: string): void => {
  for (const [, chain = ''] of text.matchAll(/(?:goto|jump) (\S+)/g)) if (!table.chains.has(chain)) refuse('no such chain', line)
  for (const [, set = ''] of text.matchAll(/@(\S+)/g)) if (!table.sets.has(set)) refuse('no such set', line)
}

const verbs: Readonly<Record<string, Verb>> = {
  'add table': (tables, name) => {
    if (!tables.has(name)) tables.set(name, { sets: new Map(), chains: new Map() })
  },
  'delete table': (tables, name, _, line) => {
    if (!tables.delete(name)) refuse('no such table', line)
  },
  'add set': (tables, name, rest, line) => declare(tables, name, 'set', rest, line),
  'add map': (tables, name, rest, line) => declare(tables, name, 'map', rest, line),
  'add chain': (tables, name, rest, line) => {
    const [chain = '', hook] = rest.split(' { ')
    const table = tableAt(tables, name, line)
    if (table.chains.has(chain)) return
    table.chains.set(chain, { hook, priority: hook === undefined ? 0 : priorityOf(hook), rules: [] })
  },
  'flush chain': (tables, name, rest, line) => {
    const chain = tableAt(tables, name, line).chains.get(rest) ?? refuse('no such chain', line)
    chain.rules.length = 0
  },
  'delete chain': (tables, name, rest, line) => {
    const { chains, sets } = tableAt(tables, name, line)
    const { rules } = chains.get(rest) ?? refuse('no such chain', line)
    chains.delete(rest)
    const isNamed = (text: string) => new RegExp(`(?:goto|jump) ${rest.replaceAll('.', '\\.')}(?![\\w.-])`).test(text)
    const users = [...chains.values()].flatMap(one => one.rules)
    const verdicts = [...sets.values()].filter(set => set.verdicts).flatMap(({ elements }) => [...elements.values()])
    if (rules.length > 0 || [...users, ...verdicts].some(isNamed)) refuse('device or resource busy', line)
  },
  'delete set': (tables, name, rest, line) => removeSet(tables, name, rest, line),
  'delete map': (tables, name, rest, line) => removeSet(tables, name, rest, line),
  'add rule': (tables, name, rest, line) => {
    const [chain = ''] = rest.split(' ', 1)
    const table = tableAt(tables, name, line)
    const text = rest.slice(chain.length + 1).replace(/ comment "[^"]*"$/, '')
    checkReferences(table, text, line)
    const found = table.chains.get(chain) ?? refuse('no such chain', line)
    found.rules.push(text)
  },
  'add element': (tables, name, rest, line) => {
    const { table, set, elements } = members(tables, name, rest, line)
    for (const [key, value] of elements) {
      if (set.verdicts) checkReferences(table, value, line)
      const old = set.elements.get(key)
      if (old !== undefined && old !== value) refuse('file exists', `${key} in ${line.slice(0, 80)}`)
      set.elements.set(key, value)
    }
  },
  'delete element': (tables, name, rest, line) => {
    const { set, elements } = members(tables, name, rest, line)
    for (const [key] of elements) if (!set.elements.delete(key)) refuse('no such element', `${key} in ${line.slice(0, 80)}`)
  },
}

const declare = (tables: Map<string, FakeTable>, name: string, kind: 'set' | 'map', rest: string, line: string): void => {
  const [set = ''] = rest.split(' ', 1)
  const { sets } = tableAt(tables, name, line)
  if (!sets.has(set)) sets.set(set, { kind, verdicts: rest.includes(': verdict'), elements: new Map() })
}

const removeSet = (tables: Map<string, FakeTable>, name: string, set: string, line: string): void => {
  const { sets, chains } = tableAt(tables, name, line)
  if (!sets.delete(set)) refuse('no such set', line)
  const isNamed = (text: string) => text.split(/[\s{}]+/).includes(`@${set}`)
  if ([...chains.values()].some(({ rules }) => rules.some(isNamed))) refuse('device or resource busy', line)
}

/** A listing of names, without what is in them. */
const listed = (tables: Map<string, FakeTable>, family: string, bodies: (table: FakeTable) => readonly string[]): string =>
  [...tables]
    .filter(([name]) => name.startsWith(`${family} `))
    .map(([name, table]) => `table ${name} {\n${bodies(table).join('')}}\n`)
    .join('')

const listings: readonly (readonly [RegExp, (tables: Map<string, FakeTable>, found: readonly string[]) => string])[] = [
  [
    /^list chains (\S+)$/,
    (tables, [family = '']) =>
      listed(tables, family, ({ chains }) =>
        [...chains].map(
          ([name, { hook }]) => `\tchain ${name} {\n${hook === undefined ? '' : `\t\t${hook}; policy accept;\n`}\t}\n`,
        ),
      ),
  ],
  [
    /^-t list (set|map)s (\S+)$/,
    (tables, [kind = '', family = '']) =>
      listed(tables, family, ({ sets }) =>
        [...sets].filter(([, set]) => set.kind === kind).map(([name]) => `\t${kind} ${name} {\n\t}\n`),
      ),
  ],
  [
    /^list map (\S+ \S+) (affinity-\S+)$/,
    (tables, [table = '', map = '']) =>
      [...(tables.get(table)?.sets.get(map)?.elements ?? [])].map(([key, value]) => `${key} : ${value}`).join(', '),
  ],
]

const members = (tables: Map<string, FakeTable>, name: string, rest: string, line: string) => {
  const found = /^(\S+) \{ (.*) \}$/.exec(rest) ?? refuse('syntax error', line)
  const table = tableAt(tables, name, line)
  const set = table.sets.get(found[1]!) ?? refuse('no such set', line)
  return { table, set, elements: elementsOf(found[2]!) }
}

/** An empty kernel. `localAddresses` are the node's; `random` gives numbers from 0 to below 1. */
export const fakeNft = (localAddresses: readonly string[], random: () => number = Math.random): FakeNft => {
  const tables = new Map<string, FakeTable>()
  const applied: string[] = []
  let refusals = 0
  const run = (text: string): Map<string, FakeTable> => {
    if (refusals > 0) {
      refusals -= 1
      throw new Fault('kernel-refused', 'nft did not apply a change: told to refuse')
    }
    const next = copy(tables)
    for (const line of text.split('\n').filter(Boolean)) {
      const found = /^(\w+ \w+) (ip6? \S+)(?: (.*))?$/.exec(line) ?? refuse('syntax error', line)
      const verb = verbs[found[1]!] ?? refuse('unknown command', line)
      verb(next, found[2]!, found[3] ?? '', line)
    }
    return next
  }
  const nft: Nft = {
    apply: async text => {
      const next = run(text)
      tables.clear()
      for (const [name, table] of next) tables.set(name, table)
      applied.push(text)
    },
    check: async text => void run(text),
    list: async args => {
      for (const [pattern, list] of listings) {
        const found = pattern.exec(args.join(' '))
        if (found !== null) return list(tables, found.slice(1))
      }
      throw new Fault('unsupported', `the sync path must not ask for ${args.join(' ')}`)
    },
  }
  return {
    ...nft,
    tables,
    applied,
    refuse: times => {
      refusals = times
    },
    walk: createWalk(tables, localAddresses, random),
    size: name => {
      const { sets, chains } = tables.get(name) ?? { sets: new Map(), chains: new Map() }
      return {
        chains: chains.size,
        rules: [...chains.values()].reduce((sum, { rules }) => sum + rules.length, 0),
        elements: [...sets.values()].reduce((sum, { elements }) => sum + elements.size, 0),
      }
    },
  }
}
