// Applies compiled text to one family's table and keeps the book of what the kernel has taken. Holds no policy.
// Everything is written in bounded transactions, each frontend whole in one of them. Where rules route already, an earlier daemon's or
// our own, a second edition is filled beside them that no packet meets; the last transaction leads packets to it and takes the old one
// away, so that there is never a moment without rules, and what clients are remembered by stays where it is.
import type { Slices } from '../../host/loop.ts'
import type { Nft, NftElements } from '../../host/nft.ts'
import { signed, signedAnyhow } from '../../host/nftmonitor.ts'
import type { ApplyCount, Backend } from '../backend.ts'
import type { FrontendChange } from '../claims.ts'
import { type Frontend, frontendKey } from '../model.ts'
import type { ProxySettings } from '../settings.ts'
import { type Compiled, compile, emptyHolding, type Holding } from './compile.ts'
import { otherEdition } from './edition.ts'
import { createNftInspector } from './inspect.ts'
import { createSender } from './sender.ts'
import { hookLines, skeletonLines } from './skeleton.ts'
import { readSlots, readStanding, removalLines, type Slots, type Standing } from './standing.ts'
import { type FamilyWords, tableName } from './words.ts'

export interface NftBackendDeps {
  readonly nft: Nft
  /** Answers what the table holds of one frontend; without it nothing can be asked. */
  readonly elements?: NftElements
  readonly words: FamilyWords
  readonly settings: () => ProxySettings
  readonly slices: Slices
  /** Frontends in a transaction at most. */
  readonly perTransaction?: number
}

// Compiling this many takes about a millisecond: the loop is asked for in between.
const perSlice = 100

const batches = function* <T>(items: Iterable<T>, size: number): Generator<readonly T[]> {
  let batch: T[] = []
  for (const item of items) {
    batch.push(item)
    if (batch.length < size) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}

const asChanges = function* (frontends: Iterable<Frontend>): Generator<FrontendChange> {
  for (const after of frontends) yield { key: frontendKey(after), before: undefined, after }
}

const noSlots: Slots = new Map()

const slotsOf = ({ placed, carried }: Holding): Slots =>
  new Map([
    ...carried,
    ...[...placed].filter(([, { slots }]) => slots.length > 0).map(([key, { slots }]) => [key, slots] as const),
  ])

/** The nftables backend of one family. */
export const createNftBackend = (deps: NftBackendDeps): Backend => {
  const { nft, elements, words, settings, slices, perTransaction = 2_500 } = deps
  const table = `${words.table} ${tableName}`
  let book: Holding | undefined
  /** The kernel has all of the book. */
  let isWritten = false
  let generation = 0

  // Only what goes is watched for, and the kernel is several times faster with a transaction that takes nothing away.
  const toText = (lines: readonly string[]): string =>
    lines.some(line => line.startsWith('delete ')) ? signed(table, lines) : `${lines.join('\n')}\n`

  const compileAll = async function* (holding: Holding, changes: Iterable<FrontendChange>): AsyncGenerator<Compiled> {
    for (const batch of batches(changes, perTransaction)) {
      const lines: string[] = []
      let operations = 0
      let isIndependent = true
      for (const piece of batches(batch, perSlice)) {
        const part = compile(holding, piece)
        for (const line of part.lines) lines.push(line)
        operations += part.operations
        isIndependent &&= part.isIndependent
        await slices.pause()
      }
      if (lines.length > 0) yield { lines, operations, isIndependent }
    }
  }

  // The next text is compiled while the kernel takes those before.
  const sendAll = async (holding: Holding, changes: Iterable<FrontendChange>, opening?: string): Promise<ApplyCount> => {
    const sender = createSender(nft.apply)
    let [operations, transactions] = [0, opening === undefined ? 0 : 1]
    try {
      if (opening !== undefined) await sender.send(opening, false)
      for await (const part of compileAll(holding, changes)) {
        operations += part.operations
        transactions += 1
        await sender.send(toText(part.lines), part.isIndependent)
      }
    } finally {
      await sender.ended()
    }
    return { transactions, operations }
  }

  /** What must come first and last around the frontends, given what stands. */
  const frame = (holding: Holding, standing: Standing | undefined) => {
    const skeleton = skeletonLines(holding, settings())
    const hooks = hookLines(holding, settings())
    if (standing === undefined) return { first: [...skeleton, ...hooks], last: [] }
    // Nothing routes, so nobody misses what an earlier attempt has left; packets meet each frontend as soon as it is there.
    if (standing.inUse === undefined)
      return { first: [...removalLines(words, standing, undefined), ...skeleton, ...hooks], last: [] }
    return {
      first: [...removalLines(words, standing, standing.inUse), ...skeleton],
      last: [...removalLines(words, standing, holding.edition), ...hooks],
    }
  }

  const write = async (holding: Holding, standing: Standing | undefined, frontends: Iterable<Frontend>): Promise<ApplyCount> => {
    const { first, last } = frame(holding, standing)
    const opening = standing === undefined ? toText(first) : signedAnyhow(table, first)
    const { transactions, operations } = await sendAll(holding, asChanges(frontends), opening)
    if (last.length > 0) await nft.apply(signed(table, last))
    return {
      transactions: transactions + (last.length > 0 ? 1 : 0),
      operations: operations + first.length + last.length,
    }
  }

  return {
    name: 'nftables',
    family: words.family,
    ...(elements && {
      inspector: createNftInspector({
        ...{ nft, elements, words, settings, slices },
        book: () => ({ holding: isWritten ? book : undefined, generation }),
      }),
    }),
    full: async frontends => {
      isWritten = false
      generation += 1
      const standing = await readStanding(nft, words)
      const carried = book === undefined ? standing && (await readSlots(nft, words, standing)) : slotsOf(book)
      // Two books at once would be twice the memory; should this fail, the kernel still knows who holds which number.
      book = undefined
      const edition = standing?.inUse === undefined ? 'first' : otherEdition(standing.inUse)
      const holding = emptyHolding({ words, edition }, settings(), carried ?? noSlots)
      const count = await write(holding, standing, frontends)
      book = { ...holding, carried: noSlots }
      isWritten = true
      generation += 1
      return count
    },
    apply: async changes => {
      if (book === undefined || !isWritten) throw new Error('a full sync must come first')
      isWritten = false
      generation += 1
      const count = await sendAll(book, changes)
      isWritten = true
      generation += 1
      return count
    },
  }
}
