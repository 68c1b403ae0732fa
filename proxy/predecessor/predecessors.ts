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
import { chainsIn, isServiceChain, proxyTables, toRemoval } from './iptables-removal.ts'
import { removeVirtualServers } from './virtual-servers.ts'

export interface PredecessorDeps {
  readonly exec: Pick<Exec, 'try'>
  /** The mode whose rules stand now. */
  readonly mode: ProxyMode
  readonly log: Log
}

const kubeProxyTables = ['ip kube-proxy', 'ip6 kube-proxy']

interface Kernel extends PredecessorDeps {
  /** Every chain of nftables by its table, those of iptables-nft too. Asking for tables alone makes nft fetch all their elements. */
  readonly listed: string
}

const removeTables = async ({ exec, mode, listed }: Kernel): Promise<readonly string[]> => {
  const others = [...kubeProxyTables, ...(mode === 'nftables' ? [] : ownTables)]
  const left = others.filter(table => listed.includes(`table ${table} {`))
  const nft = createNft(exec)
  for (const table of left) await nft.apply(signedRemoval(table))
  return left.map(table => `nftables table ${table}`)
}

interface Kind {
  readonly command: string
  /** Tables with chains that may have to go. */
  readonly tables: readonly string[]
}

/** The kinds of iptables that may have something. Those of nf_tables are known; a legacy one that is only asked for its tables makes them. */
const filledKinds = async (
  { exec, listed }: Kernel,
  isGone: (command: string, chain: string) => boolean,
): Promise<readonly Kind[]> => {
  const kinds: Kind[] = []
  for (const [{ command, names }, family] of [
    [v4, 'ip'],
    [v6, 'ip6'],
  ] as const) {
    const nft = `${command}-nft`
    const tables = proxyTables.filter(table => chainsIn(listed, `${family} ${table}`).some(chain => isGone(nft, chain)))
    if (tables.length > 0) kinds.push({ command: nft, tables })
    const legacy = (await exec.try(['cat', names])).stdout.split('\n')
    if (legacy.includes('nat'))
      kinds.push({ command: `${command}-legacy`, tables: proxyTables.filter(it => legacy.includes(it)) })
  }
  return kinds
}

const removeChains = async (deps: Kernel): Promise<readonly string[]> => {
  const { exec, mode } = deps
  const isOurs = { nftables: () => false, iptables: isProxyChain, ipvs: isIpvsChain }[mode]
  // The plain name is the kind that we write ourselves; in the other everything is old.
  const own = mode === 'nftables' ? undefined : (await openIptables(exec, v4.command).catch(() => undefined))?.variant
  const isGone = (command: string, chain: string): boolean =>
    isServiceChain(chain) && !(own !== undefined && command.endsWith(own) && isOurs(chain))
  const removed: string[] = []
  for (const { command, tables } of await filledKinds(deps, isGone)) {
    const iptables = await openIptables(exec, command).catch(() => undefined)
    if (iptables === undefined) continue
    let count = 0
    for (const table of tables) {
      const { text, chains } = toRemoval(table, await iptables.save(table), chain => isGone(command, chain))
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
  const { exec, log, mode } = deps
  // A host without nftables has none of them.
  const listed = await createNft(exec)
    .list(['list', 'chains'])
    .catch(() => '')
  const removed: string[] = []
  const kinds = [removeTables, removeChains, ...(mode === 'ipvs' ? [] : [removeVirtualServers])]
  for (const remove of kinds)
    try {
      removed.push(...(await remove({ ...deps, listed })))
    } catch (error) {
      log.warn({ err: error }, 'rules of another proxy could not be removed; they may route Services that are gone')
    }
  if (removed.length > 0) log.info({ removed }, 'rules of another proxy, or of another mode, have been removed: ours stand')
  return removed
}
