// What the checks are to know of a machine, as values. Read by setup/look.ts, judged by setup/checks.ts. Pure.
import type { ContainerdView } from './containerd-text.ts'

export interface HostFacts {
  readonly isRoot: boolean
  readonly hasSystemd: boolean
  readonly cgroupVersion: 1 | 2
  /** Of the root of the hierarchy; version 2 only. */
  readonly controllers: readonly string[]
  /** Programs that are not found in PATH. */
  readonly missingPrograms: readonly string[]
  /** Features of the kernel by the name of their module. */
  readonly kernel: Readonly<Record<string, 'there' | 'loadable' | 'missing'>>
  /** By name, as in sysctl.conf; undefined: the kernel has none of this name now. */
  readonly sysctls: Readonly<Record<string, string | undefined>>
  readonly hasSwap: boolean
  /** TCP ports that somebody listens at, on whatever address. */
  readonly listening: readonly number[]
  readonly containerd: {
    readonly isActive: boolean
    /** What it would run with after a restart; undefined: there is none, or it does not say. */
    readonly view: ContainerdView | undefined
    /** Pods and containers that the runtime has. */
    readonly containers: number
    /** The file names a sandbox image, or somebody has chosen one otherwise. */
    readonly namesSandboxImage: boolean
  }
  /** Units that are active, of those asked for. */
  readonly activeUnits: readonly string[]
  /** Programs that run, by the name of their file. */
  readonly processes: readonly string[]
  /** Files of network configuration in /etc/cni/net.d that are not ours. */
  readonly foreignCni: readonly string[]
  readonly freeBytes: number
  readonly memoryBytes: number
  /** undefined: nobody says. */
  readonly isClockSynchronized: boolean | undefined
  /** The daemon of an earlier installation answers or is being restarted. */
  readonly isInstalled: boolean
}

/** Programs that the daemon runs. */
export const neededPrograms = [
  ...[
    'containerd',
    'runc',
    'nft',
    'ip',
    'bridge',
    'conntrack',
    'mount',
    'umount',
    'modprobe',
    'setpriv',
    'systemctl',
    'systemd-notify',
  ],
] as const

/** Features of the kernel that pods and Services need. */
export const neededFeatures = ['overlay', 'br_netfilter', 'nf_tables', 'nf_conntrack'] as const

/** Settings that are looked at. */
export const lookedSysctls = [
  ...['net.ipv4.ip_forward', 'net.bridge.bridge-nf-call-iptables'],
  ...['fs.inotify.max_user_instances', 'fs.inotify.max_user_watches', 'kernel.pid_max'],
] as const

/** Units whose activity matters. */
export const lookedUnits = [
  'kubelet',
  'kube-proxy',
  'k3s',
  'k3s-agent',
  'rke2-agent',
  'snap.microk8s.daemon-kubelite',
  'firewalld',
  'ufw',
] as const
