// Applies compiled text to one family's tables and keeps the book of what the kernel has taken. Holds no policy.
// A full sync first writes what frontends have of their own, which nothing leads to yet or which says what it said before; then, in one
// commit per table, everything that leads there: rules of an earlier daemon, or of a kube-proxy, serve until that moment and go then.
// A full sync lists the names of the chains that are there; a change lists nothing.
import type { Iptables } from '../../host/iptables.ts'
import type { Slices } from '../../host/loop.ts'
import type { ApplyCount, Backend, RuleCount } from '../backend.ts'
import type { FrontendChange } from '../claims.ts'
import { type Frontend, frontendKey } from '../model.ts'
import type { ProxySettings } from '../settings.ts'
import {
  compile,
  type Draft,
  draftFixed,
  draftLeaves,
  draftTouched,
  emptyDraft,
  emptyHolding,
  type Holding,
  inParts,
  type Touched,
  toText,
} from './compile.ts'
import { createIptablesInspector } from './inspect.ts'
import { shelfOf } from './rules.ts'
import { jumpsOf } from './skeleton.ts'
import { draftJumps, draftRemoval, readStanding } from './standing.ts'
import { canaryChain, type FamilyWords, type Table, tables } from './words.ts'

export interface IptablesBackendDeps {
  readonly iptables: Pick<Iptables, 'restore' | 'save' | 'missing'>
  readonly words: FamilyWords
  /** What the program writes: the old tables, each as a whole, or nf_tables, which tells of changes. */
  readonly variant: Iptables['variant']
  readonly settings: () => ProxySettings
  readonly slices: Slices
  /** False for frontends that this kernel has no rules for; they are left out. */
  readonly takes?: (frontend: Frontend) => boolean
  /** Frontends per transaction; all in one where that is cheaper. */
  readonly perTransaction?: number
}

// Compiling this many takes a few milliseconds: the loop is asked for in between.
const perSlice = 250

// To iptables-nft a transaction costs more than linearly (10,000 Services: 6 s at once, 1 s in twenty parts); the legacy tables are
// written as a whole by each, however little it changes.
const defaultPerTransaction = { nft: 500, legacy: Number.POSITIVE_INFINITY } as const

const canaryText = `*mangle\n:${canaryChain} - [0:0]\nCOMMIT\n`

/** In the order of their shelves, so that each shelf is written by one transaction. */
const byShelf = (changes: readonly FrontendChange[]): readonly FrontendChange[] => {
  const shelves = new Map<string, FrontendChange[]>()
  for (const change of changes) {
    const { name } = shelfOf((change.after ?? change.before)!)
    const shelf = shelves.get(name)
    if (shelf === undefined) shelves.set(name, [change])
    else shelf.push(change)
  }
  return [...shelves.values()].flat()
}

const shelfName = ({ after, before }: FrontendChange): string => shelfOf((after ?? before)!).name

/** Pieces of about `size` that part no shelf. */
const pieces = function* (changes: readonly FrontendChange[], size: number): Generator<readonly FrontendChange[]> {
  let from = 0
  for (let at = 1; at <= changes.length; at++) {
    if (at < changes.length && (at - from < size || shelfName(changes[at]!) === shelfName(changes[at - 1]!))) continue
    yield changes.slice(from, at)
    from = at
  }
}

/** The iptables backend of one family. */
export const createIptablesBackend = (deps: IptablesBackendDeps): Backend => {
  const { iptables, words, variant, settings, slices, takes = () => true } = deps
  const { perTransaction = defaultPerTransaction[variant] } = deps
  let holding: Holding | undefined
  let generation = 0
  let counts: Readonly<Record<Table, RuleCount>> | undefined

  const compilePiece = async (book: Holding, draft: Draft, changes: readonly FrontendChange[]): Promise<void> => {
    const touched: Touched = new Map()
    for (let at = 0; at < changes.length; at += perSlice) {
      compile(book, changes.slice(at, at + perSlice), draft, touched)
      await slices.pause()
    }
    draftTouched(book, draft, touched)
  }
  const sender = (book: Holding) => {
    const count = { transactions: 0, operations: 0 }
    const written = { nat: 0, filter: 0 }
    return {
      /** Everything was sent: the book is what the kernel holds. */
      done: (): ApplyCount => {
        holding = book
        counts = {
          nat: { total: book.counts.nat, last: written.nat },
          filter: { total: book.counts.filter, last: written.filter },
        }
        return count
      },
      send: async (whole: Draft): Promise<void> => {
        for (const draft of inParts(book, whole, perTransaction)) {
          const { text, operations, rules } = toText(draft, { signed: variant === 'nft' })
          if (text === '') continue
          await iptables.restore(text)
          for (const table of tables) written[table] += rules[table]
          count.transactions += 1
          count.operations += operations
        }
      },
    }
  }
  const readAll = async () => ({
    nat: readStanding(await iptables.save('nat')),
    filter: readStanding(await iptables.save('filter')),
  })

  /** Chains that nothing leads to any more: emptied first, since they lead to each other. */
  const sweep = async (gone: Draft, send: (draft: Draft) => Promise<void>): Promise<void> => {
    for (const deleting of [false, true])
      for (const table of tables) {
        const names = [...gone[table].gone]
        const size = Math.min(perTransaction * 4, names.length)
        for (let at = 0; at < names.length; at += size) {
          const draft = emptyDraft()
          for (const name of names.slice(at, at + size))
            if (deleting) draft[table].gone.add(name)
            else draft[table].chains.set(name, [])
          await send(draft)
        }
      }
  }

  return {
    name: 'iptables',
    family: words.family,
    rules: () => counts ?? {},
    inspector: createIptablesInspector({ iptables, words, settings, slices, book: () => ({ holding, generation }) }),
    full: async frontends => {
      holding = undefined
      generation += 1
      const book = emptyHolding(words, settings())
      const standing = await readAll()
      const { send, done } = sender(book)
      const written = { nat: new Set<string>(), filter: new Set<string>() }
      let draft = emptyDraft()
      const note = () => {
        for (const table of tables) for (const name of draft[table].chains.keys()) written[table].add(name)
      }
      const all = [...frontends].filter(takes).map(after => ({ key: frontendKey(after), before: undefined, after }))
      for (const piece of pieces(byShelf(all), perTransaction)) {
        await compilePiece(book, draft, piece)
        if (piece.length < perTransaction) continue
        draftLeaves(book, draft)
        note()
        await send(draft)
        draft = emptyDraft()
      }
      draftFixed(book, draft)
      note()
      const gone = emptyDraft()
      for (const table of tables) {
        draftJumps(draft, table, standing[table], jumpsOf(words, settings()))
        for (const name of standing[table].chains) if (!written[table].has(name)) gone[table].gone.add(name)
      }
      const few = tables.every(table => gone[table].gone.size <= perTransaction)
      if (few) for (const table of tables) for (const name of gone[table].gone) draft[table].gone.add(name)
      await send(draft)
      if (!few) await sweep(gone, send)
      if (variant === 'legacy') await iptables.restore(canaryText)
      return done()
    },
    apply: async changes => {
      const book = holding
      if (book === undefined) throw new Error('a full sync must come first')
      holding = undefined
      generation += 1
      const { send, done } = sender(book)
      for (const piece of pieces(byShelf(changes.filter(({ before, after }) => takes((after ?? before)!))), perTransaction)) {
        const draft = emptyDraft()
        await compilePiece(book, draft, piece)
        await send(draft)
      }
      return done()
    },
  }
}

/**
 * Removes what this program has made in one family.
 * @returns how many chains went
 */
export const removeChains = async (iptables: Pick<Iptables, 'restore' | 'save'>): Promise<number> => {
  const draft = emptyDraft()
  let count = 0
  for (const table of tables) count += draftRemoval(draft, table, readStanding(await iptables.save(table)))
  const { text } = toText(draft, { signed: false })
  if (text === '') return 0
  await iptables.restore(text)
  if ((await iptables.save('mangle')).includes(`:${canaryChain} `))
    await iptables.restore(`*mangle\n:${canaryChain} - [0:0]\n-X ${canaryChain}\nCOMMIT\n`)
  return count
}
