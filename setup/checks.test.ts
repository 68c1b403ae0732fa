import t from 'tap'
import { examine, obstacles, sandboxImage } from './checks.ts'
import type { HostFacts } from './host-facts.ts'

const well: HostFacts = {
  isRoot: true,
  hasSystemd: true,
  cgroupVersion: 2,
  controllers: ['cpu', 'memory', 'pids', 'io'],
  missingPrograms: [],
  kernel: { overlay: 'there', br_netfilter: 'there', nf_tables: 'there', nf_conntrack: 'there' },
  sysctls: {
    'net.ipv4.ip_forward': '1',
    'net.bridge.bridge-nf-call-iptables': '1',
    'fs.inotify.max_user_instances': '1024',
    'fs.inotify.max_user_watches': '524288',
    'kernel.pid_max': '4194304',
  },
  hasSwap: false,
  listening: [22],
  containerd: {
    isActive: true,
    view: { version: 2, isCriDisabled: false, systemdCgroup: true, sandboxImage },
    containers: 0,
    namesSandboxImage: true,
  },
  activeUnits: [],
  processes: ['systemd', 'containerd'],
  foreignCni: [],
  freeBytes: 10 * 1024 ** 3,
  memoryBytes: 2 * 1024 ** 3,
  isClockSynchronized: true,
  isInstalled: false,
}

const containerd = (given: Partial<HostFacts['containerd']>): HostFacts => ({
  ...well,
  containerd: { ...well.containerd, ...given },
})
const alone = { isJoining: false }
const joining = { isJoining: true }

t.test('a machine that is fit has no findings', async t => {
  t.same(examine(well, alone), [])
  t.same(examine(well, joining), [])
})

t.test('what keeps a node from working and only a person can change', async t => {
  const cases: readonly (readonly [string, HostFacts, { readonly isJoining: boolean }, RegExp])[] = [
    ['no root', { ...well, isRoot: false }, alone, /not root/],
    ['no systemd', { ...well, hasSystemd: false }, alone, /systemd is not the init/],
    ['no overlay in the kernel', { ...well, kernel: { ...well.kernel, overlay: 'missing' } }, alone, /has no overlay/],
    ['a controller switched off', { ...well, controllers: ['cpu', 'pids'] }, alone, /cgroup controllers memory/],
    ['programs that are missing', { ...well, missingPrograms: ['nft', 'containerd'] }, alone, /missing: nft, containerd/],
    ['a port taken, for a node of a cluster', { ...well, listening: [10_250] }, joining, /port 10250/],
    ['the port of health taken', { ...well, listening: [10_248] }, joining, /port 10248/],
    ['the service of a kubelet', { ...well, activeUnits: ['kubelet'] }, alone, /kubelet\.service/],
    ['a kubelet without a service', { ...well, processes: ['kubelet'] }, joining, /a process kubelet/],
    ['a kube-proxy on a machine of its own', { ...well, processes: ['kube-proxy'] }, alone, /a process kube-proxy/],
    ['a containerd that does not read its file', containerd({ view: undefined }), alone, /cannot be read/],
    ['no room on the disk', { ...well, freeBytes: 100 * 1024 ** 2 }, alone, /100 MiB are free/],
  ]
  for (const [name, facts, intent, what] of cases) {
    const found = obstacles(examine(facts, intent))
    t.equal(found.length, 1, name)
    t.match(found[0]?.what, what, name)
    t.ok(found[0]?.advice, `${name}: what to do is said`)
  }
})

t.test('what is worth knowing and in nobody’s way', async t => {
  const cases: readonly (readonly [string, HostFacts, { readonly isJoining: boolean }, string])[] = [
    ['cgroup version 1', { ...well, cgroupVersion: 1, controllers: [''] }, alone, 'cgroup-version'],
    ['swap', { ...well, hasSwap: true }, alone, 'swap'],
    ['little room', { ...well, freeBytes: 700 * 1024 ** 2 }, alone, 'disk'],
    ['little memory', { ...well, memoryBytes: 256 * 1024 ** 2 }, alone, 'memory'],
    ['a clock that nobody sets', { ...well, isClockSynchronized: false }, alone, 'time'],
    ['a firewall', { ...well, activeUnits: ['ufw'] }, alone, 'firewall-ufw'],
    ['another network', { ...well, foreignCni: ['10-calico.conflist'] }, alone, 'cni'],
    ['a kube-proxy that is a pod of the cluster', { ...well, processes: ['kube-proxy'] }, joining, 'agent-kube-proxy'],
    [
      'containers under the other driver',
      containerd({ containers: 3, view: { version: 2, isCriDisabled: false, systemdCgroup: false, sandboxImage } }),
      alone,
      'cgroup-driver',
    ],
  ]
  for (const [name, facts, intent, id] of cases) {
    const found = examine(facts, intent)
    t.same(
      found.map(it => [it.id, it.isGrave]),
      [[id, false]],
      name,
    )
  }
})

t.test('who says nothing of the time is not said to be wrong', async t =>
  t.same(examine({ ...well, isClockSynchronized: undefined }, alone), []),
)

t.test('a port is of no concern to a machine of its own, nor that of our own daemon', async t => {
  t.same(examine({ ...well, listening: [10_250] }, alone), [])
  t.same(examine({ ...well, listening: [10_250], isInstalled: true }, joining), [])
})

t.test('what is fixed without a person', async t => {
  const view = { version: 2, isCriDisabled: false, systemdCgroup: true, sandboxImage }
  const cases: readonly (readonly [string, HostFacts, unknown])[] = [
    [
      'modules',
      { ...well, kernel: { ...well.kernel, br_netfilter: 'loadable' } },
      { do: 'load-modules', names: ['br_netfilter'] },
    ],
    [
      'forwarding',
      { ...well, sysctls: { ...well.sysctls, 'net.ipv4.ip_forward': '0' } },
      { do: 'set-sysctls', values: { 'net.ipv4.ip_forward': '1' } },
    ],
    [
      'inotify',
      { ...well, sysctls: { ...well.sysctls, 'fs.inotify.max_user_instances': '128' } },
      { do: 'set-sysctls', values: { 'fs.inotify.max_user_instances': '512' } },
    ],
    ['a containerd that is stopped', containerd({ isActive: false }), { do: 'start-containerd' }],
    [
      'the cgroup driver',
      containerd({ view: { ...view, systemdCgroup: false } }),
      { do: 'configure-containerd', wish: { systemdCgroup: true } },
    ],
    [
      'a sandbox image that nobody has chosen',
      containerd({ view: { ...view, sandboxImage: 'registry.k8s.io/pause:3.6' }, namesSandboxImage: false }),
      { do: 'configure-containerd', wish: { sandboxImage } },
    ],
    [
      'a CRI that is disabled, as in Docker’s package, whatever runs there',
      containerd({ view: { ...view, isCriDisabled: true }, containers: 2 }),
      { do: 'configure-containerd', wish: { enableCri: true } },
    ],
  ]
  for (const [name, facts, fix] of cases)
    t.same(
      examine(facts, alone).map(it => it.fix),
      [fix],
      name,
    )
})

t.test('the driver is left to containers that run, and to cgroup version 1', async t => {
  const view = { version: 2, isCriDisabled: false, systemdCgroup: false, sandboxImage }
  for (const facts of [containerd({ view, containers: 1 }), { ...containerd({ view }), cgroupVersion: 1 as const }])
    t.notOk(examine(facts, alone).some(it => it.fix !== undefined))
})

t.test('modules come before the settings that they bring', async t => {
  const { 'net.bridge.bridge-nf-call-iptables': _, ...sysctls } = well.sysctls
  const found = examine({ ...well, kernel: { ...well.kernel, br_netfilter: 'loadable' }, sysctls }, alone)
  t.same(
    found.map(it => it.fix?.do),
    ['load-modules', 'set-sysctls'],
  )
})
