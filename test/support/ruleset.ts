// The nftables rules of a host as text that can be compared: without handles, with what has no order in an order, and with the names of
// the Services' rules as they are in the first edition (proxy/nftables/edition.ts), since every repair writes the other one.
import type { Netns } from './netns.ts'

const plain = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'string') return value.replace(/^(@?[\w-]+)\.b$/, '$1')
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value)
    .filter(([name]) => name !== 'handle' && name !== 'comment')
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
    const [kind = '', body] = Object.entries(plain(item) as typeof item)[0] ?? []
    if (kind === 'metainfo') continue
    const text = JSON.stringify({ [kind]: body })
    if (kind !== 'rule') others.push(text)
    else {
      const key = `${JSON.stringify(body?.['family' as 'table'])} ${body?.table} ${body?.chain}`
      rules.set(key, [...(rules.get(key) ?? []), text])
    }
  }
  return [...others.sort(), ...[...rules].map(([key, lines]) => [key, ...lines].join('\n')).sort()]
}

/** A command on chains or maps of the Services' rules, with their names in the edition that routes now. */
export const inUse = async (netns: Pick<Netns, 'run'>, command: string): Promise<string> => {
  const { stdout } = await netns.run(['nft', 'list', 'chains', 'ip'])
  return stdout.includes('nat-prerouting.b')
    ? command.replace(/ (services|service-ips|cluster-ips|endpoints-tcp)(?= |$)/, ' $1.b')
    : command
}
