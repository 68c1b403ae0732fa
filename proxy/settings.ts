// What the proxy is told about the node and the cluster: types and the pure questions that backends ask of them.
// Names follow KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1), which is read elsewhere.
import type { ProxyConfig } from '../api/config/proxy-config.ts'
import type { IPFamily } from '../api/service-types.ts'
import { canonicalAddress, coversAddress, distinctRanges } from './address.ts'

/** How traffic of the cluster's pods is told from other traffic (KubeProxyConfiguration.detectLocalMode). */
export type LocalTraffic =
  | { readonly by: 'none' }
  | { readonly by: 'cidr'; readonly cidrs: readonly string[] }
  | { readonly by: 'interface'; readonly name: string }
  | { readonly by: 'interface-prefix'; readonly prefix: string }

/**
 * How the configuration tells the cluster's pods from others. ClusterCIDR without a range means the node's own pods here; upstream it
 * means nobody, and then nothing that leaves the cluster's range is masqueraded.
 */
export const toLocalTraffic = (
  { detectLocalMode, detectLocal, clusterCIDRs }: Pick<ProxyConfig, 'detectLocalMode' | 'detectLocal' | 'clusterCIDRs'>,
  podCIDRs: readonly string[],
): LocalTraffic => {
  switch (detectLocalMode) {
    case 'BridgeInterface':
      return { by: 'interface', name: detectLocal.bridgeInterface }
    case 'InterfaceNamePrefix':
      return { by: 'interface-prefix', prefix: detectLocal.interfaceNamePrefix }
    default: {
      const cidrs = detectLocalMode === 'NodeCIDR' || clusterCIDRs.length === 0 ? podCIDRs : clusterCIDRs
      return cidrs.length === 0 ? { by: 'none' } : { by: 'cidr', cidrs }
    }
  }
}

/** What the node says, as far as the rules depend on it. */
export interface NodeFacts {
  /** One of each family, the primary one first. */
  readonly nodeIPs: readonly string[]
  readonly podCIDRs: readonly string[]
}

// kube-proxy's defaults: the node's own addresses in nftables mode, all addresses in the others.
const nodePortDefaults = { nftables: 'primary', iptables: ['0.0.0.0/0', '::/0'], ipvs: ['0.0.0.0/0', '::/0'] } as const

/** What the configuration and the node together ask of the rules. */
export const toProxySettings = (config: ProxyConfig, { nodeIPs, podCIDRs }: NodeFacts) => {
  const { nodePortAddresses, mode, bindAddress } = config
  // The IPVS mode masquerades by iptables, and has its settings from there.
  const { masqueradeAll, masqueradeBit } = config[mode === 'ipvs' ? 'iptables' : mode]
  const isBound = bindAddress !== '0.0.0.0' && bindAddress !== '::'
  const otherFamily = nodeIPs.filter(ip => ip.includes(':') !== bindAddress.includes(':'))
  return {
    nodeIPs: isBound ? [bindAddress, ...otherFamily] : nodeIPs,
    nodePortAddresses: nodePortAddresses.length === 0 ? nodePortDefaults[mode] : toNodePortAddresses(nodePortAddresses),
    localTraffic: toLocalTraffic(config, podCIDRs),
    masqueradeAll,
    masqueradeBit,
    localhostNodePorts: mode === 'iptables' && config.iptables.localhostNodePorts,
  } satisfies Partial<ProxySettings>
}

const toNodePortAddresses = (given: readonly string[]): ProxySettings['nodePortAddresses'] =>
  given.includes('primary') ? 'primary' : given

export interface ProxySettings {
  /** The node's own addresses, of both families. */
  readonly nodeIPs: readonly string[]
  /** `primary`: the node's own addresses serve node ports; else every local address in these ranges. Loopback: see localhostNodePorts. */
  readonly nodePortAddresses: 'primary' | readonly string[]
  readonly localTraffic: LocalTraffic
  readonly masqueradeAll: boolean
  /** The one bit of the packet mark that asks for masquerade on the way out; taken off again there. */
  readonly masqueradeBit: number
  /** Drops TCP packets of pods that conntrack cannot place, before they reach a client with an endpoint's address on them. */
  readonly dropInvalid: boolean
  /** Node ports answer on 127.0.0.1 too, where their addresses cover it. Only the iptables mode can do that, and only for IPv4. */
  readonly localhostNodePorts: boolean
}

export const defaultSettings: ProxySettings = {
  nodeIPs: [],
  nodePortAddresses: 'primary',
  localTraffic: { by: 'none' },
  masqueradeAll: false,
  masqueradeBit: 14,
  dropInvalid: true,
  localhostNodePorts: false,
}

/** The mask of the masquerade mark as nft prints it. */
export const masqueradeMark = ({ masqueradeBit }: Pick<ProxySettings, 'masqueradeBit'>): string =>
  `0x${(2 ** masqueradeBit).toString(16).padStart(8, '0')}`

/** Ranges of addresses that serve node ports, free of overlaps. */
export const nodePortRanges = (settings: ProxySettings, family: IPFamily): readonly string[] =>
  settings.nodePortAddresses === 'primary'
    ? [...new Set(settings.nodeIPs.map(ip => canonicalAddress(ip, family)).filter(ip => ip !== undefined))]
    : distinctRanges(settings.nodePortAddresses, family)

/** Whether node ports are to answer on 127.0.0.1. */
export const servesLoopback = (settings: ProxySettings): boolean =>
  settings.localhostNodePorts && coversAddress(nodePortRanges(settings, 'IPv4'), '127.0.0.1', 'IPv4')

/** Those of the host's addresses that serve node ports. */
export const servingAddresses = (
  { nodePortAddresses, nodeIPs }: Pick<ProxySettings, 'nodePortAddresses' | 'nodeIPs'>,
  local: () => readonly string[],
): readonly string[] =>
  nodePortAddresses === 'primary'
    ? nodeIPs
    : local().filter(ip => coversAddress(nodePortAddresses, ip, ip.includes(':') ? 'IPv6' : 'IPv4'))

/** Pod ranges of one family; empty when pods are told by other means. */
export const podRanges = ({ localTraffic }: ProxySettings, family: IPFamily): readonly string[] =>
  localTraffic.by === 'cidr' ? distinctRanges(localTraffic.cidrs, family) : []
