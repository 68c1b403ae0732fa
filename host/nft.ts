// nft(8): one transaction per call, text in, nothing or a Fault out. Whoever owns a table compiles its text elsewhere;
// nobody but this file starts nft to change anything. A transaction is all or nothing: the kernel keeps the old state on a Fault.
import type { Exec, RunResult } from './exec.ts'
import { Fault } from './fault.ts'

export interface Nft {
  /**
   * Applies text as one transaction (`nft -f -`).
   * @throws Fault `kernel-refused` with what nft said; nothing of the text has taken effect then
   */
  apply(text: string): Promise<void>
  /** As `apply`, but the kernel only says whether it would take the text (`nft -c -f -`). */
  check(text: string): Promise<void>
  /**
   * What `nft ARGS` prints, for listing: `list(['-j', 'list', 'tables'])`.
   * @throws Fault `kernel-refused` with what nft said, also when the listed object is not there
   */
  list(args: readonly string[]): Promise<string>
}

export interface NftOptions {
  /** A large first load takes seconds; default 60 s. */
  readonly timeoutMs?: number
}

// nft repeats the whole line that it refuses, and underlines it: with a thousand elements in a line that is no message any more.
const longestLine = 400
const mostLines = 12
const shorten = (text: string): string => {
  const lines = text.split('\n').filter(line => !/^[\s^~]*$/.test(line))
  return lines
    .slice(0, mostLines)
    .map(line => (line.length > longestLine ? `${line.slice(0, longestLine)}…` : line))
    .join('\n')
}

const accept = (result: RunResult, doing: string): string => {
  if (result.exitCode === 0) return result.stdout
  const said = shorten(result.stderr.trim()) || `exit code ${result.exitCode}`
  throw new Fault('kernel-refused', `nft did not ${doing}: ${said}`)
}

/** Talks to nft through the given exec. */
export const createNft = (exec: Pick<Exec, 'try'>, { timeoutMs = 60_000 }: NftOptions = {}): Nft => ({
  apply: async text => void accept(await exec.try(['nft', '-f', '-'], { input: text, timeoutMs }), 'apply a change'),
  check: async text => void accept(await exec.try(['nft', '-c', '-f', '-'], { input: text, timeoutMs }), 'accept a text'),
  list: async args => accept(await exec.try(['nft', ...args], { timeoutMs }), args.join(' ')),
})

/** One element of a set or map, by the text of its key. */
export interface ElementName {
  readonly set: string
  readonly key: string
}

export interface NftElements {
  /**
   * What the kernel has of these elements, in order: the element as nft prints it, undefined for one that is not there. Asks for
   * each by its key (`nft get element`) and lists nothing; one process when all are there, and one more for each that is not.
   * @param table `ip nodelet-proxy`
   * @throws Fault `kernel-refused` when nft fails for another reason than that something is not there
   */
  find(table: string, wanted: readonly ElementName[]): Promise<readonly (string | undefined)[]>
}

const printed = /elements = \{ (.*) \}/g

/** Asks nft for single elements. */
export const createNftElements = (exec: Pick<Exec, 'try'>, { timeoutMs = 60_000 }: NftOptions = {}): NftElements => ({
  find: async (table, wanted) => {
    const found: (string | undefined)[] = []
    while (found.length < wanted.length) {
      const lines = wanted.slice(found.length).map(({ set, key }) => `get element ${table} ${set} { ${key} }`)
      const result = await exec.try(['nft', '-f', '-'], { input: `${lines.join('\n')}\n`, timeoutMs })
      for (const [, element] of result.stdout.matchAll(printed)) found.push(element)
      if (result.exitCode === 0) break
      if (!result.stderr.includes('No such file or directory')) accept(result, 'show elements')
      // nft answers line by line and stops at the first that is not there: what it has not answered is asked again.
      found.push(undefined)
    }
    return found
  },
})
