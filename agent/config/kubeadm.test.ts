// What `kubeadm join` 1.36 leaves on a machine, read by the command line of the unit in deploy/kubeadm: the files are kubeadm's own,
// byte for byte, of v1.36.3.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { kubeletVersion } from '../../host/version.ts'
import { loadAgentConfig } from './load.ts'

const dropIn = join(import.meta.dirname, '../../deploy/kubeadm/10-kubeadm.conf')

const config = `apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  anonymous:
    enabled: false
  webhook:
    cacheTTL: 0s
    enabled: true
  x509:
    clientCAFile: /etc/kubernetes/pki/ca.crt
authorization:
  mode: Webhook
  webhook:
    cacheAuthorizedTTL: 0s
    cacheUnauthorizedTTL: 0s
cgroupDriver: systemd
clusterDNS:
- 10.96.0.10
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cpuManagerReconcilePeriod: 0s
crashLoopBackOff: {}
evictionPressureTransitionPeriod: 0s
fileCheckFrequency: 0s
healthzBindAddress: 127.0.0.1
healthzPort: 10248
httpCheckFrequency: 0s
imageMaximumGCAge: 0s
imageMinimumGCAge: 0s
kind: KubeletConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
memorySwap: {}
nodeStatusReportFrequency: 0s
nodeStatusUpdateFrequency: 0s
rotateCertificates: true
runtimeRequestTimeout: 0s
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
staticPodPath: /etc/kubernetes/manifests
streamingConnectionIdleTimeout: 0s
syncFrequency: 0s
volumeStatsAggPeriod: 0s
`

/** Variables and command as systemd makes them of a drop-in: the last ExecStart, variables in it split at spaces. */
const commandOf = (unit: string, environmentFiles: Readonly<Record<string, string>>): readonly string[] => {
  const variables = new Map<string, string>()
  const set = (assignment: string) => {
    const at = assignment.indexOf('=')
    variables.set(assignment.slice(0, at), assignment.slice(at + 1).replaceAll(/^"|"$/g, ''))
  }
  let command: readonly string[] = []
  for (const line of unit.split('\n')) {
    const [, key, value = ''] = /^(Environment|EnvironmentFile|ExecStart)=(.*)$/.exec(line) ?? []
    if (key === 'Environment') set(value.replaceAll(/^"|"$/g, ''))
    if (key === 'EnvironmentFile') for (const it of (environmentFiles[value.slice(1)] ?? '').split('\n')) if (it !== '') set(it)
    if (key === 'ExecStart') command = value.split(' ')
  }
  return command
    .flatMap(word => (word.startsWith('$') ? (variables.get(word.slice(1)) ?? '').split(' ') : [word]))
    .filter(Boolean)
}

const load = async (flagsFile: string, extra = '') => {
  const [program, ...argv] = commandOf(await readFile(dropIn, 'utf8'), {
    '/var/lib/kubelet/kubeadm-flags.env': flagsFile,
    '/etc/default/kubelet': extra,
  })
  const readText = async (file: string) => {
    if (file === '/var/lib/kubelet/config.yaml') return config
    throw Object.assign(new Error(`ENOENT: ${file}`), { code: 'ENOENT' })
  }
  const loaded = await loadAgentConfig(argv, { readText, filesBelow: async () => [], hostname: () => 'vm-1' })
  return { program, ...loaded }
}

t.test('what kubeadm join writes is taken without a warning', async t => {
  const { program, config, warnings } = await load('KUBELET_KUBEADM_ARGS=""\n')
  t.equal(program, '/usr/bin/kubelet')
  t.same(warnings, [])
  t.match(config, {
    nodeName: 'vm-1',
    kubeconfig: '/etc/kubernetes/kubelet.conf',
    bootstrapKubeconfig: '/etc/kubernetes/bootstrap-kubelet.conf',
    certDir: '/var/lib/kubelet/pki',
    rootDir: '/var/lib/kubelet',
    staticPodPath: '/etc/kubernetes/manifests',
    runtimeSocket: '/run/containerd/containerd.sock',
    cgroupDriver: 'systemd',
    cgroupDriverGiven: true,
    clusterDNS: ['10.96.0.10'],
    clusterDomain: 'cluster.local',
  })
  t.match(config.kubelet, { healthzPort: 10_248, healthzBindAddress: '127.0.0.1', rotateCertificates: true })
  t.match(config.kubelet.authentication.x509, { clientCAFile: '/etc/kubernetes/pki/ca.crt' })
})

t.test('a zero in the file is the default of the field, as in the kubelet', async t => {
  const { config } = await load('KUBELET_KUBEADM_ARGS=""\n')
  t.equal(config.fileCheckFrequency, 20_000)
  t.equal(config.runtimeRequestTimeout, 120_000)
  t.match(config.kubelet, {
    syncFrequency: 60_000,
    nodeStatusUpdateFrequency: 10_000,
    nodeStatusReportFrequency: 300_000,
    evictionPressureTransitionPeriod: 300_000,
    streamingConnectionIdleTimeout: 14_400_000,
  })
})

t.test('flags of kubeadm-flags.env are taken, and those of /etc/default/kubelet stand over them', async t => {
  const args = 'KUBELET_KUBEADM_ARGS="--hostname-override=n1 --node-ip=10.91.0.11 --register-with-taints=a=b:NoSchedule"\n'
  const { config, warnings } = await load(args, 'KUBELET_EXTRA_ARGS=--node-ip=10.91.0.12\n')
  t.same(warnings, [])
  t.match(config, {
    nodeName: 'n1',
    nodeIPs: ['10.91.0.12'],
    registerWithTaints: [{ key: 'a', value: 'b', effect: 'NoSchedule' }],
  })
})

t.test('flags that earlier versions of kubeadm wrote are taken with a warning each', async t => {
  const earlier =
    '--container-runtime-endpoint=unix:///run/containerd/containerd.sock --pod-infra-container-image=registry.k8s.io/pause:3.9'
  const { config, warnings } = await load(`KUBELET_KUBEADM_ARGS="${earlier}"\n`)
  t.equal(config.runtimeSocket, '/run/containerd/containerd.sock')
  t.match(warnings, [/pod-infra-container-image/])
  t.equal(warnings.length, 1)
})

t.test('before kubeadm join there is no config.yaml: one line names it', async t => {
  const missing = loadAgentConfig(['--config=/var/lib/kubelet/config.yaml'], {
    readText: async () => {
      throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' })
    },
    filesBelow: async () => [],
    hostname: () => 'vm-1',
  })
  await t.rejects(missing, { message: /--config: \/var\/lib\/kubelet\/config\.yaml: no such file/ })
})

t.test('the version is one that kubeadm reads as 1.36.3', async t => {
  // cmd/kubeadm/app/preflight/utils.go, GetKubeletVersion
  const kubeadms = /^\s*Kubernetes v((0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)([-\w.+]*)?)\s*$/
  t.match(kubeadms.exec(`Kubernetes ${kubeletVersion}`)?.slice(2, 5), ['1', '36', '3'])
})
