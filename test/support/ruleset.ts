// The nftables rules of a host as text that can be compared: without handles, and with what has no order in an order.
import type { Netns } from './netns.ts'

const plain = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value)
    .filter(([name]) => name !== 'handle')
    .map(([name, inner]) => [name, plain(inner)] as const)
  return Object.fromEntries(
    entries.map(([name, inner]) => [
      name,
      name === 'elem' && Array.isArray(inner) ? inner.map(it => JSON.stringify(it)).sort() : inner,
    ]),
  )
}

/** One line for each table, chain, rule, set and map. Rules of one chain keep their order; affinity's memory is left out. */
export const rulesetOf = async (netns: Netns): Promise<readonly string[]> => {
  const { stdout } = await netns.run(['nft', '-j', 'list', 'ruleset'])
  const { nftables } = JSON.parse(stdout) as {
    readonly nftables: readonly Record<string, { readonly table?: string; readonly chain?: string }>[]
  }
  const rules = new Map<string, string[]>()
  const others: string[] = []
  for (const item of nftables) {
    const [kind = '', body] = Object.entries(item)[0] ?? []
    if (kind === 'metainfo') continue
    const text = JSON.stringify(plain(item))
    if (kind !== 'rule') others.push(text)
    else {
      const key = `${JSON.stringify(body?.['family' as 'table'])} ${body?.table} ${body?.chain}`
      rules.set(key, [...(rules.get(key) ?? []), text])
    }
  }
  return [...others.sort(), ...[...rules].map(([key, lines]) => [key, ...lines].join('\n')).sort()]
}
