// From changes of frontends to a text of iptables-restore that names only the chains that change. What the kernel holds is known from
// what was compiled before, never by asking it. A book (`Holding`) is moved on by every compile: after a text that was refused it is
// worth nothing, and a new one is begun.
import type { FrontendChange } from '../claims.ts'
import type { Frontend } from '../model.ts'
import type { ProxySettings } from '../settings.ts'
import { type Line, ownChains, type RuleWords, sharedLines } from './rules.ts'
import { type FixedChain, fixedChains, shelfRule, toRuleWords } from './skeleton.ts'
import { type FamilyWords, isFrontendChain, passingChains, type Shelf, type Table, tables } from './words.ts'

interface SharedPiece {
  readonly line: Line
  needed: number
}

/** What the chains of one family hold. */
export interface Holding {
  readonly rules: RuleWords
  readonly fixed: ReadonlyMap<string, FixedChain>
  readonly frontends: Map<string, Frontend>
  /** Pieces of shared chains by `table chain`, then by what they are for. */
  readonly shared: Map<string, Map<string, SharedPiece>>
  /** Shelves that stand, by `table parent`, then by name. */
  readonly shelves: Map<string, Map<string, Shelf>>
  /** How many rules all chains of a table have, so that nobody has to count them. */
  readonly counts: Record<Table, number>
}

export interface Compiled {
  readonly text: string
  readonly operations: number
  /** How many rules of each table it writes. */
  readonly rules: Readonly<Record<Table, number>>
}

const place = (table: Table, chain: string): string => `${table} ${chain}`

/** The book of a kernel that holds the fixed chains and no Service. */
export const emptyHolding = (words: FamilyWords, settings: ProxySettings): Holding => {
  const fixed = fixedChains(words, settings)
  const counts = { nat: 0, filter: 0 }
  for (const { table, head, tail } of fixed) counts[table] += head.length + tail.length
  return {
    rules: toRuleWords(words, settings),
    fixed: new Map(fixed.map(chain => [place(chain.table, chain.name), chain])),
    frontends: new Map(),
    shared: new Map(),
    shelves: new Map(),
    counts,
  }
}

/** One table's part of a text: chains that are written whole, chains that go, and commands for other chains. */
export interface Part {
  readonly chains: Map<string, readonly string[]>
  readonly gone: Set<string>
  readonly commands: string[]
}

export type Draft = Readonly<Record<Table, Part>>

const emptyPart = (): Part => ({ chains: new Map(), gone: new Set(), commands: [] })

/** A text that does nothing yet. */
export const emptyDraft = (): Draft => ({ nat: emptyPart(), filter: emptyPart() })

const passing = (chain: string): readonly string[] => [`:${chain} - [0:0]`, `-X ${chain}`]

/**
 * Writes a draft down; a table that has nothing to change is left out.
 * @param signed a chain passes at the beginning and the end of each table's transaction, by which a watch tells it from others'
 */
export const toText = (draft: Draft, { signed }: { readonly signed: boolean }): Compiled => {
  const lines: string[] = []
  const written = { nat: 0, filter: 0 }
  let operations = 0
  for (const table of tables) {
    const { chains, gone, commands } = draft[table]
    if (chains.size + gone.size + commands.length === 0) continue
    lines.push(`*${table}`)
    if (signed) lines.push(...passing(passingChains.begin))
    // Naming a chain makes it, or empties it. All of them before the first rule: rules name chains that come later.
    for (const name of chains.keys()) lines.push(`:${name} - [0:0]`)
    for (const name of gone) lines.push(`:${name} - [0:0]`)
    for (const command of commands) lines.push(command)
    for (const [name, rules] of chains) for (const rule of rules) lines.push(`-A ${name} ${rule}`)
    for (const name of gone) lines.push(`-X ${name}`)
    operations += chains.size + gone.size + commands.length
    for (const rules of chains.values()) written[table] += rules.length
    operations += written[table]
    if (signed) lines.push(...passing(passingChains.end))
    lines.push('COMMIT')
  }
  return { text: lines.length === 0 ? '' : `${lines.join('\n')}\n`, operations, rules: written }
}

const inOrder = <T>(named: ReadonlyMap<string, T> | undefined): readonly T[] =>
  named === undefined ? [] : [...named].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one)

/** The rules of a shared or fixed chain as they stand now: in an order that does not depend on how it came to be. */
const rulesOf = ({ fixed, shared, shelves }: Holding, at: string): readonly string[] => {
  const chain = fixed.get(at)
  const pieces = inOrder(shared.get(at)).map(({ line }) => line)
  return [
    ...(chain?.head ?? []),
    ...inOrder(shelves.get(at)).map(shelfRule),
    ...pieces.filter(({ late }) => !late).flatMap(({ rules }) => rules),
    ...pieces.filter(({ late }) => late).flatMap(({ rules }) => rules),
    ...(chain?.tail ?? []),
  ]
}

/**
 * A draft in parts when it is too long for one transaction: first, some at a time, the chains of frontends, which nothing leads to yet or
 * which only say something else; then the rest. A frontend's chains stand in the order in which they lead to each other.
 */
export const inParts = function* (holding: Holding, draft: Draft, most: number): Generator<Draft> {
  const own = [...draft.nat.chains].filter(([name]) => isFrontendChain(name))
  if (own.length > 2 * most)
    for (let at = 0; at < own.length; at += most) {
      const part = emptyDraft()
      for (const { table, name, leaf } of at === 0 ? holding.fixed.values() : [])
        if (leaf && draft[table].chains.has(name)) part[table].chains.set(name, draft[table].chains.get(name)!)
      for (const [name, rules] of own.slice(at, at + most)) {
        part.nat.chains.set(name, rules)
        draft.nat.chains.delete(name)
      }
      yield part
    }
  yield draft
}

/** Every chain that the kernel should hold, with its rules. */
export const wantedChains = (holding: Holding): Readonly<Record<Table, ReadonlyMap<string, readonly string[]>>> => {
  const wanted = { nat: new Map<string, readonly string[]>(), filter: new Map<string, readonly string[]>() }
  for (const [at, { table, name }] of holding.fixed) wanted[table].set(name, rulesOf(holding, at))
  for (const table of tables)
    for (const { name } of [...holding.shelves]
      .filter(([at]) => at.startsWith(`${table} `))
      .flatMap(([, own]) => [...own.values()]))
      wanted[table].set(name, rulesOf(holding, place(table, name)))
  for (const frontend of holding.frontends.values())
    for (const { name, rules } of ownChains(frontend, holding.rules)) wanted.nat.set(name, rules)
  return wanted
}

/** Puts every fixed chain into the draft, whatever it holds. */
export const draftFixed = (holding: Holding, draft: Draft): void => {
  for (const [at, { table, name }] of holding.fixed) draft[table].chains.set(name, rulesOf(holding, at))
}

/**
 * Leaves of the fixed chains only those in the draft that rules of frontends lead to: the others lead to the frontends, and those of an
 * earlier daemon do so until everything stands.
 */
export const draftLeaves = (holding: Holding, draft: Draft): void => {
  for (const [at, { table, name, leaf }] of holding.fixed)
    if (leaf) draft[table].chains.set(name, rulesOf(holding, at))
    else draft[table].chains.delete(name)
}

const sameRules = (a: readonly string[] | undefined, b: readonly string[]): boolean =>
  a !== undefined && a.length === b.length && a.every((rule, index) => rule === b[index])

const draftOwn = (holding: Holding, draft: Draft, before: Frontend | undefined, after: Frontend | undefined): void => {
  const old = new Map((before === undefined ? [] : ownChains(before, holding.rules)).map(({ name, rules }) => [name, rules]))
  for (const { name, rules } of after === undefined ? [] : ownChains(after, holding.rules)) {
    const had = old.get(name)
    old.delete(name)
    if (sameRules(had, rules)) continue
    holding.counts.nat += rules.length - (had?.length ?? 0)
    draft.nat.chains.set(name, rules)
    draft.nat.gone.delete(name)
  }
  for (const [name, rules] of old) {
    holding.counts.nat -= rules.length
    draft.nat.chains.delete(name)
    draft.nat.gone.add(name)
  }
}

/** Shared chains that hold something else now, by place. */
export type Touched = Map<string, Line>

/** Takes lines into account; notes the shared chains that hold something else now. */
const share = (holding: Holding, before: readonly Line[], after: readonly Line[], touched: Touched): void => {
  const old = new Map(before.map(line => [`${line.table} ${line.chain} ${line.id}`, line]))
  for (const line of after) {
    const at = place(line.table, line.chain)
    const key = `${at} ${line.id}`
    const had = old.get(key)
    old.delete(key)
    const pieces = holding.shared.get(at) ?? new Map<string, SharedPiece>()
    holding.shared.set(at, pieces)
    const piece = pieces.get(line.id)
    if (piece === undefined || !sameRules(piece.line.rules, line.rules)) touched.set(at, line)
    holding.counts[line.table] += line.rules.length - (piece?.line.rules.length ?? 0)
    pieces.set(line.id, { line, needed: (piece?.needed ?? 0) + (had === undefined ? 1 : 0) })
  }
  for (const line of old.values()) {
    const at = place(line.table, line.chain)
    const piece = holding.shared.get(at)!.get(line.id)!
    piece.needed -= 1
    if (piece.needed > 0) continue
    holding.counts[line.table] -= piece.line.rules.length
    holding.shared.get(at)!.delete(line.id)
    touched.set(at, line)
  }
}

/** Writes the shared chains that hold something else now into the draft. */
export const draftTouched = (holding: Holding, draft: Draft, touched: Touched): void => {
  const parents = new Set<string>()
  for (const [at, { table, chain, shelf }] of touched) {
    const { chains, gone } = draft[table]
    if (shelf === undefined) {
      chains.set(chain, rulesOf(holding, at))
      continue
    }
    const parent = place(table, shelf.parent)
    const standing = holding.shelves.get(parent) ?? new Map<string, Shelf>()
    holding.shelves.set(parent, standing)
    if (holding.shared.get(at)!.size === 0) {
      holding.shared.delete(at)
      if (standing.delete(shelf.name)) holding.counts[table] -= 1
      parents.add(parent)
      chains.delete(chain)
      gone.add(chain)
      continue
    }
    if (!standing.has(shelf.name)) {
      standing.set(shelf.name, shelf)
      holding.counts[table] += 1
      parents.add(parent)
    }
    chains.set(chain, rulesOf(holding, at))
    gone.delete(chain)
  }
  for (const parent of parents) {
    const { table, name } = holding.fixed.get(parent)!
    draft[table].chains.set(name, rulesOf(holding, parent))
  }
}

/**
 * Adds to the draft what brings the kernel from what `holding` says to these changes; moves `holding` on. Shared chains that change are
 * noted in `touched` and written once, however many changes there are: draftTouched must follow.
 */
export const compile = (holding: Holding, changes: Iterable<FrontendChange>, draft: Draft, touched: Touched): void => {
  for (const { key, after } of changes) {
    const before = holding.frontends.get(key)
    draftOwn(holding, draft, before, after)
    share(holding, before === undefined ? [] : sharedLines(before), after === undefined ? [] : sharedLines(after), touched)
    if (after === undefined) holding.frontends.delete(key)
    else holding.frontends.set(key, after)
  }
}
