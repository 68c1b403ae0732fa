// The DNS settings of a pod: the node's resolv.conf, the cluster's DNS and the pod's own wishes to what the runtime
// writes. Pure: the file's content comes in. Follows k8s.io: DNS for Services and Pods; pkg/kubelet/network/dns.

import type { DnsConfig } from '../api/cri/types.ts'
import { namespaceOf } from '../api/pod.ts'
import type { Pod, PodDnsConfig } from '../api/types.ts'

// limits of resolvers: k8s.io validation.MaxDNSNameservers, MaxDNSSearchPaths, MaxDNSSearchListChars, DNS-1123 names
const maxServers = 3
const maxSearches = 32
const maxSearchChars = 2048
const maxNameChars = 253

export interface Resolv {
  readonly servers: readonly string[]
  readonly searches: readonly string[]
  readonly options: readonly string[]
}

/** Something that a user should hear about as an event of the pod. */
export interface DnsWarning {
  readonly reason: 'DNSConfigForming' | 'MissingClusterDNS'
  readonly message: string
}

export interface DnsInput {
  readonly pod: Pod
  /** Content of the node's resolv.conf; undefined when the node is told to use none (`resolvConf: ""`). */
  readonly nodeResolv: string | undefined
  readonly clusterDNS: readonly string[]
  readonly clusterDomain: string
  readonly nodeIPs: readonly string[]
}

const nameOf = (option: string): string => option.split(':', 1)[0] ?? option

/** Reads resolv.conf(5): servers add up, the last search line counts, the last of an option counts. */
export const parseResolv = (content: string): Resolv => {
  const servers: string[] = []
  let searches: string[] = []
  const options = new Map<string, string>()
  for (const line of content.split('\n')) {
    const [keyword, ...values] = line.trim().split(/\s+/)
    if (keyword === 'nameserver' && values[0] !== undefined) servers.push(values[0])
    // one domain with and without its closing dot would count twice against the limits
    if (keyword === 'search') searches = values.filter(value => value !== '.').map(value => value.replace(/\.$/, ''))
    if (keyword === 'options') for (const option of values) options.set(nameOf(option), option)
  }
  return { servers, searches, options: [...options.values()] }
}

const unique = (values: readonly string[]): string[] => [...new Set(values)]

const clusterSettings = ({ pod, clusterDNS, clusterDomain }: DnsInput, node: Resolv): Resolv => {
  const ofCluster = [`${namespaceOf(pod)}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain]
  return {
    servers: clusterDNS,
    searches: clusterDomain === '' ? node.searches : unique([...ofCluster, ...node.searches]),
    options: ['ndots:5'],
  }
}

/** Where the node is told to use no resolv.conf, resolvers ask the local machine, and the runtime must not add its own. */
const localSettings = ({ nodeIPs }: DnsInput): Resolv => {
  const servers = nodeIPs.map(ip => (ip.includes(':') ? '::1' : '127.0.0.1'))
  return { servers: servers.length > 0 ? servers : ['127.0.0.1'], searches: ['.'], options: [] }
}

const withPodConfig = (base: Resolv, { nameservers = [], searches = [], options = [] }: PodDnsConfig): Resolv => {
  const merged = new Map(base.options.map(option => [nameOf(option), option]))
  for (const { name, value } of options) merged.set(name, value ? `${name}:${value}` : name)
  return {
    servers: unique([...base.servers, ...nameservers]),
    searches: unique([...base.searches, ...searches]),
    options: [...merged.values()],
  }
}

const withinLimits = (wanted: Resolv): { readonly config: Resolv; readonly warnings: readonly DnsWarning[] } => {
  const servers = wanted.servers.slice(0, maxServers)
  // glibc 2.28 aborts on a name that is too long
  const searches = wanted.searches.slice(0, maxSearches).filter(({ length }) => length <= maxNameChars)
  while (searches.join(' ').length > maxSearchChars) searches.pop()
  const warnings: DnsWarning[] = []
  const warn = (message: string) => warnings.push({ reason: 'DNSConfigForming', message })
  if (servers.length < wanted.servers.length) {
    warn(
      `Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ${servers.join(' ')}`,
    )
  }
  if (searches.length < wanted.searches.length) {
    warn(
      `Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ${searches.join(' ')}`,
    )
  }
  return { config: { servers, searches, options: wanted.options }, warnings }
}

const missingClusterDns = (pod: Pod): DnsWarning => ({
  reason: 'MissingClusterDNS',
  message:
    `pod: "${pod.metadata.name}_${namespaceOf(pod)}(${pod.metadata.uid ?? ''})". ` +
    'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. ' +
    'Falling back to "Default" policy.',
})

/** The DNS settings of a pod's sandbox, and what its user should hear about them. */
export const podDns = (input: DnsInput): { readonly config: DnsConfig; readonly warnings: readonly DnsWarning[] } => {
  const { pod, nodeResolv, clusterDNS } = input
  const { dnsPolicy = 'ClusterFirst', hostNetwork = false, dnsConfig } = pod.spec
  const wantsCluster = dnsPolicy === 'ClusterFirstWithHostNet' || (dnsPolicy === 'ClusterFirst' && !hostNetwork)
  const node = parseResolv(nodeResolv ?? '')
  const base = (): Resolv => {
    if (dnsPolicy === 'None') return { servers: [], searches: [], options: [] }
    if (wantsCluster && clusterDNS.length > 0) return clusterSettings(input, node)
    return nodeResolv === undefined ? localSettings(input) : node
  }
  const { config, warnings } = withinLimits(dnsConfig === undefined ? base() : withPodConfig(base(), dnsConfig))
  return { config, warnings: wantsCluster && clusterDNS.length === 0 ? [missingClusterDns(pod), ...warnings] : warnings }
}
