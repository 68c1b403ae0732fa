// Holds our table against what was written: single elements for one frontend, a listing for everything. Reads only, off the sync path.
// What was written is the backend's book; what the kernel has is asked of nft. Rules are compared by the comments they carry.
import type { Slices } from '../../host/loop.ts'
import type { Nft, NftElements } from '../../host/nft.ts'
import type { Compared, Difference, Inspector, Piece, Remembered, Sight } from '../inspect-types.ts'
import { frontendKey } from '../model.ts'
import { nodePortRanges, type ProxySettings } from '../settings.ts'
import { memoryName } from './chains.ts'
import type { Holding } from './compile.ts'
import { type Edition, isShared, nameIn, textIn } from './edition.ts'
import { type Element, keyedBy, ownElements, type Placed, sharedElements } from './elements.ts'
import { type ListedTable, parseElement, parseListing } from './listing.ts'
import { ruleComment, skeletonOf } from './skeleton.ts'
import { type FamilyWords, tableName } from './words.ts'

export interface InspectorDeps {
  readonly nft: Nft
  readonly elements: NftElements
  readonly words: FamilyWords
  readonly settings: () => ProxySettings
  readonly slices: Slices
  /** The backend's book, undefined while it is being written; the number grows when a write begins and ends. */
  readonly book: () => { readonly holding: Holding | undefined; readonly generation: number }
}

const elementIn = (edition: Edition, { set, key, value }: Element): Element => ({
  set: nameIn(edition, set),
  key,
  value: value === undefined ? undefined : textIn(edition, value),
})

/** Elements that are looked at between two breaths of the event loop. */
const perSlice = 250

/** The inspector of one family's table. */
export const createNftInspector = (deps: InspectorDeps): Inspector => {
  const place = `table ${deps.words.table} ${tableName}`
  return {
    look: async (frontend, clients, most) => {
      const { holding } = deps.book()
      const placed = holding?.placed.get(frontendKey(frontend))
      if (holding === undefined || placed === undefined)
        return { place, written: undefined, pieces: [], notAsked: 0, remembered: [] }
      const wanted = [...ownElements(placed), ...sharedElements(placed)].map(it => elementIn(holding.edition, it))
      const asked = wanted.slice(0, most)
      const found = await deps.elements.find(`${deps.words.table} ${tableName}`, asked)
      const pieces = asked.map((element, index): Piece => {
        const printed = found[index]
        return {
          where: element.set,
          key: element.key,
          wanted: element.value ?? '',
          found: printed === undefined ? undefined : parseElement(printed).value,
        }
      })
      const remembered = await lookAtMemories(deps, placed, clients)
      return { place, written: placed.frontend, pieces, notAsked: wanted.length - asked.length, remembered }
    },
    diff: async () => {
      const before = deps.book().generation
      const result = await compare(deps, place)
      return deps.book().generation === before ? result : undefined
    },
  }
}

/** Who of these clients is remembered, by which number. */
const lookAtMemories = async (
  { elements, words }: InspectorDeps,
  { frontend, slots }: Placed,
  clients: Parameters<Inspector['look']>[1],
): Promise<Sight['remembered']> => {
  if (frontend.affinitySeconds === 0 || clients.from.length === 0) return []
  const to = keyedBy(frontend) === 'address' ? [frontend.ip] : clients.to
  const asked = to.flatMap(address =>
    clients.from.flatMap(from =>
      slots.map((endpoint, slot) => ({
        endpoint,
        address,
        set: memoryName(slot),
        key: `${from} . ${address} . ${frontend.protocol.toLowerCase()} . ${frontend.port}`,
      })),
    ),
  )
  const found = await elements.find(`${words.table} ${tableName}`, asked)
  return asked.flatMap(({ endpoint, address }, index): readonly Remembered[] => {
    const expires = / expires (\S+)/.exec(found[index] ?? '')?.[1]
    return expires === undefined ? [] : [{ frontend: `${address} ${frontend.port}`, endpoint, expires }]
  })
}

const listTable = async ({ nft, words, slices }: InspectorDeps): Promise<ListedTable | undefined> => {
  const at = `${words.table} ${tableName}`
  // `list tables` of nft 1.0.6 fetches every element first; this does not.
  const there = (await nft.list(['list', 'chains', words.table])).split('\n').includes(`table ${at} {`)
  return there ? parseListing(await nft.list(['list', 'table', words.table, tableName]), slices.pause) : undefined
}

/** Undefined while the book is being written. */
const compare = async (deps: InspectorDeps, place: string): Promise<Compared | undefined> => {
  const listed = await listTable(deps)
  const { holding } = deps.book()
  if (holding === undefined) return undefined
  const differences: Difference[] = []
  const tell = (kind: Difference['kind'], what: string, wanted?: string, found?: string) =>
    void differences.push({ place, kind, what, wanted, found })
  if (listed === undefined) {
    tell('missing', place)
    return { differences, compared: 1 }
  }
  const compared =
    compareChains(deps, holding, listed, tell) +
    compareSets(deps, holding, listed, tell) +
    (await compareElements(deps, holding, listed, tell))
  return { differences, compared }
}

type Tell = (kind: Difference['kind'], what: string, wanted?: string, found?: string) => void

const compareChains = ({ settings }: InspectorDeps, holding: Holding, { chains }: ListedTable, tell: Tell): number => {
  const wanted = [
    ...skeletonOf(holding, settings()).chains,
    ...[...holding.chains.values()].map(chain => ({ ...chain, name: nameIn(holding.edition, chain.name), hook: undefined })),
  ]
  let compared = 0
  for (const { name, hook, rules } of wanted) {
    const found = chains.get(name)
    compared += 1 + rules.length
    if (found === undefined) {
      tell('missing', `chain ${name}`)
      continue
    }
    const hooked = hook === undefined ? 'no hook' : `${hook.replace(/ priority .*$/, '')}, policy accept`
    const hooks = found.hook === undefined ? 'no hook' : `${found.hook}, policy ${found.policy}`
    if (hooked !== hooks) tell('different', `chain ${name}`, hooked, hooks)
    const there = found.rules.map(({ comment }) => comment)
    const comments = rules.map(ruleComment)
    for (const [index, rule] of rules.entries())
      if (!there.includes(comments[index])) tell('missing', `rule in chain ${name}`, rule)
    for (const { comment, text } of found.rules)
      if (comment === undefined || !comments.includes(comment)) tell('foreign', `rule in chain ${name}`, undefined, text)
    const known = there.filter(comment => comment !== undefined && comments.includes(comment))
    const kept = comments.filter(comment => known.includes(comment))
    if (known.join(' ') !== kept.join(' ')) tell('different', `order of the rules of chain ${name}`)
  }
  const names = new Set(wanted.map(({ name }) => name))
  for (const name of chains.keys()) if (!names.has(name)) tell('foreign', `chain ${name}`)
  return compared
}

const wantedSets = ({ settings }: InspectorDeps, holding: Holding): ReadonlySet<string> =>
  new Set([...skeletonOf(holding, settings()).sets, ...[...holding.memories].map(memoryName)])

const compareSets = (deps: InspectorDeps, holding: Holding, { sets }: ListedTable, tell: Tell): number => {
  const wanted = wantedSets(deps, holding)
  for (const name of wanted) if (!sets.has(name)) tell('missing', `set ${name}`)
  // Memories that nobody writes to any more stay until they are empty, and longer.
  for (const name of sets.keys()) if (!wanted.has(name) && !isShared(name)) tell('foreign', `set ${name}`)
  return wanted.size
}

const shown = (set: string, key: string): string => `element ${set} { ${key} }`

/** Every element that the table should hold, with a pause now and then. */
const wantedElements = async function* (
  { settings, slices }: InspectorDeps,
  holding: Holding,
): AsyncGenerator<readonly Element[]> {
  const { edition } = holding
  yield nodePortRanges(settings(), holding.words.family).map(key => ({
    set: nameIn(edition, 'node-port-ips'),
    key,
    value: undefined,
  }))
  yield [...holding.shared.keys()].map(id => {
    const at = id.indexOf(' ')
    return { set: nameIn(edition, id.slice(0, at)), key: id.slice(at + 1), value: undefined }
  })
  let batch: Element[] = []
  for (const placed of holding.placed.values()) {
    batch.push(...ownElements(placed).map(element => elementIn(edition, element)))
    if (batch.length < perSlice) continue
    yield batch
    batch = []
    await slices.pause()
  }
  yield batch
}

const compareElements = async (deps: InspectorDeps, holding: Holding, { sets }: ListedTable, tell: Tell): Promise<number> => {
  const expected = wantedSets(deps, holding)
  const seen = new Map<string, Set<string>>([...sets.keys()].map(name => [name, new Set()]))
  let compared = 0
  for await (const elements of wantedElements(deps, holding))
    for (const { set, key, value = '' } of elements) {
      const there = sets.get(set)
      // A set that is not there at all has been told of.
      if (there === undefined) continue
      compared += 1
      seen.get(set)?.add(key)
      const found = there.get(key)
      if (found === undefined) tell('missing', shown(set, key), value)
      else if (found !== value) tell('different', shown(set, key), value, found)
    }
  for (const [name, elements] of sets) {
    if (!expected.has(name) || isShared(name)) continue
    for (const [key, value] of elements) if (!seen.get(name)?.has(key)) tell('foreign', shown(name, key), undefined, value)
  }
  return compared
}
