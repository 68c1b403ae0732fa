import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { isFault } from '../../host/fault.ts'
import { withoutEffect } from './effects.ts'
import { machineConfig } from './files.ts'
import { withKubeletDefaults } from './kubelet-defaults.ts'
import { kubeletSchema } from './kubelet-schema.ts'
import { type ConfigDeps, loadAgentConfig } from './load.ts'

const kubelet = (fields: string) => `apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n${fields}`
const nodelet = (fields: string) => `apiVersion: nodelet.dev/v1alpha1\nkind: NodeletConfiguration\n${fields}`

const machine = (contents: Readonly<Record<string, string>> = {}): ConfigDeps => ({
  hostname: () => 'Host-1',
  readText: async file => {
    const text = contents[file]
    if (text === undefined) throw Object.assign(new Error(`ENOENT: ${file}`), { code: 'ENOENT' })
    return text
  },
  filesBelow: async directory => Object.keys(contents).filter(file => file.startsWith(`${directory}/`)),
})
const load = (argv: readonly string[], contents?: Readonly<Record<string, string>>) => loadAgentConfig(argv, machine(contents))
const withFile = (fields: string, ...argv: string[]) =>
  load(['--config=/etc/k/config.yaml', ...argv], { '/etc/k/config.yaml': kubelet(fields) })

t.test("with no flag at all the defaults are KubeletConfiguration's, not those of the flags", async t => {
  const { config } = await load([])
  t.match(config, {
    nodeName: 'host-1',
    nodeIPs: [],
    rootDir: '/var/lib/kubelet',
    podLogsDir: '/var/log/pods',
    runtimeSocket: '/run/containerd/containerd.sock',
    imageSocket: '/run/containerd/containerd.sock',
    runtimeRequestTimeout: 120_000,
    fileCheckFrequency: 20_000,
    maxPods: 110,
    podPidsLimit: -1,
    podCIDRs: [],
    cgroupRoot: '/',
    cgroupDriver: 'cgroupfs',
    cgroupDriverGiven: false,
    cgroupsPerQOS: true,
    cpuCFSQuota: true,
    cpuCFSQuotaPeriod: 100,
    failCgroupV1: false,
    failSwapOn: false,
    clusterDomain: 'cluster.local',
    resolvConf: '/etc/resolv.conf',
    registryPullQPS: 5,
    serializeImagePulls: true,
    containerLogMaxBytes: 10 * 1024 * 1024,
    containerLogMaxFiles: 5,
    maxContainerRestartPeriod: 300_000,
    evictionHard: { 'memory.available': '100Mi', 'imagefs.available': '15%' },
    socket: '/run/nodelet/nodelet.sock',
    stateDir: '/var/lib/nodelet',
    cni: { mode: 'auto' },
    standalone: { serviceCIDRs: ['10.96.0.0/16'], nodePortRange: { first: 30_000, last: 32_767 } },
    proxy: { mode: 'auto', config: { mode: 'nftables' }, isGiven: false },
    verbosity: 0,
    cleanup: false,
  })
  t.match(config.kubelet, {
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true } },
    authorization: { mode: 'Webhook' },
    readOnlyPort: 0,
  })
  t.notOk('staticPodPath' in config)
  t.notOk('kubeconfig' in config)
})

t.test('with nothing to run, that is said', async t => {
  t.match((await load([])).warnings, [/there is nothing to run/])
  t.same((await load(['--pod-manifest-path=/m'])).warnings, [])
  t.same((await load(['--kubeconfig=/k'])).warnings, [])
  t.match((await load([])).warnings, [/there is nothing to run/])
})

t.test('a join by kubeadm works with the files and flags that it writes', async t => {
  const { config, warnings } = await load(
    (
      '--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml ' +
      '--container-runtime-endpoint=unix:///run/containerd/containerd.sock --pod-infra-container-image=registry.k8s.io/pause:3.10 --node-ip=10.0.0.5 ' +
      '--node-labels=node.kubernetes.io/role=worker,a=b --register-with-taints=x=y:NoSchedule --cgroup-driver systemd --v=2'
    ).split(' '),
    {
      '/var/lib/kubelet/config.yaml':
        kubelet(`authentication: {anonymous: {enabled: false}, webhook: {cacheTTL: 0s, enabled: true}, x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}
authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: ""
cpuManagerReconcilePeriod: 0s
crashLoopBackOff: {}
evictionPressureTransitionPeriod: 0s
fileCheckFrequency: 0s
healthzBindAddress: 127.0.0.1
healthzPort: 10248
httpCheckFrequency: 0s
imageMaximumGCAge: 0s
imageMinimumGCAge: 0s
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
memorySwap: {}
nodeStatusReportFrequency: 0s
nodeStatusUpdateFrequency: 0s
resolvConf: /run/systemd/resolve/resolv.conf
rotateCertificates: true
runtimeRequestTimeout: 0s
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
staticPodPath: /etc/kubernetes/manifests
streamingConnectionIdleTimeout: 0s
syncFrequency: 0s
volumeStatsAggPeriod: 0s
`),
    },
  )
  t.match(config, {
    kubeconfig: '/etc/kubernetes/kubelet.conf',
    bootstrapKubeconfig: '/etc/kubernetes/bootstrap-kubelet.conf',
    nodeIPs: ['10.0.0.5'],
    nodeLabels: { 'node.kubernetes.io/role': 'worker', a: 'b' },
    registerWithTaints: [{ key: 'x', value: 'y', effect: 'NoSchedule' }],
    cgroupDriver: 'systemd',
    cgroupDriverGiven: true,
    clusterDNS: ['10.96.0.10'],
    staticPodPath: '/etc/kubernetes/manifests',
    resolvConf: '/run/systemd/resolve/resolv.conf',
    runtimeRequestTimeout: 120_000,
    verbosity: 2,
  })
  t.match(warnings[0], /^--pod-infra-container-image: no longer a flag/)
})

for (const [name, fields, argv, expected] of [
  ['a flag wins over the file', 'maxPods: 50', ['--max-pods=60'], { maxPods: 60 }],
  ['the file stays where no flag speaks', 'maxPods: 50', ['--v=1'], { maxPods: 50, verbosity: 1 }],
  [
    'a flag of one field leaves its neighbours',
    'authentication: {webhook: {enabled: false}}',
    ['--anonymous-auth'],
    { kubelet: { authentication: { anonymous: { enabled: true }, webhook: { enabled: false } } } },
  ],
  [
    'a map flag takes the place of the map',
    'systemReserved: {cpu: 1, memory: 1Gi}',
    ['--system-reserved=cpu=2'],
    { systemReserved: { cpu: '2', memory: undefined } },
  ],
  [
    'thresholds of a file take the place of the defaults',
    'evictionHard: {memory.available: 1Gi}',
    [],
    { evictionHard: { 'memory.available': '1Gi', 'nodefs.available': undefined } },
  ],
  [
    'unless they are to be merged',
    'evictionHard: {memory.available: 1Gi}\nmergeDefaultEvictionSettings: true',
    [],
    { evictionHard: { 'memory.available': '1Gi', 'nodefs.available': '10%' } },
  ],
  [
    'parallel pulls need no second word',
    'maxParallelImagePulls: 4',
    [],
    { serializeImagePulls: false, maxParallelImagePulls: 4 },
  ],
  [
    'a report follows the update frequency',
    'nodeStatusUpdateFrequency: 20s',
    [],
    { kubelet: { nodeStatusReportFrequency: 20_000 } },
  ],
  ['an empty resolv.conf stays empty', 'resolvConf: ""', [], { resolvConf: '' }],
  ['a path counts from the file', 'staticPodPath: manifests', [], { staticPodPath: '/etc/k/manifests' }],
  ['two pod ranges', 'podCIDR: 10.244.0.0/24,fd00::/64', [], { podCIDRs: ['10.244.0.0/24', 'fd00::/64'] }],
  ['swap may be asked for', 'memorySwap: {swapBehavior: LimitedSwap}', [], { memorySwapBehavior: 'LimitedSwap' }],
] as const) {
  t.test(name, async t => t.match((await withFile(fields, ...argv)).config, expected))
}

t.test('drop-ins are laid over the file in order of name, below the flags; only .conf files are read', async t => {
  const { config } = await load(['--config=/c', '--config-dir=/d', '--max-pods=5'], {
    '/c': kubelet('maxPods: 1\nclusterDNS: [10.0.0.1]\nevictionHard: {memory.available: 1Gi}\npodsPerCore: 1'),
    '/d/20.conf': kubelet('maxPods: 3\npodsPerCore: 3\nevictionHard: {nodefs.available: 5%}'),
    '/d/sub/10.conf': kubelet('podsPerCore: 4'),
    '/d/10.conf': kubelet('podsPerCore: 2\nclusterDNS: [10.0.0.2]'),
    '/d/notes.txt': 'nothing',
  })
  t.match(config, {
    maxPods: 5,
    podsPerCore: 4,
    clusterDNS: ['10.0.0.2'],
    evictionHard: { 'memory.available': '1Gi', 'nodefs.available': '5%' },
  })
})

t.test('what has no place upstream comes from a NodeletConfiguration', async t => {
  const { config } = await load(['--nodelet-config=/n', '--proxy-config=/p'], {
    '/n': nodelet(
      'socket: /s\nstateDir: /st\ncni: {mode: disabled, binDir: /b}\nstandalone: {serviceCIDR: "10.0.0.0/24, fd00::/112", nodePortRange: 1000-2000}\nproxy: {mode: enabled}',
    ),
    '/p': 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\nclusterCIDR: 10.244.0.0/16\n',
  })
  t.match(config, {
    socket: '/s',
    stateDir: '/st',
    cni: { mode: 'disabled', binDir: '/b' },
    standalone: { serviceCIDRs: ['10.0.0.0/24', 'fd00::/112'], nodePortRange: { first: 1000, last: 2000 } },
    proxy: { mode: 'enabled', config: { mode: 'ipvs', clusterCIDRs: ['10.244.0.0/16'] }, isGiven: true },
  })
})

t.test('a proxy mode that is not given is a warning', async t => {
  const proxy = (mode: string) =>
    load(['--pod-manifest-path=/m', '--proxy-config=/p'], {
      '/p': `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: "${mode}"\n`,
    })
  t.match((await proxy('')).warnings, [/no proxy mode is given: nftables is used/])
  t.same((await proxy('nftables')).warnings, [])
})

t.test('what only a proxy with a process of its own obeys is named', async t => {
  const fields =
    'mode: iptables\nhostnameOverride: n\noomScoreAdj: -5\nbindAddressHardFail: true\nclientConnection: {kubeconfig: /k}\nlogging: {format: json, verbosity: 4}\n'
  const { warnings } = await load(['--pod-manifest-path=/m', '--proxy-config=/p'], {
    '/p': `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n${fields}`,
  })
  t.match(warnings, [
    /^clientConnection\.kubeconfig has no effect: the daemon has its own credentials$/,
    /^hostnameOverride has no effect: .+/,
    /^oomScoreAdj has no effect: .+/,
    /^bindAddressHardFail has no effect: .+/,
    /^logging\.format has no effect: .+/,
    /^logging\.verbosity has no effect: .+/,
  ])
})

t.test('fields without effect are named in one warning, empty ones not', async t => {
  const { warnings } = await withFile(
    'tracing: {endpoint: a}\nreservedMemory: []\nmemorySwap: {}\nstaticPodPath: /m\nhealthzPort: 1\nmaxPods: 3',
  )
  t.same(warnings, ['these fields of the KubeletConfiguration have no effect yet: tracing'])
})

t.test('fields with half an effect say which', async t => {
  const { warnings } = await withFile('staticPodPath: /m\nlogging: {verbosity: 3, format: json}\nkernelMemcgNotification: true')
  t.same(warnings, [
    'kernelMemcgNotification in the KubeletConfiguration: memory is looked at every second',
    'logging in the KubeletConfiguration: verbosity only',
  ])
})

for (const [name, fields, message] of [
  ['an unknown field', 'maxPod: 3', '/etc/k/config.yaml: maxPod: 3: unknown field; did you mean "maxPods"?'],
  ['a field of the wrong type', 'maxPods: many', '/etc/k/config.yaml: maxPods: "many": want a whole number'],
  [
    'a duration that is none',
    'syncFrequency: 10',
    '/etc/k/config.yaml: syncFrequency: 10: want a duration such as 30s, 1m30s or 100ms',
  ],
  ['a choice that is none', 'cgroupDriver: system', /cgroupDriver: "system": want one of cgroupfs, systemd/],
  [
    'a nested unknown field',
    'authentication: {anonymus: {}}',
    /authentication.anonymus: {}: unknown field; did you mean "anonymous"\?/,
  ],
  ['every problem at once', 'maxPod: 3\nsyncFrequency: x', /syncFrequency: "x".*; .*maxPod: 3/],
  [
    'thresholds the wrong way round',
    'imageGCLowThresholdPercent: 90',
    /imageGCLowThresholdPercent: 90: want less than imageGCHighThresholdPercent, 85/,
  ],
  [
    'a percentage of more than all',
    'imageGCHighThresholdPercent: 101',
    /imageGCHighThresholdPercent: 101: want a number from 0 to 100/,
  ],
  ['a port that is none', 'port: 70000', /port: 70000: want a number from 1 to 65535/],
  ['an eviction signal that is none', 'evictionHard: {memory: 1Gi}', /evictionHard\[memory\]: want one of memory.available/],
  [
    'a soft threshold without its period',
    'evictionSoft: {memory.available: 1Gi}',
    /evictionSoftGracePeriod\[memory.available\]: required with evictionSoft/,
  ],
  ['an amount that is none', 'evictionHard: {memory.available: lots}', /want an amount such as 100Mi or 10%/],
  [
    'a threshold of nothing',
    'evictionHard: {memory.available: "0"}',
    /evictionHard\[memory.available\]: "0": want more than nothing/,
  ],
  [
    'a share of more than all',
    'evictionHard: {nodefs.available: 110%}',
    /evictionHard\[nodefs.available\]: "110%": want at most 100%/,
  ],
  [
    'a reserved resource that is none',
    'kubeReserved: {gpu: 1}',
    /kubeReserved\[gpu\]: want one of cpu, memory, ephemeral-storage, pid/,
  ],
  [
    'parallel pulls one after the other',
    'maxParallelImagePulls: 2\nserializeImagePulls: true',
    /maxParallelImagePulls: 2: needs serializeImagePulls: false/,
  ],
  ['a quota period out of range', 'cpuCFSQuotaPeriod: 2s', /cpuCFSQuotaPeriod: "2s": want 1ms to 1s/],
  ['critical pods with more time than all', 'shutdownGracePeriodCriticalPods: 10s', /want at most shutdownGracePeriod, 0s/],
  [
    'enforcement without cgroup',
    'enforceNodeAllocatable: [system-reserved]',
    /systemReservedCgroup: required with enforceNodeAllocatable: system-reserved/,
  ],
  ['enforcement without the tree', 'cgroupsPerQOS: false', /cgroupsPerQOS: false: want true with enforceNodeAllocatable: pods/],
  ['a DNS server that is no address', 'clusterDNS: [dns]', /clusterDNS\[0\]: "dns": want an IPv4 or IPv6 address/],
  ['a pod range that is none', 'podCIDR: 10.0.0.0', /podCIDR: "10.0.0.0": want a range/],
  ['a log folder with dots', 'podLogsDir: /var/../log', /podLogsDir: .*want an absolute ASCII path/],
  ['a runtime over TCP', 'containerRuntimeEndpoint: tcp://1.2.3.4:5', /want a unix socket/],
  ['one log file', 'containerLogMaxFiles: 1', /containerLogMaxFiles: 1: want a number of at least 2/],
  ['ids that are no blocks', 'userNamespaces: {idsPerPod: 70000}', /want a multiple of 65536/],
  ['runOnce', 'runOnce: true', /no longer supported upstream/],
] as const) {
  t.test(`${name} is refused, naming file and field`, async t => {
    const fault = await withFile(fields).catch((error: unknown) => error)
    t.ok(isFault(fault, 'bad-config'))
    t.match((fault as Error).message, message)
    t.notMatch((fault as Error).message, /\n/)
  })
}

for (const [argv, message] of [
  [['--max-pods=-1'], '--max-pods: -1: want a number of at least 0'],
  [['--max-podz=1'], '--max-podz: unknown flag; did you mean --max-pods?'],
  [['--cgroup-driver=x'], /^--cgroup-driver: "x": want one of/],
  [['--node-ip=1.2.3'], /^--node-ip: "1.2.3": want an address/],
  [['--node-ip=10.0.0.1,10.0.0.2'], /^--node-ip: .*one of each family/],
  [['--hostname-override=a_b'], /^--hostname-override: "a_b": want a DNS name/],
  [['--node-labels=kubernetes.io/role=x'], /^--node-labels: kubernetes.io\/role: a node may not set this label/],
  [['--node-labels=a=-'], /^--node-labels: a=-: want a label value/],
  [['--register-with-taints=a:Nothing'], /^--register-with-taints: "Nothing": want one of NoSchedule/],
  [['--config=/missing'], '--config: /missing: no such file'],
  [
    ['--nodelet-config=/n'],
    '/n: standalone.serviceCIDR: "10.0.0.0/24,10.0.1.0/24": want a range such as 10.96.0.0/16, or one of each family with a comma between',
  ],
] as const) {
  t.test(`${argv.join(' ')} is refused, naming the flag`, async t => {
    const fault = await load(argv, { '/n': nodelet('standalone: {serviceCIDR: "10.0.0.0/24,10.0.1.0/24"}') }).catch(
      (error: unknown) => error,
    )
    t.ok(isFault(fault, 'bad-config'))
    t.match((fault as Error).message, message)
  })
}

t.test('every field of the file has a default, or is absent on purpose', async t => {
  const fields = Object.keys(kubeletSchema.entries)
  const defaulted = Object.keys(withKubeletDefaults({}))
  t.same(fields.filter(field => !defaulted.includes(field)).sort(), ['maxParallelImagePulls', 'singleProcessOOMKill'])
  t.same(
    withoutEffect.filter(field => !fields.includes(field)),
    [],
  )
})

t.test('the files of this machine are read', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'nodelet-config-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await mkdir(join(folder, 'd/sub'), { recursive: true })
  await writeFile(join(folder, 'c.yaml'), kubelet('maxPods: 7'))
  await writeFile(join(folder, 'd/sub/1.conf'), kubelet('podsPerCore: 2'))
  const { config } = await loadAgentConfig(
    [`--config=${folder}/c.yaml`, `--config-dir=${folder}/d`, '--hostname-override=n'],
    machineConfig,
  )
  t.match(config, { nodeName: 'n', maxPods: 7, podsPerCore: 2 })
})
