// The two editions of the rules that the table can hold side by side, so that everything can be written anew while the old rules route:
// chains, maps and sets of the second carry a suffix. What clients are remembered by belongs to both and is written by neither. Pure.
import { signatureSet } from '../../host/nftmonitor.ts'
import { memoryPrefix } from './chains.ts'

export type Edition = 'first' | 'second'

const suffix = '.b'

/** True for what is no edition's: it stays when one takes the place of the other. */
export const isShared = (name: string): boolean => name === signatureSet || name.startsWith(memoryPrefix)

/** What a chain, map or set is called in the kernel. */
export const nameIn = (edition: Edition, name: string): string =>
  edition === 'first' || isShared(name) ? name : `${name}${suffix}`

/** A rule, verdict or declaration with the names that it leads to. */
export const textIn = (edition: Edition, text: string): string =>
  edition === 'first' ? text : text.replace(/(@|goto |jump )([\w-]+)/g, (_, how, name) => `${how}${nameIn(edition, name)}`)

/** The edition that a chain, map or set of the kernel belongs to. */
export const editionOf = (name: string): Edition => (name.endsWith(suffix) ? 'second' : 'first')

export const otherEdition = (edition: Edition): Edition => (edition === 'first' ? 'second' : 'first')
