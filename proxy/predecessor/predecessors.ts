// Hand-over: what a kube-proxy before us, or this program in another mode, has left in the kernel goes once our rules stand, so that
// traffic is routed at every moment. Never before that, and once: a kube-proxy that runs on would only write it anew.
// Connections that were sent somewhere stay there: the kernel keeps their translation, whoever's rule it was.
import type { ProxyMode } from '../../api/config/kube-proxy.ts'
import type { Exec } from '../../host/exec.ts'
import { openIptables } from '../../host/iptables.ts'
import type { Log } from '../../host/log.ts'
import { createNft } from '../../host/nft.ts'
import { signedRemoval } from '../../host/nftmonitor.ts'
import { proxyTables as ownTables } from '../drift.ts'
import { isProxyChain, v4, v6 } from '../iptables/words.ts'
import { isIpvsChain } from '../ipvs/words.ts'
import { isServiceChain, proxyTables, toRemoval } from './iptables-removal.ts'
import { removeVirtualServers } from './virtual-servers.ts'

export interface PredecessorDeps {
  readonly exec: Pick<Exec, 'try'>
  /** The mode whose rules stand now. */
  readonly mode: ProxyMode
  readonly log: Log
}

const kubeProxyTables = ['ip kube-proxy', 'ip6 kube-proxy']

const removeTables = async ({ exec, mode }: PredecessorDeps): Promise<readonly string[]> => {
  const nft = createNft(exec)
  const there = (await nft.list(['list', 'tables'])).split('\n')
  const others = [...kubeProxyTables, ...(mode === 'nftables' ? [] : ownTables)]
  const left = others.filter(table => there.includes(`table ${table}`))
  for (const table of left) await nft.apply(signedRemoval(table))
  return left.map(table => `nftables table ${table}`)
}

/** The kinds of iptables that have something: to ask one of the legacy kind for its tables would make them. */
const filledCommands = async ({ exec }: PredecessorDeps): Promise<readonly string[]> => {
  const filled: string[] = []
  const chains = await createNft(exec)
    .list(['list', 'chains'])
    .catch(() => '')
  for (const { command, names } of [v4, v6]) {
    if (chains.includes('chain KUBE-')) filled.push(`${command}-nft`)
    const legacy = await exec.try(['cat', names])
    if (legacy.stdout.split('\n').includes('nat')) filled.push(`${command}-legacy`)
  }
  return filled
}

const removeChains = async (deps: PredecessorDeps): Promise<readonly string[]> => {
  const { exec, mode } = deps
  const isOurs = { nftables: () => false, iptables: isProxyChain, ipvs: isIpvsChain }[mode]
  // The plain name is the kind that we write ourselves; in the other everything is old.
  const own = mode === 'nftables' ? undefined : (await openIptables(exec, v4.command).catch(() => undefined))?.variant
  const removed: string[] = []
  for (const command of await filledCommands(deps)) {
    const isWritten = own !== undefined && command.endsWith(own)
    const isGone = (chain: string) => isServiceChain(chain) && !(isWritten && isOurs(chain))
    const iptables = await openIptables(exec, command).catch(() => undefined)
    if (iptables === undefined) continue
    let count = 0
    for (const table of proxyTables) {
      const { text, chains } = toRemoval(table, await iptables.save(table), isGone)
      if (text !== '') await iptables.restore(text)
      count += chains
    }
    if (count > 0) removed.push(`${count} chains of ${command}`)
  }
  return removed
}

/**
 * Removes what is not ours any more, each kind by itself: what cannot be removed is said and stays.
 * @returns what was removed, as a person would read it
 */
export const removePredecessors = async (deps: PredecessorDeps): Promise<readonly string[]> => {
  const { log, mode } = deps
  const removed: string[] = []
  const kinds = [removeTables, removeChains, ...(mode === 'ipvs' ? [] : [removeVirtualServers])]
  for (const remove of kinds)
    try {
      removed.push(...(await remove(deps)))
    } catch (error) {
      log.warn({ err: error }, 'rules of another proxy could not be removed; they may route Services that are gone')
    }
  if (removed.length > 0) log.info({ removed }, 'rules of another proxy, or of another mode, have been removed: ours stand')
  return removed
}
