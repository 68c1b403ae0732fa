// Which sysctls a pod may set: names, the namespaces that they belong to, the list of those that are allowed. Pure.
// Follows k8s.io: Using sysctls in a Kubernetes Cluster (safe ones are always allowed, others by --allowed-unsafe-sysctls).
import type { Pod } from '../api/types.ts'
import { Fault } from '../host/fault.ts'

export type SysctlNamespace = 'IPC' | 'Net'

/** `net/ipv4/conf/eth0.1/forwarding` is `net.ipv4.conf.eth0/1.forwarding`: the first separator says which is which. */
export const toSysctlName = (name: string): string =>
  /[./]/.exec(name)?.[0] === '/' ? name.replaceAll(/[./]/g, it => (it === '/' ? '.' : '/')) : name

const ipcNames = new Set(
  'sem shmall shmmax shmmni shm_rmid_forced shm msgmax msgmnb msgmni msg'.split(' ').map(name => `kernel.${name}`),
)

/** The namespace of a sysctl or of a prefix of some; undefined when it is the machine's own. */
const namespaceOf = (name: string): SysctlNamespace | undefined => {
  if (ipcNames.has(name) || name.startsWith('fs.mqueue.')) return 'IPC'
  return name.startsWith('net.') ? 'Net' : undefined
}

/** Safe on every kernel from the version on: confined to the pod and without cost for its neighbours. */
const safe: readonly (readonly [name: string, sinceKernel: string])[] = [
  ['kernel.shm_rmid_forced', '0'],
  ['net.ipv4.ip_local_port_range', '0'],
  ['net.ipv4.tcp_syncookies', '0'],
  ['net.ipv4.ping_group_range', '0'],
  ['net.ipv4.ip_unprivileged_port_start', '0'],
  ['net.ipv4.ip_local_reserved_ports', '3.16'],
  ['net.ipv4.tcp_keepalive_time', '4.5'],
  ['net.ipv4.tcp_fin_timeout', '4.6'],
  ['net.ipv4.tcp_keepalive_intvl', '4.5'],
  ['net.ipv4.tcp_keepalive_probes', '4.5'],
  ['net.ipv4.tcp_rmem', '4.15'],
  ['net.ipv4.tcp_wmem', '4.15'],
]

/** True when a kernel release (`6.1.0-18-amd64`) is at least a version (`4.15`). */
export const isKernelAtLeast = (release: string, version: string): boolean => {
  const toParts = (text: string) => (/^\d+(\.\d+)*/.exec(text)?.[0] ?? '0').split('.').map(Number)
  const [have, want] = [toParts(release), toParts(version)]
  for (const [index, part] of want.entries()) {
    if ((have[index] ?? 0) !== part) return (have[index] ?? 0) > part
  }
  return true
}

export interface SysctlAllowList {
  readonly exact: ReadonlyMap<string, SysctlNamespace>
  readonly prefixes: readonly (readonly [prefix: string, namespace: SysctlNamespace])[]
}

const pattern = /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*([a-z0-9][-_a-z0-9]*)?[a-z0-9*]$/

/**
 * The sysctls that pods of this node may set.
 * @param kernel the release of the running kernel
 * @param unsafe what the configuration allows in addition: names, or prefixes that end in `*`
 * @throws Fault `bad-config` for one that is no sysctl, or is not confined to a namespace
 */
export const toSysctlAllowList = (kernel: string, unsafe: readonly string[] = []): SysctlAllowList => {
  const exact = new Map<string, SysctlNamespace>()
  const prefixes: (readonly [string, SysctlNamespace])[] = []
  const given = [...safe.filter(([, since]) => isKernelAtLeast(kernel, since)).map(([name]) => name), ...unsafe]
  for (const text of given) {
    const name = toSysctlName(text)
    const isPrefix = name.includes('*')
    const fixed = isPrefix ? name.slice(0, name.indexOf('*')) : name
    const namespace = namespaceOf(fixed)
    if (text.length > 253 || !pattern.test(text)) {
      throw new Fault('bad-config', `allowedUnsafeSysctls: ${JSON.stringify(text)} is no sysctl name or prefix with *`, {
        retry: 'never',
      })
    }
    if (namespace === undefined) {
      throw new Fault('bad-config', `allowedUnsafeSysctls: ${JSON.stringify(fixed)} is not known to be namespaced`, {
        retry: 'never',
      })
    }
    if (isPrefix) prefixes.push([fixed, namespace])
    else exact.set(fixed, namespace)
  }
  return { exact, prefixes }
}

/** Why the pod's sysctls are refused, in the kubelet's words; undefined when they are allowed. */
export const refusedSysctl = (pod: Pod, allowed: SysctlAllowList): string | undefined => {
  for (const sysctl of pod.spec.securityContext?.sysctls ?? []) {
    const name = toSysctlName(sysctl.name)
    const namespace = allowed.exact.get(name) ?? allowed.prefixes.find(([prefix]) => name.startsWith(prefix))?.[1]
    if (namespace === undefined) return `forbidden sysctl: ${JSON.stringify(name)} not allowlisted`
    const isHost = namespace === 'IPC' ? pod.spec.hostIPC : pod.spec.hostNetwork
    if (isHost) return `forbidden sysctl: ${JSON.stringify(name)} not allowed with host ${namespace} enabled`
  }
  return undefined
}
