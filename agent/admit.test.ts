import t from 'tap'
import type { Container, ContainerPort, Pod } from '../api/types.ts'
import { type AdmittingNode, admit } from './admit.ts'
import { toSysctlAllowList } from './sysctls.ts'

const node: AdmittingNode = {
  name: 'n1',
  labels: { zone: 'a', cores: '8' },
  allocatable: { cpu: 2000, memory: 2 ** 30, 'ephemeral-storage': 2 ** 30 },
  maxPods: 3,
  sysctls: toSysctlAllowList('6.1.0'),
  hasAppArmor: false,
  features: { userNamespaces: false, supplementalGroupsPolicy: false },
}
const pod = (
  name: string,
  spec: Partial<Pod['spec']> = {},
  container: Partial<Container> = {},
  metadata: Partial<Pod['metadata']> = {},
): Pod => ({
  metadata: { name, namespace: 'default', uid: `uid-${name}`, ...metadata },
  spec: { containers: [{ name: 'c', image: 'i', ...container }], ...spec },
})
const asking = (name: string, requests: Record<string, string>) => pod(name, {}, { resources: { requests } })
const listening = (name: string, ports: readonly ContainerPort[], spec: Partial<Pod['spec']> = {}) => pod(name, spec, { ports })
const affinity = (...terms: object[]) => ({
  affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } } },
})
const expression = (key: string, operator: string, ...values: string[]) => ({ matchExpressions: [{ key, operator, values }] })
const noAffinity = {
  ok: false,
  reason: 'NodeAffinity',
  message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
}
const yes = { ok: true }

for (const [name, given, others, expected] of [
  ['a pod that fits', asking('a', { cpu: '1' }), [asking('b', { cpu: '1' })], yes],
  [
    'no cpu left',
    asking('a', { cpu: '1500m' }),
    [asking('b', { cpu: '1' })],
    {
      ok: false,
      reason: 'OutOfcpu',
      message: "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000",
    },
  ],
  [
    'no memory left',
    asking('a', { memory: '1025Mi' }),
    [],
    {
      ok: false,
      reason: 'OutOfmemory',
      message: `Node didn't have enough resource: memory, requested: ${1025 * 2 ** 20}, used: 0, capacity: ${2 ** 30}`,
    },
  ],
  ['no disk left', asking('a', { 'ephemeral-storage': '2Gi' }), [], { ok: false, reason: 'OutOfephemeral-storage' }],
  ['no huge pages', asking('a', { 'hugepages-2Mi': '2Mi' }), [], { ok: false, reason: 'OutOfhugepages-2Mi' }],
  [
    'no place left',
    pod('a'),
    [pod('b'), pod('c'), pod('d')],
    { ok: false, reason: 'OutOfpods', message: "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3" },
  ],
  ['a pod is not in its own way', asking('a', { cpu: '2' }), [asking('a', { cpu: '2' })], yes],
  ['a pod that asks for nothing fits on a full node', pod('a'), [asking('b', { cpu: '2' })], yes],
  ["a device that nobody told of yet is its plugin's matter", asking('a', { 'vendor.example/gpu': '1' }), [], yes],
  ['nodeSelector that fits', pod('a', { nodeSelector: { zone: 'a' } }), [], yes],
  ['nodeSelector that does not', pod('a', { nodeSelector: { zone: 'b' } }), [], noAffinity],
  ['a node is linux whatever its labels say', pod('a', { nodeSelector: { 'kubernetes.io/os': 'linux' } }), [], yes],
  [
    'affinity: one of several terms is enough',
    pod('a', affinity(expression('zone', 'In', 'b'), expression('zone', 'In', 'a'))),
    [],
    yes,
  ],
  ['affinity: a label that must not be there', pod('a', affinity(expression('zone', 'DoesNotExist'))), [], noAffinity],
  ['affinity: numbers', pod('a', affinity(expression('cores', 'Gt', '4'))), [], yes],
  ['affinity: not a number', pod('a', affinity(expression('zone', 'Lt', '4'))), [], noAffinity],
  [
    'affinity: by name',
    pod('a', affinity({ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['n2'] }] })),
    [],
    noAffinity,
  ],
  ['affinity: an empty term matches nothing', pod('a', affinity({})), [], noAffinity],
  ['a pod of another node', pod('a', { nodeName: 'n2' }), [], { ok: false, reason: 'NodeName' }],
  [
    'a sysctl that nobody allowed',
    pod('a', { securityContext: { sysctls: [{ name: 'kernel.sem', value: '1' }] } }),
    [],
    { ok: false, reason: 'SysctlForbidden', message: 'forbidden sysctl: "kernel.sem" not allowlisted' },
  ],
  [
    'another operating system',
    pod('a', { os: { name: 'windows' } }),
    [],
    { ok: false, reason: 'PodOSNotSupported', message: "Failed to admit pod as the OS field doesn't match node OS" },
  ],
  [
    'another operating system by label',
    pod('a', {}, {}, { labels: { 'kubernetes.io/os': 'windows' } }),
    [],
    { ok: false, reason: 'PodOSSelectorNodeLabelDoesNotMatch' },
  ],
  [
    'AppArmor on a machine without',
    pod('a', {}, { securityContext: { appArmorProfile: { type: 'RuntimeDefault' } } }),
    [],
    { ok: false, reason: 'AppArmor', message: 'Cannot enforce AppArmor: AppArmor is not enabled on the host' },
  ],
  [
    'AppArmor unconfined is fine anywhere',
    pod('a', {}, { securityContext: { appArmorProfile: { type: 'Unconfined' } } }),
    [],
    yes,
  ],
  [
    'a user namespace on a runtime without',
    pod('a', { hostUsers: false }),
    [],
    {
      ok: false,
      reason: 'PodFeatureUnsupported',
      message: "can't set `spec.hostUsers: false`, runtime does not support user namespaces",
    },
  ],
  [
    'Strict groups on a runtime without',
    pod('a', { securityContext: { supplementalGroupsPolicy: 'Strict' } }),
    [],
    {
      ok: false,
      reason: 'SupplementalGroupsPolicyNotSupported',
      message: 'SupplementalGroupsPolicy=Strict is not supported in this node',
    },
  ],
] as const) {
  t.test(name, async t => t.match(admit(given, others, node), expected))
}

const port = (hostPort: number, hostIP?: string, protocol?: ContainerPort['protocol']): ContainerPort => ({
  containerPort: 80,
  hostPort,
  ...(hostIP !== undefined && { hostIP }),
  ...(protocol !== undefined && { protocol }),
})
for (const [name, wanted, taken, clashes] of [
  ['the same port', port(8080), port(8080), true],
  ['another port', port(8080), port(8081), false],
  ['another protocol', port(8080, undefined, 'UDP'), port(8080), false],
  ['two addresses', port(8080, '10.0.0.1'), port(8080, '10.0.0.2'), false],
  ['one address twice', port(8080, '10.0.0.1'), port(8080, '10.0.0.1'), true],
  ['every address against one', port(8080), port(8080, '10.0.0.1'), true],
  ['one against every address', port(8080, '10.0.0.1'), port(8080, '0.0.0.0'), true],
  ['every IPv6 address against an IPv4 one', port(8080, '::'), port(8080, '10.0.0.1'), false],
  ['no host port at all', { containerPort: 80 }, { containerPort: 80 }, false],
] as const) {
  t.test(`host ports: ${name} ${clashes ? 'clashes' : 'does not clash'}`, async t =>
    t.equal(admit(listening('a', [wanted]), [listening('b', [taken])], node).ok, !clashes),
  )
}

t.test('a host port conflict names its owner', async t => {
  const refused = admit(listening('a', [port(8080)]), [listening('b', [port(8080)])], node)
  t.match(refused, { reason: 'NodePorts', message: /^Predicate NodePorts failed: .*8080\/TCP.*default\/b$/ })
})

t.test('on the host network every container port is one', async t =>
  t.equal(admit(listening('a', [{ containerPort: 80 }], { hostNetwork: true }), [listening('b', [port(80)])], node).ok, false),
)

t.test('taints that evict keep out whom they would evict, but no static pod', async t => {
  const tainted = {
    ...node,
    taints: [
      { key: 'gone', effect: 'NoExecute' },
      { key: 'full', effect: 'NoSchedule' },
    ],
  }
  t.match(admit(pod('a'), [], tainted), {
    reason: 'TaintToleration',
    message: "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
  })
  t.same(admit(pod('a', { tolerations: [{ key: 'gone', operator: 'Exists' }] }), [], tainted), yes)
  t.same(admit(pod('a', {}, {}, { annotations: { 'kubernetes.io/config.source': 'file' } }), [], tainted), yes)
})
