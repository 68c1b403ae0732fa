// A pod's name on the network: its hostname and domain, and the /etc/hosts its containers see. Pure: text out.
// Follows k8s.io: DNS for Services and Pods (hostname, subdomain, setHostnameAsFQDN), Adding entries to Pod /etc/hosts;
// the first line of the file is how tools tell the kubelet's file from an image's, so it is upstream's to the letter.
import { fullName, namespaceOf } from '../api/pod.ts'
import type { Pod, PodSpec } from '../api/types.ts'
import { Fault } from '../host/fault.ts'

export interface PodName {
  readonly hostname: string
  /** '' when the pod has no subdomain. */
  readonly domain: string
}

const maxHostname = 63
/** What uname(2)'s nodename holds. */
const maxNodename = 64
const dnsLabel = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/
const dnsSubdomain = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/

const wrong = (pod: Pod, message: string): Fault =>
  new Fault('container-config', message, {
    reason: 'CreateContainerConfigError',
    retry: 'never',
    object: `pod ${fullName(pod)}`,
  })

const truncated = (pod: Pod, hostname: string): string => {
  if (hostname.length <= maxHostname) return hostname
  const short = hostname.slice(0, maxHostname).replace(/[-.]+$/, '')
  if (short === '') throw wrong(pod, `hostname for pod "${pod.metadata.name}" was invalid: "${hostname}"`)
  return short
}

/**
 * The hostname and domain of a pod; a name longer than 63 characters is cut.
 * @throws Fault `container-config` when the spec's hostname or subdomain is no DNS label
 */
export const podName = (pod: Pod, clusterDomain: string): PodName => {
  const spec: PodSpec & { readonly hostnameOverride?: string } = pod.spec
  if (spec.hostnameOverride !== undefined) {
    if (!dnsSubdomain.test(spec.hostnameOverride)) {
      throw wrong(pod, `pod HostnameOverride "${spec.hostnameOverride}" is not a valid DNS subdomain`)
    }
    return { hostname: truncated(pod, spec.hostnameOverride), domain: '' }
  }
  if (spec.hostname && !dnsLabel.test(spec.hostname)) {
    throw wrong(pod, `pod Hostname "${spec.hostname}" is not a valid DNS label`)
  }
  if (spec.subdomain && !dnsLabel.test(spec.subdomain)) {
    throw wrong(pod, `pod Subdomain "${spec.subdomain}" is not a valid DNS label`)
  }
  const domain = spec.subdomain ? `${spec.subdomain}.${namespaceOf(pod)}.svc.${clusterDomain}` : ''
  return { hostname: truncated(pod, spec.hostname || pod.metadata.name), domain }
}

/**
 * What the sandbox is given as its hostname: the short name, or the full one when the pod asks for it.
 * @throws Fault `container-config` when the full name does not fit into the kernel's 64 characters
 */
export const sandboxHostname = (pod: Pod, clusterDomain: string): string => {
  const { hostname, domain } = podName(pod, clusterDomain)
  if (domain === '' || pod.spec.setHostnameAsFQDN !== true) return hostname
  const fqdn = `${hostname}.${domain}`
  if (fqdn.length <= maxNodename) return fqdn
  throw wrong(
    pod,
    `failed to construct FQDN from pod hostname and cluster domain, FQDN ${fqdn} is too long ` +
      `(${maxNodename} characters is the max, ${fqdn.length} characters requested)`,
  )
}

const header = '# Kubernetes-managed hosts file.\n'
const hostNetworkHeader = '# Kubernetes-managed hosts file (host network).\n'
const everyPod = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::0\tip6-localnet',
  'fe00::0\tip6-mcastprefix',
  'fe00::1\tip6-allnodes',
  'fe00::2\tip6-allrouters',
]

const aliasLines = ({ hostAliases = [] }: PodSpec): string => {
  if (hostAliases.length === 0) return ''
  const lines = hostAliases.map(({ ip, hostnames = [] }) => `${ip}\t${hostnames.join('\t')}\n`)
  return `\n# Entries added by HostAliases.\n${lines.join('')}`
}

/** The /etc/hosts of a pod with a network of its own. */
export const podHostsFile = (pod: Pod, { hostname, domain }: PodName, podIPs: readonly string[]): string => {
  const names = domain === '' ? hostname : `${hostname}.${domain}\t${hostname}`
  const lines = [...everyPod, ...podIPs.map(ip => `${ip}\t${names}`)]
  return `${header}${lines.join('\n')}\n${aliasLines(pod.spec)}`
}

/** The /etc/hosts of a pod on the node's network: the node's own, and the pod's aliases. */
export const hostNetworkHostsFile = (pod: Pod, nodeFile: string): string =>
  `${hostNetworkHeader}${nodeFile}${aliasLines(pod.spec)}`
