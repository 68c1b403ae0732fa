// What the proxy reads of its own Node object: addresses, pod ranges, zone, and whether balancers may still send to it. Pure.
// Follows kube-proxy's node manager and the cluster autoscaler's taint.
import { isIPv6 } from 'node:net'
import type { KubeObject } from '../api/meta.ts'
import { canonicalAddress } from '../host/address.ts'

export interface ProxyNode extends KubeObject {
  readonly spec?: {
    readonly podCIDR?: string
    readonly podCIDRs?: readonly string[]
    readonly taints?: readonly { readonly key: string }[]
  }
  readonly status?: { readonly addresses?: readonly { readonly type: string; readonly address: string }[] }
}

/** The node's addresses, one of each family, the primary one first: internal ones before external ones. */
export const nodeIPsOf = (node: ProxyNode | undefined): readonly string[] => {
  const told = node?.status?.addresses ?? []
  const ips = ['InternalIP', 'ExternalIP'].flatMap(type =>
    told.flatMap(it => (it.type === type ? (canonicalAddress(it.address) ?? []) : [])),
  )
  const [first] = ips
  if (first === undefined) return []
  const other = ips.find(ip => isIPv6(ip) !== isIPv6(first))
  return other === undefined ? [first] : [first, other]
}

export const podCIDRsOf = (node: ProxyNode | undefined): readonly string[] => {
  const { podCIDRs, podCIDR } = node?.spec ?? {}
  return podCIDRs ?? (podCIDR === undefined || podCIDR === '' ? [] : [podCIDR])
}

/** '' when it has none. */
export const zoneOf = (node: ProxyNode | undefined): string => node?.metadata.labels?.['topology.kubernetes.io/zone'] ?? ''

const leavingTaint = 'ToBeDeletedByClusterAutoscaler'

/** Whether new connections may come to it; one that is not there, or is about to go, gets none. */
export const isEligible = (node: ProxyNode | undefined): boolean =>
  node !== undefined &&
  node.metadata.deletionTimestamp === undefined &&
  !(node.spec?.taints ?? []).some(({ key }) => key === leavingTaint)
