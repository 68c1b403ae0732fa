// Applies compiled text to one family's table and keeps the book of what the kernel has taken. Holds no policy.
// First sync without a table: bounded transactions, each frontend whole in one of them. With a table of an earlier daemon, or after
// a failure: the whole table is replaced in one transaction, so that there is never a moment without rules.
import type { Slices } from '../../host/loop.ts'
import type { Nft, NftElements } from '../../host/nft.ts'
import { signed, signedReplacement } from '../../host/nftmonitor.ts'
import type { ApplyCount, Backend } from '../backend.ts'
import { type Frontend, frontendKey } from '../model.ts'
import type { ProxySettings } from '../settings.ts'
import { type Compiled, compile, emptyHolding, type Holding } from './compile.ts'
import { createNftInspector } from './inspect.ts'
import { skeletonLines } from './skeleton.ts'
import { type FamilyWords, tableName } from './words.ts'

export interface NftBackendDeps {
  readonly nft: Nft
  /** Answers what the table holds of one frontend; without it nothing can be asked. */
  readonly elements?: NftElements
  readonly words: FamilyWords
  readonly settings: () => ProxySettings
  readonly slices: Slices
  /** Frontends per transaction of a first sync. */
  readonly perTransaction?: number
}

// Compiling this many takes about two milliseconds: the loop is asked for in between.
const perSlice = 250

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

/** The nftables backend of one family. */
export const createNftBackend = (deps: NftBackendDeps): Backend => {
  const { nft, elements, words, settings, slices, perTransaction = 2_500 } = deps
  const table = `${words.table} ${tableName}`
  let holding: Holding | undefined
  let generation = 0

  const isThere = async (): Promise<boolean> =>
    (await nft.list(['list', 'tables', words.table])).split('\n').includes(`table ${table}`)

  // Only what goes is watched for, and the kernel is several times faster with a transaction that takes nothing away.
  const toText = (lines: readonly string[]): string =>
    lines.some(line => line.startsWith('delete ')) ? signed(table, lines) : `${lines.join('\n')}\n`

  const compileAll = async function* (book: Holding, frontends: Iterable<Frontend>, size: number) {
    for (const batch of batches(frontends, size)) {
      const lines: string[] = []
      let operations = 0
      for (const piece of batches(batch, perSlice)) {
        const part: Compiled = compile(
          book,
          piece.map(after => ({ key: frontendKey(after), before: undefined, after })),
        )
        for (const line of part.lines) lines.push(line)
        operations += part.operations
        await slices.pause()
      }
      yield { lines, operations }
    }
  }

  const replace = async (book: Holding, frontends: Iterable<Frontend>): Promise<ApplyCount> => {
    const lines = [...skeletonLines(words, settings())]
    let operations = lines.length
    for await (const part of compileAll(book, frontends, Number.POSITIVE_INFINITY)) {
      for (const line of part.lines) lines.push(line)
      operations += part.operations
    }
    await nft.apply(signedReplacement(table, lines))
    return { transactions: 1, operations }
  }

  // The next text is compiled while the kernel takes the one before.
  const fill = async (book: Holding, frontends: Iterable<Frontend>): Promise<ApplyCount> => {
    const skeleton = skeletonLines(words, settings())
    let operations = skeleton.length
    let transactions = 1
    const send = (text: string): Promise<void> => {
      const applying = nft.apply(text)
      // The next compile runs before this is awaited: a refusal must not count as unhandled meanwhile.
      applying.catch(() => undefined)
      return applying
    }
    let applying = send(`${skeleton.join('\n')}\n`)
    for await (const part of compileAll(book, frontends, perTransaction)) {
      await applying
      operations += part.operations
      transactions += 1
      applying = send(toText(part.lines))
    }
    await applying
    return { transactions, operations }
  }

  return {
    name: 'nftables',
    family: words.family,
    ...(elements && {
      inspector: createNftInspector({ nft, elements, words, settings, slices, book: () => ({ holding, generation }) }),
    }),
    full: async frontends => {
      holding = undefined
      generation += 1
      const book = emptyHolding(words, settings())
      const count = (await isThere()) ? await replace(book, frontends) : await fill(book, frontends)
      holding = book
      generation += 1
      return count
    },
    apply: async changes => {
      const book = holding
      if (book === undefined) throw new Error('a full sync must come first')
      holding = undefined
      generation += 1
      const lines: string[] = []
      let operations = 0
      for (const piece of batches(changes, perSlice)) {
        const part = compile(book, piece)
        for (const line of part.lines) lines.push(line)
        operations += part.operations
        await slices.pause()
      }
      if (lines.length > 0) await nft.apply(toText(lines))
      holding = book
      generation += 1
      return { transactions: lines.length > 0 ? 1 : 0, operations }
    },
  }
}
