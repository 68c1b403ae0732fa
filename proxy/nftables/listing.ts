// Reads a table as nft(8) lists it: sets with their elements, chains with the comments of their rules. Text in, values out.
// Rules are known by their comments alone, since nft prints them in other words than it was given.

export interface ListedChain {
  /** `type nat hook prerouting`; undefined for a chain that others lead to. */
  readonly hook: string | undefined
  readonly policy: string | undefined
  /** The comment of each rule; undefined for one without. */
  readonly rules: readonly { readonly comment: string | undefined; readonly text: string }[]
}

export interface ListedTable {
  /** Elements by set or map: value by key, '' for a member of a set. */
  readonly sets: ReadonlyMap<string, ReadonlyMap<string, string>>
  readonly chains: ReadonlyMap<string, ListedChain>
}

/** Key and value of an element as nft prints it; what a dynamic set adds (`timeout 3h expires 2h59m`) is left out. */
export const parseElement = (text: string): { readonly key: string; readonly value: string } => {
  const at = text.indexOf(' : ')
  const key = (at < 0 ? text : text.slice(0, at)).replace(/ (timeout|expires|counter|comment) .*$/, '')
  return { key, value: at < 0 ? '' : text.slice(at + 3) }
}

interface OpenChain {
  hook: string | undefined
  policy: string | undefined
  readonly rules: ListedChain['rules'][number][]
}

// nft wraps long sets inside of a rule; a brace in a comment is no brace.
const opensMore = (rule: string): boolean => {
  const bare = rule.replace(/"[^"]*"/g, '')
  return bare.split('{').length > bare.split('}').length
}

const readChainLine = (chain: OpenChain, line: string): void => {
  const last = chain.rules.at(-1)
  if (last !== undefined && opensMore(last.text)) chain.rules.pop()
  const text = last !== undefined && opensMore(last.text) ? `${last.text} ${line}` : line
  const hook = /^(type \w+ hook \w+) .*policy (\w+);/.exec(text)
  if (hook === null) {
    chain.rules.push({ comment: / comment "([^"]*)"$/.exec(text)?.[1], text })
    return
  }
  chain.hook = hook[1]
  chain.policy = hook[2]
}

/** What a line of a listing belongs to. */
interface Place {
  set: Map<string, string> | undefined
  chain: OpenChain | undefined
  /** Inside a list of elements, which may go on over many lines. */
  inElements: boolean
}

const addElements = (at: Place, line: string): void => {
  for (const one of line.replace(/ \}$/, '').split(', ')) {
    const element = one.replace(/,$/, '').trim()
    if (element === '') continue
    const { key, value } = parseElement(element)
    at.set?.set(key, value)
  }
  at.inElements = !line.endsWith(' }')
}

/**
 * The table of a listing by `nft list table`.
 * @param pause asked for between lines, since a listing may have hundreds of thousands
 */
export const parseListing = async (text: string, pause: () => Promise<void> | undefined): Promise<ListedTable> => {
  const sets = new Map<string, Map<string, string>>()
  const chains = new Map<string, OpenChain>()
  const at: Place = { set: undefined, chain: undefined, inElements: false }
  for (const raw of text.split('\n')) {
    await pause()
    const line = raw.trim()
    const [, kind, name = ''] = /^(set|map|chain) (\S+) \{$/.exec(line) ?? []
    if (kind === 'chain') {
      at.set = undefined
      at.chain = { hook: undefined, policy: undefined, rules: [] }
      chains.set(name, at.chain)
    } else if (kind !== undefined) {
      at.set = new Map()
      at.chain = undefined
      sets.set(name, at.set)
    } else if (at.inElements) addElements(at, line)
    else if (at.set !== undefined && line.startsWith('elements = { ')) addElements(at, line.slice('elements = { '.length))
    else if (at.chain !== undefined && line !== '' && line !== '}') readChainLine(at.chain, line)
  }
  return { sets, chains }
}
