// Which chains a service proxy leaves in iptables, and the text that takes some of them out of one table. Pure.
// Chains of the kubelet (KUBE-FIREWALL, KUBE-IPTABLES-HINT, its canary) are no proxy's.
// Follows the clean-up of kube-proxy 1.36 in its iptables and IPVS modes.
import { isProxyChain } from '../iptables/words.ts'
import { isIpvsChain } from '../ipvs/words.ts'

/** The tables that a service proxy has chains in. */
export const proxyTables = ['mangle', 'nat', 'filter'] as const

/** Any chain of kube-proxy's, and of this program's modes. */
export const isServiceChain = (name: string): boolean => isProxyChain(name) || isIpvsChain(name)

/** The chains of one table in what `nft list chains` prints of all. @param table `ip nat` */
export const chainsIn = (listed: string, table: string): readonly string[] => {
  const lines = listed.split('\n')
  const from = lines.indexOf(`table ${table} {`)
  if (from < 0) return []
  return lines.slice(from + 1, lines.indexOf('}', from)).flatMap(line => /^\tchain (\S+) \{/.exec(line)?.[1] ?? [])
}

export interface Removal {
  /** For iptables-restore --noflush; empty when there is nothing to remove. */
  readonly text: string
  readonly chains: number
}

/**
 * Takes chains out of a table, and the rules that lead to them.
 * @param saved what iptables-save prints of the table
 */
export const toRemoval = (table: string, saved: string, isGone: (chain: string) => boolean): Removal => {
  const lines = saved.split('\n')
  const gone = lines.flatMap(line => /^:(\S+) /.exec(line)?.[1] ?? []).filter(isGone)
  const leading = lines.filter(line => {
    const [, from = '', to = ''] = /^-A (\S+) .*-[jg] (\S+)/.exec(line) ?? []
    return isGone(to) && !isGone(from)
  })
  if (gone.length + leading.length === 0) return { text: '', chains: 0 }
  const commands = [
    `*${table}`,
    // Emptied before any is deleted: they lead to each other.
    ...gone.map(chain => `:${chain} - [0:0]`),
    ...leading.map(rule => rule.replace(/^-A/, '-D')),
    ...gone.map(chain => `-X ${chain}`),
    'COMMIT',
    '',
  ]
  return { text: commands.join('\n'), chains: gone.length }
}
