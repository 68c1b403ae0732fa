// Whether this machine is a node of a cluster or its own: with a kubeconfig it joins, and what that needs is loaded only then.
// What the daemon is given either way: addresses, and with a cluster its membership and the measures of its work.
import { lookup } from 'node:dns/promises'
import type { Cri } from '../api/cri/cri.ts'
import type { Store } from '../api/source.ts'
import type { Pod } from '../api/types.ts'
import { globalAddresses, nodeAddresses } from '../host/addresses.ts'
import type { Clock } from '../host/clock.ts'
import type { Measures } from './cluster/measures.ts'
import type { Membership, MembershipDeps } from './cluster/membership.ts'
import type { AgentConfig } from './config/agent-config.ts'
import { findNodeAddresses } from './report/node-address.ts'

/** A node of a cluster shows the addresses that a kubelet would show; a machine of its own all it can be reached by. */
export const ownAddresses = async ({ kubeconfig, nodeIPs, nodeName }: AgentConfig, clock: Clock): Promise<readonly string[]> => {
  if (kubeconfig === undefined) return nodeIPs.length > 0 ? nodeIPs : nodeAddresses()
  const resolve = async (name: string) => (await lookup(name, { all: true })).map(it => it.address)
  return findNodeAddresses({ nodeIPs, nodeName, own: globalAddresses, preferred: nodeAddresses, lookup: resolve, clock })
}

/** @returns undefined for a machine of its own, which nobody asks for metrics */
export const measuresFor = async (
  config: AgentConfig,
  deps: { readonly version: string; readonly live: Store<Pod>; readonly clock: Clock },
): Promise<Measures | undefined> =>
  config.kubeconfig === undefined ? undefined : (await import('./cluster/measures.ts')).createMeasures({ config, ...deps })

/** The runtime, its calls counted where somebody may ask. */
export const measured = (runtime: Cri, measures: Measures | undefined): Cri => measures?.runtime(runtime) ?? runtime

/** @returns undefined for a machine of its own */
export const enterCluster = async (
  deps: Omit<MembershipDeps, 'kubeconfig'>,
  signal: AbortSignal,
): Promise<Membership | undefined> => {
  const { kubeconfig } = deps.config
  if (kubeconfig === undefined) return undefined
  const { joinCluster } = await import('./cluster/membership.ts')
  return joinCluster({ ...deps, kubeconfig }, signal)
}
