// What a table's maps and sets say, whatever edition they are of and whichever number an endpoint holds: for comparing a table that many
// changes have led to with one that was written at once.
import { isShared, nameIn } from './edition.ts'

/** Sorted elements by name. What clients are remembered by is left out: it is made when first needed, and stays. */
export const meaningOf = (
  sets: ReadonlyMap<string, { readonly entries: () => Iterable<readonly [string, string]> }>,
): Readonly<Record<string, readonly string[]>> =>
  Object.fromEntries(
    [...sets]
      .filter(([name]) => !isShared(name))
      .map(([name, elements]): [string, readonly string[]] => [
        plain(name),
        [...elements.entries()].map(it => toText(name, it)).sort(),
      ])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )

const suffix = nameIn('second', '')
const plain = (name: string): string => (name.endsWith(suffix) ? name.slice(0, -suffix.length) : name)

const toText = (name: string, [key, value]: readonly [string, string]): string => {
  const parts = key.split(' . ')
  // Numbers that clients are remembered by keep their holes; which lane they belong to is all that must agree.
  if (name.includes('endpoints-') && !name.startsWith('no-'))
    return `${parts.slice(0, -1).join(' . ')} in ${Number(parts.at(-1)) >> 16} ${value}`
  return `${key} ${plain(value)
    .replace(/remember-\d+/, 'remember')
    .replace(/-of-\d+/, '')}`
}
