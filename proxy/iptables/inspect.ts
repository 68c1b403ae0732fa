// Holds our chains against what was written: single rules for one frontend, by `iptables -C`, and all of both tables for everything, by
// iptables-save. Reads only, off the sync path. Chains of others are none of its business, but for the jumps that lead to ours.
import type { Iptables } from '../../host/iptables.ts'
import type { Slices } from '../../host/loop.ts'
import type { Compared, Difference, Inspector, Piece } from '../inspect-types.ts'
import { type Frontend, frontendKey } from '../model.ts'
import type { ProxySettings } from '../settings.ts'
import { type Holding, wantedChains } from './compile.ts'
import { ownChains, sharedLines } from './rules.ts'
import { jumpsOf } from './skeleton.ts'
import { spelling, wordsOf } from './spelling.ts'
import { readStanding } from './standing.ts'
import { type FamilyWords, isProxyChain, type Table, tables } from './words.ts'

export interface IptablesInspectorDeps {
  readonly iptables: Pick<Iptables, 'save' | 'missing'>
  readonly words: FamilyWords
  readonly settings: () => ProxySettings
  readonly slices: Slices
  /** The backend's book, undefined while it is being written; the number grows when a write begins. */
  readonly book: () => { readonly holding: Holding | undefined; readonly generation: number }
}

interface Rule {
  readonly table: Table
  readonly chain: string
  readonly rule: string
}

/** Every rule of a frontend, the first that a packet meets first. */
const rulesOf = (frontend: Frontend, { rules }: Holding): readonly Rule[] => [
  ...sharedLines(frontend).flatMap(({ table, chain, rules: own }) => own.map(rule => ({ table, chain, rule }))),
  ...ownChains(frontend, rules).flatMap(({ name, rules: own }) =>
    own.map(rule => ({ table: 'nat' as const, chain: name, rule })),
  ),
]

const targetAt = / ?-[jg] \S+.*$/

const toPiece = ({ table, chain, rule }: Rule, isThere: boolean): Piece => {
  const key = rule.replace(targetAt, '')
  const wanted = rule.slice(key.length).trim()
  return { where: `${table} ${chain}`, key: key || 'everything', wanted, found: isThere ? wanted : undefined }
}

/** The inspector of one family. */
export const createIptablesInspector = (deps: IptablesInspectorDeps): Inspector => {
  const { iptables, words, book } = deps
  return {
    look: async (frontend, _clients, most) => {
      const { holding } = book()
      const written = holding?.frontends.get(frontendKey(frontend))
      if (holding === undefined || written === undefined)
        return { place: words.command, written: undefined, pieces: [], notAsked: 0, remembered: [] }
      const rules = rulesOf(written, holding)
      const asked = rules.slice(0, most)
      const placed = asked.map(({ table, chain, rule }) => ({ table, rule: [chain, ...wordsOf(rule)] }))
      const missing = new Set(await iptables.missing(placed))
      const pieces = asked.map((rule, index) => toPiece(rule, !missing.has(placed[index]!)))
      return { place: words.command, written, pieces, notAsked: rules.length - asked.length, remembered: [] }
    },
    diff: async () => {
      const { generation } = book()
      const saved = { nat: await iptables.save('nat'), filter: await iptables.save('filter') }
      const { holding } = book()
      const compared = holding && (await compare(deps, holding, saved))
      return book().generation === generation ? compared : undefined
    },
  }
}

const chainsOf = (saved: string): ReadonlyMap<string, readonly string[]> => {
  const chains = new Map<string, string[]>()
  for (const line of saved.split('\n')) {
    const [, declared] = /^:(\S+) /.exec(line) ?? []
    if (declared !== undefined) chains.set(declared, [])
    const [, chain = '', rule] = /^-A (\S+) ?(.*)$/.exec(line) ?? []
    if (rule !== undefined) chains.get(chain)?.push(rule)
  }
  return chains
}

type Tell = (kind: Difference['kind'], what: string, wanted?: string, found?: string) => void

/** Tells of rules that one of the lists lacks, and of an order that is another. */
const compareRules = (chain: string, wanted: readonly string[], found: readonly string[], tell: Tell): void => {
  const there = found.map(rule => spelling(rule))
  const should = wanted.map(rule => spelling(rule))
  const [isThere, isWanted] = [new Set(there), new Set(should)]
  for (const [index, rule] of wanted.entries()) if (!isThere.has(should[index]!)) tell('missing', `rule in chain ${chain}`, rule)
  for (const [index, rule] of found.entries())
    if (!isWanted.has(there[index]!)) tell('foreign', `rule in chain ${chain}`, undefined, rule)
  const kept = should.filter(rule => isThere.has(rule))
  if (there.filter(rule => isWanted.has(rule)).join('\n') !== kept.join('\n'))
    tell('different', `order or number of the rules of chain ${chain}`)
}

const compareJumps = ({ words, settings }: IptablesInspectorDeps, table: Table, saved: string, tell: Tell): number => {
  const wanted = Map.groupBy(
    jumpsOf(words, settings()).filter(jump => jump.table === table),
    ({ from }) => from,
  )
  const found = Map.groupBy(readStanding(saved).jumps, line => wordsOf(line)[1] ?? '')
  for (const from of new Set([...wanted.keys(), ...found.keys()])) {
    const should = wanted.get(from)?.map(({ rule }) => rule) ?? []
    const there = found.get(from)?.map(line => line.replace(/^-A \S+ /, '')) ?? []
    compareRules(from, should, there, tell)
  }
  return [...wanted.values()].flat().length
}

const compare = async (
  deps: IptablesInspectorDeps,
  holding: Holding,
  saved: Readonly<Record<Table, string>>,
): Promise<Compared> => {
  const differences: Difference[] = []
  const wanted = wantedChains(holding)
  let compared = 0
  for (const table of tables) {
    const place = `${deps.words.command} -t ${table}`
    const tell: Tell = (kind, what, want, found) => void differences.push({ place, kind, what, wanted: want, found })
    const chains = chainsOf(saved[table])
    compared += compareJumps(deps, table, saved[table], tell)
    for (const [name, rules] of wanted[table]) {
      const found = chains.get(name)
      compared += 1 + rules.length
      if (found === undefined) tell('missing', `chain ${name}`)
      else compareRules(name, rules, found, tell)
      await deps.slices.pause()
    }
    for (const name of chains.keys()) if (isProxyChain(name) && !wanted[table].has(name)) tell('foreign', `chain ${name}`)
  }
  return { differences, compared }
}
