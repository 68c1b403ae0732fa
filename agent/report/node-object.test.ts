// What is written of a Node and what is not, addresses as the kubelet finds them, and what the runtime says in its words.
import t from 'tap'
import type { Image } from '../../api/cri/types.ts'
import { createStore } from '../../api/source.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import type { NodeObject } from '../node.ts'
import { toRuntimeFacts } from '../runtime-facts.ts'
import { findNodeAddresses } from './node-address.ts'
import { toNodeImages } from './node-findings.ts'
import {
  adoptionPatch,
  initialNode,
  isOfAnotherMachine,
  type NodeFindings,
  nextStatus,
  podCIDRsOf,
  podCIDRTroubles,
  type Registration,
  statusPatch,
} from './node-object.ts'
import { whenPodCIDRs } from './pod-cidrs.ts'

const found: NodeFindings = {
  name: 'n1',
  machine: {
    ...{
      hostname: 'n1',
      machineId: 'm1',
      systemUuid: 'u1',
      bootId: 'b1',
      kernel: '6.1.0',
      osImage: 'Debian',
      architecture: 'amd64',
    },
    ...{ cpus: 2, memoryBytes: 2 ** 32, swapBytes: 2 ** 30, hugePages: [], pidLimit: 1, hasAppArmor: false },
    ...{ hasSwapController: false, thermalPaths: [] },
  },
  rootFs: { bytes: 2 ** 36, availableBytes: 1, inodes: 1, freeInodes: 1 },
  settings: { maxPods: 110, podsPerCore: 0, systemReserved: {}, kubeReserved: {}, evictionHard: {} },
  health: { troubles: [], memoryPressure: false, diskPressure: false, pidPressure: false },
  ...{ addresses: ['10.0.0.1'], labels: {}, version: 'v1', runtime: 'containerd://1', port: 10250 },
}
const registration: Registration = {
  ...{ taints: [], providerID: '', externalCloudProvider: false, nodeIPs: [], enableControllerAttachDetach: true },
}
const now = '2026-01-01T00:00:00Z'
const later = '2026-01-01T00:00:10Z'
const node: NodeObject = JSON.parse(JSON.stringify(initialNode(found, registration, now)))
const patchFor = (findings: NodeFindings, from: NodeObject = node) =>
  statusPatch(from, nextStatus(from, findings, registration, later), findings) as {
    isChanged: boolean
    patch: { status: Record<string, unknown>; metadata?: object }
  }

t.test('what is sent', async t => {
  const hugePages = [{ size: '2MB', sizeBytes: 2 ** 21, count: 2 }]
  for (const [name, findings, fields] of [
    ['heartbeats alone when nothing changed', found, {}],
    [
      'amounts that changed',
      { ...found, machine: { ...found.machine, cpus: 4 } },
      { capacity: { cpu: '4' }, allocatable: { cpu: '4' } },
    ],
    [
      'page sizes that are new, and what they take from memory',
      { ...found, machine: { ...found.machine, hugePages } },
      { capacity: { 'hugepages-2Mi': '4Mi' }, allocatable: { 'hugepages-2Mi': '4Mi', memory: '4092Mi' } },
    ],
    ['the facts that changed', { ...found, version: 'v2' }, { nodeInfo: { kubeletVersion: 'v2' } }],
    ['swap that is gone', { ...found, machine: { ...found.machine, swapBytes: 0 } }, { nodeInfo: { swap: null } }],
    [
      'all addresses, since there may be two of a type',
      { ...found, addresses: ['10.0.0.1', 'fd00::1'] },
      {
        addresses: [
          { type: 'InternalIP', address: '10.0.0.1' },
          { type: 'InternalIP', address: 'fd00::1' },
          { type: 'Hostname', address: 'n1' },
          { $patch: 'replace' },
        ],
      },
    ],
    ['volumes in use', { ...found, volumesInUse: ['kubernetes.io/csi/d^1'] }, { volumesInUse: ['kubernetes.io/csi/d^1'] }],
    [
      'what the runtime can do',
      { ...found, features: { supplementalGroupsPolicy: true } },
      { features: { supplementalGroupsPolicy: true } },
    ],
  ] as const) {
    const { isChanged, patch } = patchFor(findings as NodeFindings)
    const { conditions, ...rest } = patch.status
    t.same(rest, fields, name)
    t.equal(isChanged, Object.keys(fields).length > 0, `${name}: changed or not`)
    t.ok((conditions as { lastHeartbeatTime: string }[]).every(it => it.lastHeartbeatTime === later))
  }
})

t.test('the same amount written otherwise is no change', async t => {
  const other = { ...node, status: { ...node.status, capacity: { ...node.status.capacity, memory: String(2 ** 32) } } }
  t.equal(patchFor(found, other).isChanged, false)
})

t.test('a label that pods depend on is put back', async t => {
  const { isChanged, patch } = patchFor(found, { ...node, metadata: { name: 'n1', labels: { 'kubernetes.io/os': 'linux' } } })
  t.equal(isChanged, true)
  t.same(patch.metadata, { labels: { 'kubernetes.io/arch': 'amd64' } })
})

t.test('adoption takes back an annotation that no longer holds', async t => {
  const patch = adoptionPatch(node, found, { ...registration, enableControllerAttachDetach: false }, later)
  t.match(patch, { metadata: { annotations: { 'volumes.kubernetes.io/controller-managed-attach-detach': null } } })
})

t.test('with an external cloud provider --node-ip is told to it', async t => {
  const made = initialNode(found, { ...registration, externalCloudProvider: true, nodeIPs: ['10.0.0.1'] }, now)
  t.equal(made.metadata.annotations?.['alpha.kubernetes.io/provided-node-ip'], '10.0.0.1')
  t.match(made.status.addresses, [{ type: 'InternalIP', address: '10.0.0.1' }, { type: 'Hostname' }])
})

t.test('another machine is one with another id', async t => {
  const of = (info: object) => ({ ...node, status: { ...node.status, nodeInfo: { ...node.status.nodeInfo, ...info } } })
  t.equal(isOfAnotherMachine(node, found), false)
  t.equal(isOfAnotherMachine(of({ machineID: 'm2' }), found), true)
  t.equal(isOfAnotherMachine(of({ systemUUID: 'u2' }), found), true)
  t.equal(isOfAnotherMachine(of({ machineID: '', systemUUID: '' }), found), false, 'a Node made by hand is anybody’s')
})

t.test('the ranges of pods', async t => {
  const of = (spec: object): NodeObject => ({ ...node, spec })
  t.same(podCIDRsOf(undefined), [])
  t.same(podCIDRsOf(of({ podCIDR: '10.1.0.0/24' })), ['10.1.0.0/24'])
  t.same(podCIDRsOf(of({ podCIDR: '10.1.0.0/24', podCIDRs: ['10.1.0.0/24', 'fd00::/64'] })), ['10.1.0.0/24', 'fd00::/64'])
  t.match(podCIDRTroubles(node), [/^container runtime network not ready: the Node has no podCIDR yet/])
  t.same(podCIDRTroubles(of({ podCIDR: '10.1.0.0/24' })), [])
})

t.test('ranges are waited for, and are there at once when they are there', async t => {
  const store = createStore<NodeObject>()
  const stopping = new AbortController()
  const ranges = whenPodCIDRs(store, 'n1', stopping.signal)
  store.put({ ...node, metadata: { name: 'other' }, spec: { podCIDR: '10.9.0.0/24' } })
  store.put(node)
  store.put({ ...node, spec: { podCIDR: '10.1.0.0/24' } })
  t.same(await ranges, ['10.1.0.0/24'])
  t.same(await whenPodCIDRs(store, 'n1', stopping.signal), ['10.1.0.0/24'])
  const never = whenPodCIDRs(store, 'n3', stopping.signal)
  stopping.abort(new Error('over'))
  await t.rejects(never, { message: 'over' })
})

t.test('addresses', async t => {
  const base = {
    nodeName: 'n1',
    own: () => ['10.0.0.1', '172.16.0.1', 'fd00::1'],
    preferred: async () => ['10.0.0.1', 'fd00::1'],
    lookup: async (): Promise<readonly string[]> => [],
    clock: fakeClock(),
  }
  for (const [name, more, expected] of [
    ['that beside the default route, IPv4 before IPv6', {}, ['10.0.0.1']],
    ['IPv6 on a machine without IPv4', { preferred: async () => ['fd00::1'] }, ['fd00::1']],
    ['IPv6 when :: asks for it', { nodeIPs: ['::'] }, ['fd00::1']],
    ['the one that was given', { nodeIPs: ['172.16.0.1'] }, ['172.16.0.1']],
    ['both that were given', { nodeIPs: ['fd00::1', '10.0.0.1'] }, ['fd00::1', '10.0.0.1']],
    ['what the name of the node means', { lookup: async () => ['127.0.1.1', '172.16.0.1'] }, ['172.16.0.1']],
    ['not what the name means on another machine', { lookup: async () => ['192.0.2.7'] }, ['10.0.0.1']],
    ['a name that is an address', { nodeName: '192.0.2.9' }, ['192.0.2.9']],
    ['none on a machine without a network', { own: () => [], preferred: async () => [] }, []],
  ] as const)
    t.same(await findNodeAddresses({ ...base, nodeIPs: [], ...more }), expected, name)
  await t.rejects(findNodeAddresses({ ...base, nodeIPs: ['10.0.0.9'] }), {
    code: 'bad-config',
    message: /10.0.0.9: no interface/,
  })
  const clock = fakeClock()
  const slow = findNodeAddresses({ ...base, clock, nodeIPs: [], lookup: () => new Promise(() => undefined) })
  await clock.advance(500)
  t.same(await slow, ['10.0.0.1'], 'a resolver that does not answer is not waited for')
})

t.test('the largest images, by digest first, and five names at most', async t => {
  const image = (id: string, size: number, tags: number): Image =>
    ({ id, size, repoDigests: ['d'], repoTags: Array.from({ length: tags }, (_, i) => `t${i}`) }) as unknown as Image
  const images = [image('small', 1, 1), image('large', 9, 9), image('middle', 5, 0)]
  t.same(toNodeImages(images, 2), [
    { names: ['d', 't0', 't1', 't2', 't3'], sizeBytes: 9 },
    { names: ['d'], sizeBytes: 5 },
  ])
  t.equal(toNodeImages(images, -1).length, 3)
  t.same(toNodeImages(images, 0), [])
})

t.test('what the runtime says', async t => {
  const conditions = (network: boolean) => [
    { type: 'RuntimeReady', status: true, reason: '', message: '' },
    { type: 'NetworkReady', status: network, reason: 'NetworkPluginNotReady', message: 'cni plugin not initialized' },
  ]
  const answer = { info: {}, runtimeHandlers: [], features: null }
  t.same(toRuntimeFacts({ ...answer, status: { conditions: conditions(true) } }), { troubles: [] })
  t.same(toRuntimeFacts({ ...answer, status: { conditions: conditions(false) } }).troubles, [
    'container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:cni plugin not initialized',
  ])
  t.equal(toRuntimeFacts({ ...answer, status: null }).troubles.length, 2)
  const features = { recursiveReadOnlyMounts: true, userNamespaces: false }
  const runtimeHandlers = [
    { name: 'runc', features },
    { name: '', features },
  ]
  const facts = toRuntimeFacts({
    ...answer,
    runtimeHandlers,
    status: { conditions: conditions(true) },
    features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: false },
  })
  t.same(
    facts.handlers?.map(it => it.name),
    ['', 'runc'],
  )
  t.same(facts.features, { supplementalGroupsPolicy: true })
})
