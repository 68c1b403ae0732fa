// What stands in our table before everything is written anew: the names of its chains, maps and sets, which edition routes, and the
// numbers that remembered clients hold. Asks only for what costs the same however many elements there are: `nft list tables` and
// `list table -t` of nft 1.0.6 fetch every element of the table first, which takes seconds.
import type { Protocol } from '../../api/meta.ts'
import type { Nft } from '../../host/nft.ts'
import { frontendKey } from '../model.ts'
import { type Edition, editionOf, isShared, nameIn } from './edition.ts'
import { type FamilyWords, tableName } from './words.ts'

export interface Standing {
  /** The edition that packets meet; undefined when none has a hook. */
  readonly inUse: Edition | undefined
  readonly chains: readonly string[]
  readonly sets: readonly { readonly kind: 'set' | 'map'; readonly name: string }[]
}

/** Numbers by frontend: `address . port` of the endpoint that holds each. */
export type Slots = ReadonlyMap<string, readonly (string | undefined)[]>

/** The lines of one table in a listing of all tables of its family; undefined when it is not there. */
const linesOf = (listing: string, table: string): readonly string[] | undefined => {
  const lines = listing.split('\n')
  const from = lines.indexOf(`table ${table} {`)
  return from < 0 ? undefined : lines.slice(from + 1, lines.indexOf('}', from))
}

/** Undefined when our table is not there. @throws Fault `kernel-refused` */
export const readStanding = async (nft: Pick<Nft, 'list'>, { table: family }: FamilyWords): Promise<Standing | undefined> => {
  const table = `${family} ${tableName}`
  const chainLines = linesOf(await nft.list(['list', 'chains', family]), table)
  if (chainLines === undefined) return undefined
  const chains: string[] = []
  let inUse: Edition | undefined
  for (const line of chainLines) {
    const [, chain] = /^\tchain (\S+) \{$/.exec(line) ?? []
    if (chain !== undefined) chains.push(chain)
    else if (line.startsWith('\t\ttype ')) inUse ??= editionOf(chains.at(-1) ?? '')
  }
  const listed = [await nft.list(['-t', 'list', 'sets', family]), await nft.list(['-t', 'list', 'maps', family])]
  const sets = listed
    .flatMap(listing => linesOf(listing, table) ?? [])
    .map(line => /^\t(set|map) (\S+) \{$/.exec(line))
    .filter(found => found !== null)
    .map(([, kind, name]) => ({ kind: kind as 'set' | 'map', name: name! }))
  return { inUse, chains, sets }
}

/** Commands that take away what of the table is there and `keep` does not hold on to: rules first, then what they lead to. */
export const removalLines = (
  { table: family }: FamilyWords,
  { chains, sets }: Standing,
  keep: Edition | undefined,
): readonly string[] => {
  const at = `${family} ${tableName}`
  const goes = (name: string) => !isShared(name) && (keep === undefined || editionOf(name) !== keep)
  const gone = chains.filter(goes)
  return [
    ...gone.map(chain => `flush chain ${at} ${chain}`),
    ...sets.filter(({ name }) => goes(name)).map(({ kind, name }) => `delete ${kind} ${at} ${name}`),
    ...gone.map(chain => `delete chain ${at} ${chain}`),
  ]
}

const remembered = /([^\s{},]+(?: \. [^\s{},]+)*) : goto remember-(\d+)-for-/g

/** The numbers that the edition in use gives to clients, as an earlier daemon left them. */
export const readSlots = async (nft: Pick<Nft, 'list'>, words: FamilyWords, { inUse, sets }: Standing): Promise<Slots> => {
  const slots = new Map<string, (string | undefined)[]>()
  if (inUse === undefined) return slots
  for (const name of ['affinity-ips', 'affinity-node-ports'].map(it => nameIn(inUse, it))) {
    if (!sets.some(set => set.name === name)) continue
    const listing = await nft.list(['list', 'map', words.table, tableName, name])
    for (const [, key = '', slot] of listing.matchAll(remembered)) {
      const parts = key.split(' . ')
      const [ip, protocol = '', port, ...endpoint] = parts.length === 5 ? parts : ['', ...parts]
      const frontend = frontendKey({
        family: words.family,
        ip: ip ?? '',
        protocol: protocol.toUpperCase() as Protocol,
        port: Number(port),
      })
      const known = slots.get(frontend)
      const list = known ?? []
      if (known === undefined) slots.set(frontend, list)
      list[Number(slot)] = endpoint.join(' . ')
    }
  }
  // Numbers that nobody holds are holes in a list that is not sparse.
  return new Map([...slots].map(([frontend, list]) => [frontend, Array.from(list)]))
}
