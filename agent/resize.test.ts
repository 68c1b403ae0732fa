import t from 'tap'
import { pods } from '../api/kube/api.ts'
import type { ResourceRequirements } from '../api/meta.ts'
import type { Container, Pod } from '../api/types.ts'
import { boundPod, clusterSetup } from './report/cluster.fake.ts'
import { resizeAction, resourcesInForce } from './resize.ts'
import { container, running } from './seen.fake.ts'

const sized = (cpu: string, memory = '64Mi'): ResourceRequirements => ({ requests: { cpu, memory }, limits: { cpu, memory } })
const sizedPod = (name: string, cpu: string, more: Partial<Container> = {}): Pod =>
  boundPod(name, { containers: [container('a', { resources: sized(cpu), ...more })] })

/** What `kubectl patch --subresource resize` leaves behind. */
const asked = (pod: Pod, resources: ResourceRequirements): Pod => ({
  ...pod,
  metadata: { ...pod.metadata, generation: (pod.metadata.generation ?? 1) + 1 },
  spec: { ...pod.spec, containers: pod.spec.containers.map(it => ({ ...it, resources })) },
})

const first = (pod: Pod | undefined) => pod?.status?.containerStatuses?.[0]
const condition = (pod: Pod | undefined, type: string) => pod?.status?.conditions?.find(it => it.type === type)

t.test('a pod that asks for more gets it while it runs, and its status shows it', async t => {
  const { api, settle, told, cri, events } = clusterSetup()
  api.put(pods, sizedPod('web', '100m'))
  await settle()
  const { id } = cri.container('a')!
  api.put(pods, asked(told('web')!, sized('500m', '128Mi')))
  await settle()
  t.match(cri.container('a'), { id, resources: { cpuQuota: 50_000, cpuShares: 512, memoryLimitInBytes: 128 * 2 ** 20 } })
  t.match(first(told('web')), {
    restartCount: 0,
    resources: { limits: { cpu: '500m', memory: '128Mi' } },
    allocatedResources: { cpu: '500m' },
  })
  t.equal(told('web')?.status?.observedGeneration, 2)
  t.equal(condition(told('web'), 'PodResizeInProgress'), undefined)
  t.same(events.slice(-2), ['ResizeStarted: Pod resize started', 'ResizeCompleted: Pod resize completed'])
})

t.test('a container whose policy says so is restarted for it', async t => {
  const { api, settle, told } = clusterSetup()
  const resizePolicy = [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }] as const
  api.put(pods, sizedPod('web', '100m', { resizePolicy }))
  await settle()
  api.put(pods, asked(told('web')!, sized('500m')))
  await settle()
  t.match(first(told('web')), { restartCount: 1, resources: { limits: { cpu: '500m' } }, state: { running: {} } })
})

t.test('a resize that finds no room is deferred, and granted when another pod goes', async t => {
  const { api, settle, told } = clusterSetup({ milliCpu: 1000 })
  api.put(pods, sizedPod('web', '500m'))
  api.put(pods, sizedPod('other', '500m'))
  await settle()
  api.put(pods, asked(told('web')!, sized('800m')))
  await settle()
  t.match(condition(told('web'), 'PodResizePending'), { status: 'True', reason: 'Deferred', observedGeneration: 2 })
  t.match(first(told('web')), { allocatedResources: { cpu: '500m' }, resources: { limits: { cpu: '500m' } } })
  await api.delete({ resource: pods, namespace: 'default', name: 'other' })
  await settle()
  t.equal(condition(told('web'), 'PodResizePending'), undefined)
  t.match(first(told('web')), { restartCount: 0, resources: { limits: { cpu: '800m' } } })
})

t.test('a resize waits while the node runs short, and is granted when it does no more', async t => {
  let isPressed = false
  const { api, agent, settle, told } = clusterSetup({ isPressed: () => isPressed })
  api.put(pods, sizedPod('web', '500m'))
  await settle()
  isPressed = true
  api.put(pods, asked(told('web')!, sized('800m')))
  await settle()
  t.match(condition(told('web'), 'PodResizePending'), { reason: 'Deferred', message: /DiskPressure/ })
  isPressed = false
  agent.pods.retryResizes()
  await settle()
  t.equal(condition(told('web'), 'PodResizePending'), undefined)
  t.match(first(told('web')), { restartCount: 0, resources: { limits: { cpu: '800m' } } })
})

t.test('one that the node could never grant is infeasible, and the pod goes on over a restart of the daemon', async t => {
  const before = clusterSetup({ milliCpu: 1000 })
  before.api.put(pods, sizedPod('web', '500m'))
  await before.settle()
  before.api.put(pods, asked(before.told('web')!, sized('2')))
  await before.settle()
  t.match(condition(before.told('web'), 'PodResizePending'), { reason: 'Infeasible' })
  before.stop()
  const after = clusterSetup({ after: before, api: before.api, milliCpu: 1000 })
  await after.settle()
  t.equal(after.state('web'), 'running')
  t.match(condition(after.told('web'), 'PodResizePending'), { reason: 'Infeasible' })
  t.match(first(after.told('web')), { restartCount: 0, allocatedResources: { cpu: '500m' } })
})

t.test('memory is never limited below what is in use', async t => {
  const { api, settle, told, cri } = clusterSetup({ memoryUsed: () => 50 * 2 ** 20 })
  api.put(pods, sizedPod('web', '100m'))
  await settle()
  api.put(pods, asked(told('web')!, sized('100m', '32Mi')))
  await settle()
  t.equal(cri.container('a')?.resources?.memoryLimitInBytes, 64 * 2 ** 20)
  t.match(condition(told('web'), 'PodResizeInProgress'), { reason: 'Error', message: /below current usage/ })
  t.match(first(told('web'))?.resources, { limits: { memory: '64Mi' } })
})

const inForce = { cpuPeriod: 100_000, cpuQuota: 10_000, cpuShares: 102, memoryLimitInBytes: 64 * 2 ** 20 }
const current = running('a', { resources: inForce })

for (const [name, wanted, expected] of [
  ['the same figures', inForce, 'none'],
  ['more cpu', { ...inForce, cpuQuota: 20_000 }, 'update'],
  ['less memory, which its policy restarts for', { ...inForce, memoryLimitInBytes: 1 }, 'restart'],
] as const)
  t.test(`a running container and ${name}: ${expected}`, async t => {
    const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }] as const
    t.equal(resizeAction(container('a', { resizePolicy }), current, wanted), expected)
  })

t.test('a runtime that does not tell what is in force is told what is granted', async t =>
  t.equal(resizeAction(container('a'), running('a'), inForce), 'update'),
)

t.test('figures that are coarser than what was granted are told as it was granted', async t =>
  t.same(resourcesInForce(container('a', { resources: sized('100m') }), inForce), sized('100m')),
)
