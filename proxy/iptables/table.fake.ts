// iptables of one family in memory: takes the texts that the backend sends, as strictly as the kernel would, and walks packets through
// the result. A table's block takes effect as a whole at its COMMIT; one that is refused leaves its table as it was, and blocks before
// it done, as the real program does.
import { Fault } from '../../host/fault.ts'
import type { Iptables } from '../../host/iptables.ts'
import type { FakePacket, FakeVerdict } from '../nftables/walk.fake.ts'
import { createWalk, type FakeChains, targetOf } from './walk.fake.ts'

export interface FakeIptables extends Iptables {
  readonly tables: ReadonlyMap<string, FakeChains>
  /** Every text that was applied. */
  readonly applied: string[]
  /** Makes the next `times` texts fail: in the block that is named, or at the first one. */
  refuse(times: number, block?: string): void
  /** Called when a table's block has taken effect. */
  onCommit: (() => void) | undefined
  walk(packet: FakePacket): FakeVerdict
}

const builtIn: Readonly<Record<string, readonly string[]>> = {
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
}
const targets: ReadonlySet<string> = new Set(['ACCEPT', 'DROP', 'RETURN', 'REJECT', 'DNAT', 'MASQUERADE', 'MARK'])

const refused = (why: string, line: string): never => {
  throw new Fault('kernel-refused', `iptables-restore: ${why}: ${line}`)
}

const chainAt = (chains: FakeChains, name: string, line: string): string[] => {
  if (name.length > 28) refused('chain name too long', line)
  return chains.get(name) ?? refused('no such chain', line)
}

const commands: Readonly<Record<string, (chains: FakeChains, name: string, rule: string, line: string) => void>> = {
  '-A': (chains, name, rule, line) => void chainAt(chains, name, line).push(rule),
  '-I': (chains, name, rule, line) => void chainAt(chains, name, line).unshift(rule),
  '-D': (chains, name, rule, line) => {
    const rules = chainAt(chains, name, line)
    const at = rules.indexOf(rule)
    if (at < 0) refused('no such rule', line)
    rules.splice(at, 1)
  },
  '-C': (chains, name, rule, line) => {
    if (!chainAt(chains, name, line).includes(rule)) refused('no such rule', line)
  },
  '-X': (chains, name, _, line) => {
    if (chainAt(chains, name, line).length > 0) refused('chain is not empty', line)
    chains.delete(name)
  },
}

const runBlock = (before: FakeChains, lines: readonly string[]): FakeChains => {
  const chains: FakeChains = new Map(before)
  // Chains that are written to are copied first: the table stays as it was when the block is refused.
  const written = new Set<string>()
  let deleted = false
  for (const line of lines) {
    if (line.startsWith(':')) {
      const name = line.slice(1, line.indexOf(' '))
      chains.set(name, [])
      written.add(name)
      continue
    }
    const [, verb = '', name = '', rule = ''] = /^(-[A-Z]) (\S+) ?(.*)$/.exec(line) ?? refused('syntax error', line)
    const run = commands[verb] ?? refused('unknown command', line)
    const had = chains.get(name)
    if (had !== undefined && !written.has(name)) chains.set(name, [...had])
    written.add(name)
    run(chains, name, rule, line)
    deleted ||= verb === '-X' && before.has(name)
  }
  for (const name of deleted ? chains.keys() : written)
    for (const rule of chains.get(name) ?? []) {
      const target = targetOf(rule)
      if (!targets.has(target) && !chains.has(target)) refused('no such target', rule)
    }
  return chains
}

const save = (table: string, chains: FakeChains): string =>
  [
    `*${table}`,
    ...[...chains.keys()].map(name => `:${name} ${builtIn[table]?.includes(name) ? 'ACCEPT' : '-'} [0:0]`),
    ...[...chains].flatMap(([name, rules]) => rules.map(rule => `-A ${name} ${rule}`)),
    'COMMIT',
    '',
  ].join('\n')

/** Empty tables. `localAddresses` are the node's; `random` gives numbers from 0 to below 1. */
export const fakeIptables = (
  localAddresses: readonly string[],
  { variant = 'nft', random = Math.random }: { variant?: Iptables['variant']; random?: () => number } = {},
): FakeIptables => {
  const tables = new Map<string, FakeChains>(
    Object.entries(builtIn).map(([table, names]) => [table, new Map(names.map(name => [name, []]))]),
  )
  const applied: string[] = []
  let refusals = { times: 0, block: '' }
  const fake: FakeIptables = {
    variant,
    tables,
    applied,
    onCommit: undefined,
    refuse: (times, block = '') => {
      refusals = { times, block }
    },
    walk: createWalk(tables, localAddresses, random),
    restore: async text => {
      const failing = refusals.times > 0
      if (failing) refusals = { ...refusals, times: refusals.times - 1 }
      for (const [, table = '', body = ''] of text.matchAll(/^\*(\w+)\n(.*?)^COMMIT$/gms)) {
        if (failing && (refusals.block === '' || refusals.block === table)) refused('told to refuse', table)
        tables.set(table, runBlock(tables.get(table) ?? refused('no such table', table), body.split('\n').filter(Boolean)))
        fake.onCommit?.()
      }
      applied.push(text)
    },
    save: async table => save(table, tables.get(table)!),
    missing: async rules =>
      rules.filter(({ table, rule: [chain = '', ...words] }) => {
        const rule = words.map(word => (/\s/.test(word) ? `"${word}"` : word)).join(' ')
        return !tables.get(table)?.get(chain)?.includes(rule)
      }),
    hasChain: async (table, chain) => tables.get(table)?.has(chain) ?? false,
  }
  return fake
}
