// What the proxy that runs alone knows of its Node, and when it knows enough to begin: addresses for node ports, ranges for NodeCIDR.
// Follows kube-proxy's node manager: 30 s for addresses, 5 minutes for ranges; changes after that are followed instead of ending.
import type { ProxyConfig } from '../../api/config/proxy-config.ts'
import type { Source } from '../../api/source.ts'
import type { Clock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { nodeIPsOf, type ProxyNode, podCIDRsOf } from '../node.ts'

type NodeSource = Pick<Source<ProxyNode>, 'get' | 'subscribe'>

interface OwnNodeDeps {
  readonly nodes: NodeSource
  readonly nodeName: string
  readonly clock: Clock
}

/** Resolves with true as soon as the Node is as asked for, with false when that takes too long or the signal comes. */
const becomes = async (
  { nodes, nodeName, clock }: OwnNodeDeps,
  isEnough: (node: ProxyNode | undefined) => boolean,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<boolean> => {
  const isThere = () => isEnough(nodes.get('', nodeName))
  if (isThere()) return true
  const { promise, resolve } = Promise.withResolvers<void>()
  const stop = nodes.subscribe({
    changed: () => {
      if (isThere()) resolve()
    },
  })
  const over = new AbortController()
  const pause = clock.sleep(timeoutMs, AbortSignal.any([over.signal, signal])).catch(() => undefined)
  await Promise.race([promise, pause])
  over.abort()
  stop()
  return isThere()
}

/**
 * Waits until the Node says what the configuration needs of it.
 * @throws Fault `not-found` when pods are told by the node's ranges and it has none
 */
export const whenNodeIsKnown = async (
  deps: OwnNodeDeps & { readonly config: Pick<ProxyConfig, 'detectLocalMode'>; readonly log: Log },
  signal: AbortSignal,
): Promise<void> => {
  const { config, nodeName, log } = deps
  const hasAddresses = await becomes(deps, node => nodeIPsOf(node).length > 0, 30_000, signal)
  if (signal.aborted) return
  if (!hasAddresses) log.warn({ node: nodeName }, 'the Node has no addresses yet: those of this machine are used')
  if (config.detectLocalMode !== 'NodeCIDR') return
  const hasRanges = await becomes(deps, node => podCIDRsOf(node).length > 0, 300_000, signal)
  if (!hasRanges && !signal.aborted)
    throw new Fault('not-found', `detectLocalMode: NodeCIDR needs spec.podCIDRs of node ${nodeName}, which has none`, {
      object: `node ${nodeName}`,
    })
}
