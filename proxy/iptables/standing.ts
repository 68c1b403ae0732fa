// What a table has of a service proxy's, read from what iptables-save prints: an earlier daemon's, a kube-proxy's, or ours. Pure text.
import type { Draft } from './compile.ts'
import { type Jump, jumpComment } from './skeleton.ts'
import { isProxyChain, type Table } from './words.ts'

export interface Standing {
  readonly chains: readonly string[]
  /** Rules of other chains that lead to them, as iptables-save prints them. */
  readonly jumps: readonly string[]
}

/** Reads what iptables-save prints of one table. */
export const readStanding = (saved: string): Standing => {
  const chains: string[] = []
  const jumps: string[] = []
  for (const line of saved.split('\n')) {
    if (line.startsWith(':')) {
      const chain = line.slice(1, line.indexOf(' '))
      if (isProxyChain(chain)) chains.push(chain)
      continue
    }
    if (!line.startsWith('-A ') || line.startsWith('-A KUBE-SVC-')) continue
    const [, from = '', target = ''] = /^-A (\S+) .*-[jg] (\S+)/.exec(line) ?? []
    if (isProxyChain(target) && !isProxyChain(from)) jumps.push(line)
  }
  return { chains, jumps }
}

const deletion = (rule: string): string => rule.replace(/^-A/, '-D')

/** The rules that lead to us are put before all others, in their order; those that were there go. */
export const draftJumps = (draft: Draft, table: Table, standing: Standing, jumps: readonly Jump[]): void => {
  const { commands } = draft[table]
  for (const rule of standing.jumps) commands.push(deletion(rule))
  for (const { from, rule } of jumps.filter(jump => jump.table === table).toReversed()) commands.push(`-I ${from} ${rule}`)
}

/**
 * Takes away what this program has made in a table. Chains that a kube-proxy leads to as well are its own by now: only our jumps go then.
 * @returns how many chains go
 */
export const draftRemoval = (draft: Draft, table: Table, { chains, jumps }: Standing): number => {
  const ours = jumps.filter(rule => rule.includes(`"${jumpComment}"`))
  for (const rule of ours) draft[table].commands.push(deletion(rule))
  if (ours.length === 0 || ours.length < jumps.length) return 0
  for (const chain of chains) draft[table].gone.add(chain)
  return chains.length
}
