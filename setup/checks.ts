// What on a machine would keep a node from working, from facts: each finding with what to do about it, and where the program can do that
// itself, the fix as a value. Pure.
// Follows the preflight checks of kubeadm 1.36 where a node without a control plane is meant too.
import type { Wish } from './containerd-text.ts'
import type { HostFacts } from './host-facts.ts'

export type Fix =
  | { readonly do: 'load-modules'; readonly names: readonly string[] }
  | { readonly do: 'set-sysctls'; readonly values: Readonly<Record<string, string>> }
  | { readonly do: 'start-containerd' }
  | { readonly do: 'configure-containerd'; readonly wish: Wish }

export interface Finding {
  readonly id: string
  /** A node cannot work, or works for a while only. The others are worth knowing. */
  readonly isGrave: boolean
  readonly what: string
  readonly advice: string
  readonly fix?: Fix
}

export interface Intent {
  readonly isJoining: boolean
}

type Check = (facts: HostFacts, intent: Intent) => readonly Finding[]

const GiB = 1024 ** 3
const MiB = 1024 ** 2

/** The image of sandboxes where nobody has chosen one. */
export const sandboxImage = 'registry.k8s.io/pause:3.10.1'

const packages: Readonly<Record<string, string>> = {
  ...{ nft: 'nftables', ip: 'iproute2', bridge: 'iproute2', setpriv: 'util-linux', modprobe: 'kmod' },
  ...{ umount: 'mount', systemctl: 'systemd', 'systemd-notify': 'systemd' },
}

const root: Check = ({ isRoot }) =>
  isRoot ? [] : [{ id: 'root', isGrave: true, what: 'this is not root', advice: 'run it with sudo' }]

const systemd: Check = ({ hasSystemd }) =>
  hasSystemd
    ? []
    : [
        {
          id: 'systemd',
          isGrave: true,
          what: 'systemd is not the init of this machine',
          advice: '`nodelet agent` runs under any supervisor',
        },
      ]

const cgroups: Check = ({ cgroupVersion, controllers }) => {
  if (cgroupVersion === 1) {
    const advice =
      'boot with systemd.unified_cgroup_hierarchy=1; version 1 still works, without limits on swap and eviction by memory.high'
    return [{ id: 'cgroup-version', isGrave: false, what: 'the machine uses cgroup version 1', advice }]
  }
  const missing = ['cpu', 'memory', 'pids'].filter(name => !controllers.includes(name))
  if (missing.length === 0) return []
  const advice = `remove cgroup_disable=${missing.join(',')} from the kernel's command line`
  return [
    {
      id: 'cgroup-controllers',
      isGrave: true,
      what: `the kernel does not offer the cgroup controllers ${missing.join(', ')}`,
      advice,
    },
  ]
}

const programs: Check = ({ missingPrograms }) => {
  if (missingPrograms.length === 0) return []
  const needed = [...new Set(missingPrograms.map(it => packages[it] ?? it))]
  return [
    {
      id: 'programs',
      isGrave: true,
      what: `these programs are missing: ${missingPrograms.join(', ')}`,
      advice: `apt-get install ${needed.join(' ')}`,
    },
  ]
}

const kernel: Check = ({ kernel: features }) => {
  const named = (state: string) => Object.keys(features).filter(name => features[name] === state)
  const [loadable, missing] = [named('loadable'), named('missing')]
  return [
    ...missing.map(name => ({
      id: `kernel-${name}`,
      isGrave: true,
      what: `the kernel has no ${name} and no module of that name`,
      advice: 'boot a kernel of the distribution (linux-image-amd64, linux-image-cloud-amd64)',
    })),
    ...(loadable.length === 0
      ? []
      : [
          {
            id: 'kernel-modules',
            isGrave: true,
            what: `kernel modules are not loaded: ${loadable.join(', ')}`,
            advice: `modprobe --all ${loadable.join(' ')}`,
            fix: { do: 'load-modules', names: loadable } as const,
          },
        ]),
  ]
}

/** Settings with the least that they must be. */
const wanted: readonly (readonly [string, number, boolean])[] = [
  ['net.ipv4.ip_forward', 1, true],
  ['net.bridge.bridge-nf-call-iptables', 1, true],
  ['fs.inotify.max_user_instances', 512, false],
  ['fs.inotify.max_user_watches', 65_536, false],
  ['kernel.pid_max', 32_768, false],
]

const sysctls: Check = ({ sysctls: values, kernel: features }) =>
  wanted.flatMap(([name, least, isGrave]) => {
    const value = values[name]
    // comes with its module, which has a finding of its own
    if (value === undefined && features['br_netfilter'] === 'missing') return []
    if (Number(value ?? 0) >= least) return []
    return [
      {
        id: `sysctl-${name}`,
        isGrave,
        what: `${name} is ${value ?? 'not there yet'}, and should be ${least === 1 ? 1 : `at least ${least}`}`,
        advice: `sysctl --write ${name}=${least}`,
        fix: { do: 'set-sysctls', values: { [name]: String(least) } } as const,
      },
    ]
  })

const ports: Check = ({ listening, isInstalled }, { isJoining }) => {
  if (!isJoining || isInstalled) return []
  return [10_250, 10_248]
    .filter(port => listening.includes(port))
    .map(port => ({
      id: `port-${port}`,
      isGrave: true,
      what: `somebody listens at port ${port}, which the node's API needs`,
      advice: `\`ss -ltnp sport = :${port}\` says who; stop that program`,
    }))
}

const others: Check = ({ activeUnits, processes, isInstalled }, { isJoining }) => {
  const agents = ['kubelet', 'kube-proxy', 'k3s', 'k3s-agent', 'rke2-agent', 'snap.microk8s.daemon-kubelite']
  const units = activeUnits.filter(it => agents.includes(it))
  const alone = isInstalled ? [] : processes.filter(it => ['kubelet', 'kube-proxy', 'k3s'].includes(it) && !units.includes(it))
  return [
    ...units.map(unit => ({
      id: `agent-${unit}`,
      isGrave: true,
      what: `another node agent runs on this machine: ${unit}.service`,
      advice: `systemctl disable --now ${unit}, and try again: its containers run on and are taken over`,
    })),
    ...[...new Set(alone)].map(name => ({
      id: `agent-${name}`,
      // Services are left to a kube-proxy that runs as a pod of the cluster.
      isGrave: !(isJoining && name === 'kube-proxy'),
      what: `another node agent runs on this machine: a process ${name}`,
      advice:
        name === 'kube-proxy'
          ? 'keep its DaemonSet from this node to have Services routed by nodelet'
          : `end the process ${name}`,
    })),
  ]
}

const firewalls: Check = ({ activeUnits }) =>
  activeUnits
    .filter(it => it === 'firewalld' || it === 'ufw')
    .map(name => ({
      id: `firewall-${name}`,
      isGrave: false,
      what: `${name} manages the firewall, and may drop what goes to pods and node ports`,
      advice:
        name === 'ufw'
          ? 'ufw allow in on nodelet0, ufw route allow in on nodelet0, ufw route allow out on nodelet0'
          : 'firewall-cmd --permanent --zone=trusted --add-interface=nodelet0, firewall-cmd --reload',
    }))

const network: Check = ({ foreignCni }) =>
  foreignCni.length === 0
    ? []
    : [
        {
          id: 'cni',
          isGrave: false,
          what: `another network configuration is in /etc/cni/net.d: ${foreignCni.join(', ')}`,
          advice: 'it is used, and the plugin of nodelet is not; remove it to have that one',
        },
      ]

const containerd: Check = ({ containerd: runtime, missingPrograms, cgroupVersion, hasSystemd }) => {
  if (missingPrograms.includes('containerd')) return []
  const start: readonly Finding[] = runtime.isActive
    ? []
    : [
        {
          id: 'containerd',
          isGrave: true,
          what: 'containerd does not run',
          advice: 'systemctl enable --now containerd',
          fix: { do: 'start-containerd' },
        },
      ]
  const { view } = runtime
  if (view === undefined) {
    const advice = '`containerd config dump` must print a configuration; correct /etc/containerd/config.toml'
    return [...start, { id: 'containerd-config', isGrave: true, what: "containerd's configuration cannot be read", advice }]
  }
  const wish: Wish = {
    ...(view.isCriDisabled && { enableCri: true }),
    // Pods that run keep their driver: the daemon follows the runtime's.
    ...(!view.systemdCgroup && hasSystemd && cgroupVersion === 2 && runtime.containers === 0 && { systemdCgroup: true }),
    ...(!runtime.namesSandboxImage && runtime.containers === 0 && view.sandboxImage !== sandboxImage && { sandboxImage }),
  }
  return [...start, ...wishes(wish), ...kept(view.systemdCgroup, runtime.containers)]
}

const wishes = (wish: Wish): readonly Finding[] => {
  const lacks = [
    ...(wish.enableCri ? ['its CRI plugin is disabled'] : []),
    ...(wish.systemdCgroup ? ['its cgroup driver is not systemd'] : []),
    ...(wish.sandboxImage === undefined ? [] : ['its sandbox image is an old default']),
  ]
  if (lacks.length === 0) return []
  const advice = 'in /etc/containerd/config.toml: CRI enabled, SystemdCgroup = true for runc, sandbox_image'
  const what = `containerd is not configured for a node: ${lacks.join(', ')}`
  return [{ id: 'containerd-settings', isGrave: true, what, advice, fix: { do: 'configure-containerd', wish } }]
}

const kept = (systemdCgroup: boolean, containers: number): readonly Finding[] =>
  systemdCgroup || containers === 0
    ? []
    : [
        {
          id: 'cgroup-driver',
          isGrave: false,
          what: `containerd uses the cgroup driver cgroupfs, and has ${containers} containers that would have to end for another one`,
          advice: 'it is followed; on a machine with systemd, SystemdCgroup = true is safer',
        },
      ]

const room: Check = ({ freeBytes, memoryBytes, hasSwap }) => [
  ...(freeBytes >= GiB
    ? []
    : [
        {
          id: 'disk',
          isGrave: freeBytes < 512 * MiB,
          what: `${Math.floor(freeBytes / MiB)} MiB are free below /var/lib`,
          advice: 'have 1 GiB and more: images and logs need room, and pods are evicted when it runs short',
        },
      ]),
  ...(memoryBytes >= 480 * MiB
    ? []
    : [
        {
          id: 'memory',
          isGrave: false,
          what: `the machine has ${Math.floor(memoryBytes / MiB)} MiB of memory`,
          advice: 'have 512 MiB and more',
        },
      ]),
  ...(hasSwap
    ? [
        {
          id: 'swap',
          isGrave: false,
          what: 'swap is on',
          advice: 'pods do not use it unless memorySwap.swapBehavior is LimitedSwap; `swapoff --all` if you want none',
        },
      ]
    : []),
]

const time: Check = ({ isClockSynchronized }) =>
  isClockSynchronized === false
    ? [
        {
          id: 'time',
          isGrave: false,
          what: 'the clock is not synchronized',
          advice: 'apt-get install systemd-timesyncd: certificates and leases rest on the time',
        },
      ]
    : []

const checks: readonly Check[] = [
  ...[root, systemd, programs, kernel, cgroups, sysctls, containerd],
  ...[ports, others, network, firewalls, room, time],
]

/** All that is to be said of a machine, what is grave first. */
export const examine = (facts: HostFacts, intent: Intent): readonly Finding[] => {
  const found = checks.flatMap(check => check(facts, intent))
  return [...found.filter(it => it.isGrave), ...found.filter(it => !it.isGrave)]
}

/** Those that only a person can do something about, and must. */
export const obstacles = (findings: readonly Finding[]): readonly Finding[] =>
  findings.filter(it => it.isGrave && it.fix === undefined)
