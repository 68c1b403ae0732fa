// The Node as others see it at the apiserver, from registration on: made, adopted, kept true, and left alone where it is not ours.
import t, { type Test } from 'tap'
import { createFakeApi } from '../../api/kube/api.fake.ts'
import { events, leases, nodes } from '../../api/kube/api.ts'
import type { KubeObject } from '../../api/meta.ts'
import { createStore } from '../../api/source.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import type { NodeObject } from '../node.ts'
import type { EventObject } from './event-object.ts'
import { createEventRecorder } from './events.ts'
import { leaseNamespace } from './lease.ts'
import { type NodeFindings, podCIDRTroubles, type Registration } from './node-object.ts'
import { createNodeReporter } from './node-reporter.ts'

const gi = 2 ** 30
const found: NodeFindings = {
  name: 'n1',
  machine: {
    ...{ hostname: 'n1', machineId: 'machine-1', systemUuid: 'uuid-1', bootId: 'boot-1', kernel: '6.1.0', osImage: 'Debian' },
    ...{ architecture: 'amd64', cpus: 2, memoryBytes: 4 * gi, swapBytes: 0, hugePages: [], pidLimit: 32768 },
    ...{ hasAppArmor: false, hasSwapController: false, thermalPaths: [] },
  },
  rootFs: { bytes: 100 * gi, availableBytes: 50 * gi, inodes: 1, freeInodes: 1 },
  settings: { maxPods: 110, podsPerCore: 0, systemReserved: {}, kubeReserved: {}, evictionHard: {} },
  health: { troubles: [], memoryPressure: false, diskPressure: false, pidPressure: false },
  addresses: ['10.0.0.1'],
  labels: { 'example.com/rack': 'r1' },
  version: 'v1.36.3',
  runtime: 'containerd://1.6.20',
  port: 10250,
}
const registration: Registration = {
  ...{ taints: [], providerID: '', externalCloudProvider: false, nodeIPs: [], enableControllerAttachDetach: true },
}

const setUp = (t: Test, options: { registration?: Partial<Registration>; registerNode?: boolean } = {}) => {
  const clock = fakeClock()
  const api = createFakeApi({ now: clock.now })
  const source = createStore<NodeObject>()
  api.follow<NodeObject>(nodes, (_, after) => (after === undefined ? source.remove('', 'n1') : source.put(after)))
  source.markSynced()
  const lines: string[] = []
  const say = (_: object, message: string) => void lines.push(message)
  const log: Log = { error: say, warn: say, info: say, debug: () => undefined, child: () => log }
  const now = { findings: found, bindsPodCIDR: false }
  const recorder = createEventRecorder({ api, clock, log, source: { component: 'kubelet', host: 'n1' } })
  const reporter = createNodeReporter({
    ...{ api, name: 'n1', source, recorder, clock, log, random: () => 0.5, updateMs: 10_000, reportMs: 300_000 },
    registration: { ...registration, ...options.registration },
    registerNode: options.registerNode ?? true,
    findings: async node => ({
      ...now.findings,
      health: {
        ...now.findings.health,
        troubles: [...now.findings.health.troubles, ...(now.bindsPodCIDR ? podCIDRTroubles(node) : [])],
      },
    }),
  })
  const stopping = new AbortController()
  const start = async () => {
    const ended = reporter.run(stopping.signal)
    t.teardown(async () => {
      stopping.abort()
      await ended
    })
    await clock.advance(0)
  }
  const node = () => api.peek<NodeObject>(nodes, '', 'n1')
  const condition = (type: string) => node()?.status.conditions.find(it => it.type === type)
  const reasons = () => api.all<EventObject>(events).map(it => it.reason)
  const writes = () => api.calls.filter(it => it.resource === 'nodes').map(it => it.verb)
  return { clock, api, now, reporter, start, node, condition, reasons, writes, lines }
}

const existing = (more: Partial<NodeObject> = {}, status: object = {}): NodeObject =>
  ({ metadata: { name: 'n1' }, spec: { podCIDRs: ['10.244.1.0/24'] }, status, ...more }) as unknown as NodeObject

t.test('a new Node is made by one request, ready at once when the machine is', async t => {
  const { start, node, condition, writes, reasons, clock } = setUp(t, {
    registration: { taints: [{ key: 'a', value: 'b', effect: 'NoSchedule' }], providerID: 'x://1' },
  })
  await start()
  await clock.advance(30_000)
  t.same(writes(), ['create'])
  t.match(node(), {
    metadata: {
      labels: {
        'kubernetes.io/hostname': 'n1',
        'kubernetes.io/os': 'linux',
        'kubernetes.io/arch': 'amd64',
        'example.com/rack': 'r1',
      },
      annotations: { 'volumes.kubernetes.io/controller-managed-attach-detach': 'true' },
    },
    spec: { providerID: 'x://1', taints: [{ key: 'a', value: 'b', effect: 'NoSchedule' }] },
    status: { daemonEndpoints: { kubeletEndpoint: { Port: 10250 } }, capacity: { cpu: '2', memory: '4Gi', pods: '110' } },
  })
  t.notOk(node() && 'declaredFeatures' in node()!.status, 'declares no feature')
  t.match(condition('Ready'), { status: 'True', reason: 'KubeletReady', message: 'kubelet is posting ready status' })
  t.same(reasons(), ['Starting', 'NodeHasSufficientMemory', 'NodeHasNoDiskPressure', 'NodeHasSufficientPID', 'NodeReady'])
})

t.test('with an external cloud provider it is tainted, and addresses are left to the cloud', async t => {
  const { api, start, node, clock, now, reporter } = setUp(t, { registration: { externalCloudProvider: true } })
  await start()
  t.match(node(), {
    spec: { taints: [{ key: 'node.cloudprovider.kubernetes.io/uninitialized', value: 'true', effect: 'NoSchedule' }] },
    status: { addresses: [{ type: 'Hostname' }] },
  })
  const cloud = [{ type: 'InternalIP', address: '172.16.0.9' }] as const
  api.put(nodes, { ...node()!, status: { ...node()!.status, addresses: cloud } })
  now.findings = { ...found, runtime: 'containerd://2.0' }
  reporter.nudge()
  await clock.advance(0)
  t.same(node()?.status.addresses, cloud)
  t.equal(node()?.status.nodeInfo.containerRuntimeVersion, 'containerd://2.0')
})

t.test('an existing Node is adopted by one patch that leaves to others what is theirs', async t => {
  const { api, start, node, writes } = setUp(t)
  const others = { type: 'NetworkUnavailable', status: 'False', reason: 'r', message: 'm' }
  api.put(nodes, {
    ...existing(
      { spec: { unschedulable: true, taints: [{ key: 'mine', effect: 'NoExecute' }] } },
      {
        conditions: [others],
        capacity: { 'example.com/gpu': '2', cpu: '9', 'hugepages-1Gi': '1Gi' },
        addresses: [{ type: 'InternalIP', address: '1.1.1.1' }],
      },
    ),
    metadata: { name: 'n1', labels: { 'kubernetes.io/arch': 'arm64', admin: 'yes' } },
  })
  await start()
  t.same(writes(), ['create', 'get', 'patch'])
  t.match(node(), {
    metadata: { labels: { 'kubernetes.io/arch': 'amd64', admin: 'yes' } },
    spec: { unschedulable: true, taints: [{ key: 'mine' }] },
    status: { capacity: { cpu: '2', 'example.com/gpu': '2' }, allocatable: { 'example.com/gpu': '2' } },
  })
  t.notOk(node()?.metadata.labels?.['example.com/rack'], 'labels of the flags are for new Nodes only, as the kubelet has it')
  t.notOk(node()?.status.capacity['hugepages-1Gi'], 'a page size that is gone goes')
  t.same(node()?.status.addresses, [
    { type: 'InternalIP', address: '10.0.0.1' },
    { type: 'Hostname', address: 'n1' },
  ])
  t.match(node()?.status.conditions[0], others)
})

t.test('a restart of the agent flips nothing and tells nobody that the node is ready', async t => {
  const first = setUp(t)
  await first.start()
  const second = setUp(t)
  second.now.bindsPodCIDR = true
  second.api.put(nodes, { ...first.node()!, spec: { podCIDRs: ['10.244.1.0/24'] } })
  await second.clock.advance(60_000)
  await second.start()
  t.equal(second.condition('Ready')?.lastTransitionTime, first.condition('Ready')?.lastTransitionTime)
  t.not(second.condition('Ready')?.lastHeartbeatTime, first.condition('Ready')?.lastHeartbeatTime)
  t.same(second.reasons(), ['Starting'])
})

t.test('a Node whose machine was booted anew says so once', async t => {
  const { api, start, reasons, clock } = setUp(t)
  api.put(nodes, existing({}, { nodeInfo: { bootID: 'boot-0' } }))
  await start()
  await clock.advance(20_000)
  t.equal(reasons().filter(it => it === 'Rebooted').length, 1)
})

t.test('a Node of another machine that is still there is told about, and taken all the same', async t => {
  for (const [name, renewTime, isTold] of [
    ['with a fresh Lease', '2023-11-14T22:13:10.000000Z', true],
    ['with an old one', '2023-11-14T22:00:00.000000Z', false],
  ] as const) {
    const { api, start, lines, reasons, condition } = setUp(t)
    api.put(nodes, existing({}, { nodeInfo: { machineID: 'machine-2', systemUUID: 'uuid-2' } }))
    api.put(leases, {
      metadata: { name: 'n1', namespace: leaseNamespace },
      spec: { leaseDurationSeconds: 40, renewTime },
    } as KubeObject)
    await start()
    t.equal(
      lines.some(it => /belongs to another machine.*--hostname-override/.test(it)),
      isTold,
      name,
    )
    t.equal(reasons().includes('NodeNameTaken'), isTold, name)
    t.equal(condition('Ready')?.status, 'True', name)
  }
})

t.test('registration is tried until it works, and a failure said once', async t => {
  const { api, start, clock, node, lines, writes } = setUp(t)
  const back = api.react({ resource: 'nodes' }, () => {
    throw new Fault('api-away', 'connection refused')
  })
  await start()
  await clock.advance(200 + 400)
  t.equal(writes().length, 3, 'after 200 ms, then 400')
  await clock.advance(60_000)
  back()
  await clock.advance(7_000)
  t.ok(node())
  t.equal(lines.filter(it => it.startsWith('the node cannot be registered')).length, 1)
})

t.test('who may not make Nodes adopts one that is there, and says what is refused when none is', async t => {
  const { api, start, clock, condition, lines } = setUp(t)
  api.react({ verb: 'create', resource: 'nodes' }, () => {
    throw new Fault('api-forbidden', 'nodes is forbidden')
  })
  await start()
  t.match(lines, [/^the node cannot be registered; trying again: nodes is forbidden/])
  api.put(nodes, existing())
  await clock.advance(200)
  t.equal(condition('Ready')?.status, 'True')
})

t.test('with registerNode off the Node is somebody else’s to make', async t => {
  const { api, start, clock, condition, writes } = setUp(t, { registerNode: false })
  await start()
  await clock.advance(20_000)
  t.same(writes(), [])
  api.put(nodes, existing())
  await clock.advance(0)
  t.same(writes(), ['patch'])
  t.equal(condition('Ready')?.status, 'True')
})

t.test('a node that waits for its network is ready as soon as it has one', async t => {
  const { api, start, clock, now, node, condition, reasons, reporter, writes } = setUp(t)
  now.bindsPodCIDR = true
  now.findings = { ...found, health: { ...found.health, troubles: ['container runtime network not ready: NetworkReady=false'] } }
  await start()
  t.match(condition('Ready'), {
    status: 'False',
    reason: 'KubeletNotReady',
    message: /^\[container runtime network.*no podCIDR yet/,
  })
  await clock.advance(1000)
  api.put(nodes, { ...node()!, spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24'] } })
  await clock.advance(50)
  t.match(condition('Ready'), { status: 'False' })
  now.findings = found
  await clock.advance(100)
  t.match(condition('Ready'), { status: 'True', lastTransitionTime: '2023-11-14T22:13:21Z' })
  t.same(writes().length, 2, 'made, and made ready: nothing between')
  t.ok(reasons().includes('NodeReady'))
  t.same(reporter.node()?.spec.podCIDRs, ['10.244.1.0/24'])
})

t.test('a podCIDR that was given before registering was answered is not missed', async t => {
  const { api, start, now, condition, clock, reporter } = setUp(t)
  now.bindsPodCIDR = true
  const stop = api.react({ verb: 'create', resource: 'nodes' }, call => {
    stop()
    const made = api.put(nodes, call.body as NodeObject)
    api.put(nodes, { ...made, spec: { podCIDRs: ['10.244.1.0/24'] } })
    return made
  })
  await start()
  t.same(reporter.node()?.spec.podCIDRs, ['10.244.1.0/24'])
  await clock.advance(100)
  t.equal(condition('Ready')?.status, 'True')
})

t.test('what changes is written at the next look, what does not every five minutes', async t => {
  const { start, clock, now, condition, writes, reasons } = setUp(t)
  await start()
  await clock.advance(290_000)
  t.same(writes(), ['create'])
  await clock.advance(21_000)
  t.same(writes(), ['create', 'patch'])
  t.match(condition('Ready'), { lastTransitionTime: '2023-11-14T22:13:20Z', lastHeartbeatTime: /^2023-11-14T22:18/ })
  now.findings = { ...found, health: { ...found.health, diskPressure: true } }
  await clock.advance(11_000)
  t.match(condition('DiskPressure'), { status: 'True', reason: 'KubeletHasDiskPressure' })
  t.equal(condition('Ready')?.status, 'True')
  now.findings = { ...found, health: { ...found.health, troubles: ['container runtime is down: gone'] } }
  await clock.advance(11_000)
  t.match(condition('Ready'), { status: 'False', reason: 'KubeletNotReady', message: 'container runtime is down: gone' })
  t.same(reasons().slice(-2), ['NodeHasDiskPressure', 'NodeNotReady'])
})

t.test('only what differs is sent', async t => {
  const { api, start, clock, now, reporter } = setUp(t)
  await start()
  api.clearCalls()
  now.findings = { ...found, images: [{ names: ['a'], sizeBytes: 1 }] }
  reporter.nudge()
  await clock.advance(0)
  const { body } = api.calls.find(it => it.verb === 'patch') as { body: { status: object } }
  t.same(Object.keys(body), ['status'])
  t.same(Object.keys(body.status), ['conditions', 'images'])
})

t.test('a controller that took the node for dead is corrected at once', async t => {
  const { api, start, clock, node, condition } = setUp(t)
  await start()
  const conditions = node()!.status.conditions.map(it => ({ ...it, status: 'Unknown' as const, reason: 'NodeStatusUnknown' }))
  api.put(nodes, { ...node()!, status: { ...node()!.status, conditions } })
  await clock.advance(0)
  t.equal(condition('Ready')?.status, 'True')
})

t.test('cordoning and uncordoning are told', async t => {
  const { api, start, clock, node, reasons } = setUp(t)
  await start()
  api.put(nodes, { ...node()!, spec: { unschedulable: true } })
  await clock.advance(0)
  api.put(nodes, { ...node()!, spec: {} })
  await clock.advance(0)
  t.same(reasons().slice(-2), ['NodeNotSchedulable', 'NodeSchedulable'])
})

t.test('a Node that somebody deletes is not made again; one line and one Event say so', async t => {
  const { api, start, clock, node, lines, reasons, reporter, writes, condition } = setUp(t)
  await start()
  api.remove(nodes, '', 'n1')
  await clock.advance(600_000)
  t.equal(node(), undefined)
  t.equal(reporter.node(), undefined)
  t.same(writes(), ['create'])
  t.equal(lines.filter(it => /was deleted while its agent runs/.test(it)).length, 1)
  t.equal(reasons().filter(it => it === 'NodeDeleted').length, 1)
  api.put(nodes, existing())
  await clock.advance(0)
  t.equal(condition('Ready')?.status, 'True', 'one that somebody else makes is reported on')
  t.match(node()?.metadata.labels, { 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': 'amd64' })
})

t.test('with the apiserver away one line says so, one that it is over, and nothing flips', async t => {
  const { api, start, clock, now, condition, lines } = setUp(t)
  await start()
  const before = condition('Ready')
  const back = api.react({ resource: 'nodes' }, () => {
    throw new Fault('api-away', 'connection refused')
  })
  now.findings = { ...found, images: [] }
  await clock.advance(400_000)
  back()
  await clock.advance(11_000)
  t.equal(condition('Ready')?.lastTransitionTime, before?.lastTransitionTime)
  t.match(
    lines.filter(it => /status/.test(it)),
    [/cannot be reported; trying again: connection refused/, /reported again/],
  )
})

t.test('a conflict is answered by reading the Node and trying again', async t => {
  const { api, start, clock, now, node, reporter } = setUp(t)
  await start()
  api.failNext({ verb: 'patch' }, new Fault('api-conflict', 'changed'))
  now.findings = { ...found, runtime: 'containerd://2.0' }
  reporter.nudge()
  await clock.advance(0)
  t.equal(node()?.status.nodeInfo.containerRuntimeVersion, 'containerd://2.0')
})
