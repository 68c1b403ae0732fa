// From changes of frontends to nft commands. What the kernel holds is known from what was compiled before, never by asking it.
// A book (`Holding`) is moved on by every compile: after a text that the kernel refused, it is worth nothing and a new one is begun.
import type { FrontendChange } from '../claims.ts'
import type { ProxySettings } from '../settings.ts'
import { arrange, keepSlots } from './arrange.ts'
import {
  type Chain,
  type ChainWords,
  entryChains,
  entryName,
  guardChain,
  guardName,
  rememberChain,
  rememberName,
} from './chains.ts'
import { nameIn, textIn } from './edition.ts'
import { type Element, entriesOf, ownElements, type Placed, place, sharedElements } from './elements.ts'
import { chainLines, memoryLine, type Place, toChainWords } from './skeleton.ts'
import type { Slots } from './standing.ts'
import { tableName } from './words.ts'

/** What one edition of the rules holds. */
export interface Holding extends Place {
  readonly chainWords: ChainWords
  readonly placed: Map<string, Placed>
  /** How many frontends need each shared element, by `set key`. */
  readonly shared: Map<string, number>
  readonly chains: Map<string, Chain>
  /** Numbers that there is a memory of clients for. */
  readonly memories: Set<number>
  /** What remembered clients held by before this book was begun; they keep it. */
  readonly carried: Slots
}

export interface Compiled {
  readonly lines: readonly string[]
  readonly operations: number
  /** Nothing but elements is added, and none that a text before or after it changes. */
  readonly isIndependent: boolean
}

/** The book of an edition that holds the skeleton and no Service. */
export const emptyHolding = (place: Place, settings: ProxySettings, carried: Slots = new Map()): Holding => ({
  ...place,
  chainWords: toChainWords(place.words, settings),
  placed: new Map(),
  shared: new Map(),
  chains: new Map(),
  memories: new Set(),
  carried,
})

interface Draft {
  readonly chains: Map<string, Chain>
  readonly deletes: Map<string, string[]>
  readonly adds: Map<string, string[]>
  readonly shared: Map<string, { readonly element: Element; delta: number }>
}

const push = (lists: Map<string, string[]>, set: string, text: string): void => {
  const list = lists.get(set)
  if (list === undefined) lists.set(set, [text])
  else list.push(text)
}

const written = ({ key, value }: Element): string => (value === undefined ? key : `${key} : ${value}`)

const diff = (draft: Draft, before: readonly Element[], after: readonly Element[]): void => {
  if (before.length === 0) {
    for (const element of after) push(draft.adds, element.set, written(element))
    return
  }
  const had = new Map(before.map(element => [`${element.set} ${element.key}`, element]))
  for (const element of after) {
    const id = `${element.set} ${element.key}`
    const old = had.get(id)
    had.delete(id)
    if (old !== undefined && old.value === element.value) continue
    if (old !== undefined) push(draft.deletes, old.set, old.key)
    push(draft.adds, element.set, written(element))
  }
  for (const old of had.values()) push(draft.deletes, old.set, old.key)
}

const share = (draft: Draft, elements: readonly Element[], delta: number): void => {
  for (const element of elements) {
    const id = `${element.set} ${element.key}`
    const known = draft.shared.get(id)
    if (known === undefined) draft.shared.set(id, { element, delta })
    else known.delta += delta
  }
}

// By name first: most frontends need chains that are there, and making one to find that out costs more than all the rest.
const needChains = (holding: Holding, draft: Draft, placed: Placed): void => {
  const need = (name: string, toChains: () => readonly Chain[]) => {
    if (holding.chains.has(name) || draft.chains.has(name)) return
    for (const chain of toChains()) if (!holding.chains.has(chain.name)) draft.chains.set(chain.name, chain)
  }
  const { chainWords } = holding
  const { main, inside } = entriesOf(placed)
  for (const entry of [main, inside]) if (entry !== undefined) need(entryName(entry), () => entryChains(chainWords, entry))
  const { sourceRanges, affinitySeconds } = placed.frontend
  if (sourceRanges !== undefined) need(guardName(sourceRanges), () => [guardChain(chainWords, sourceRanges)])
  placed.slots.forEach((to, slot) => {
    if (to !== undefined) need(rememberName(slot, affinitySeconds), () => [rememberChain(chainWords, slot, affinitySeconds)])
  })
}

const settleShared = (holding: Holding, draft: Draft): void => {
  for (const [id, { element, delta }] of draft.shared) {
    const had = holding.shared.get(id) ?? 0
    const has = had + delta
    if (has === 0) holding.shared.delete(id)
    else holding.shared.set(id, has)
    if (had === 0 && has > 0) push(draft.adds, element.set, written(element))
    if (had > 0 && has === 0) push(draft.deletes, element.set, element.key)
  }
}

/**
 * The commands of one transaction that bring the table from what `holding` says to these changes; moves `holding` on.
 * A change of a key is its delete and add in the same transaction; deletes come first, since nft takes them in order.
 */
export const compile = (holding: Holding, changes: Iterable<FrontendChange>): Compiled => {
  const draft: Draft = { chains: new Map(), deletes: new Map(), adds: new Map(), shared: new Map() }
  for (const { key, after } of changes) {
    const before = holding.placed.get(key)
    const placed = after && place({ arrange, keepSlots }, before, after, holding.carried.get(key))
    if (placed !== undefined) needChains(holding, draft, placed)
    diff(draft, before === undefined ? [] : ownElements(before), placed === undefined ? [] : ownElements(placed))
    if (placed !== undefined) share(draft, sharedElements(placed), 1)
    if (before !== undefined) share(draft, sharedElements(before), -1)
    if (placed === undefined) holding.placed.delete(key)
    else holding.placed.set(key, placed)
  }
  settleShared(holding, draft)
  const newChains = [...draft.chains.values()]
  const newMemories = new Set(newChains.flatMap(({ memories = [] }) => memories)).difference(holding.memories)
  for (const chain of newChains) holding.chains.set(chain.name, chain)
  for (const slot of newMemories) holding.memories.add(slot)
  return write(holding, draft, newMemories, newChains)
}

const write = (holding: Holding, draft: Draft, memories: ReadonlySet<number>, chains: readonly Chain[]): Compiled => {
  const { words, edition } = holding
  const at = `${words.table} ${tableName}`
  const lines = [...[...memories].map(slot => memoryLine(words, slot)), ...chains.flatMap(chain => chainLines(holding, chain))]
  let operations = lines.length
  for (const [verb, lists] of [
    ['delete', draft.deletes],
    ['add', draft.adds],
  ] as const)
    for (const [set, texts] of lists) {
      operations += texts.length
      lines.push(`${verb} element ${at} ${nameIn(edition, set)} { ${textIn(edition, texts.join(', '))} }`)
    }
  return { lines, operations, isIndependent: memories.size === 0 && chains.length === 0 && draft.deletes.size === 0 }
}
