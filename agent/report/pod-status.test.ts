import t from 'tap'
import { pods } from '../../api/kube/api.ts'
import type { Pod } from '../../api/types.ts'
import { Fault } from '../../host/fault.ts'
import { container } from '../seen.fake.ts'
import { boundPod, clusterSetup } from './cluster.fake.ts'

const condition = (pod: Pod | undefined, type: string) => pod?.status?.conditions?.find(it => it.type === type)

t.test('a pod that is bound to the node runs, and the apiserver is told with few writes', async t => {
  const { api, settle, told, writes } = clusterSetup()
  await settle()
  api.put(pods, boundPod('web'))
  await settle()
  t.match(told('web')?.status, { phase: 'Running', observedGeneration: 1, podIPs: [{}], hostIP: '192.0.2.1' })
  t.equal(condition(told('web'), 'Ready')?.status, 'True')
  t.equal(condition(told('web'), 'PodScheduled')?.lastTransitionTime, '2023-11-14T22:13:20Z', 'the time of the scheduler stays')
  t.ok(writes().length <= 3, `${writes()}`)
  t.ok(writes().every(it => it === 'patch status'))
})

t.test('a pod that is deleted ends, its last status is told, and then it is deleted for good', async t => {
  const { api, settle, told, writes, cri, live } = clusterSetup()
  api.put(pods, boundPod('web'))
  await settle()
  api.clearCalls()
  const last: (string | undefined)[] = []
  api.follow<Pod>(pods, (before, after) => void (after === undefined && last.push(before?.status?.phase)))
  await api.delete({ resource: pods, namespace: 'default', name: 'web' }, { gracePeriodSeconds: 1 })
  await settle()
  t.equal(told('web'), undefined)
  t.same(cri.containers.size + cri.sandboxes.size + live.list().length, 0)
  t.same(last, ['Failed'], 'the container was killed by a signal')
  t.match(api.calls.at(-1), { verb: 'delete', body: { gracePeriodSeconds: 0, preconditions: { uid: 'uid-of-web' } } })
  t.ok(writes().length <= 4, `${writes()}`)
})

t.test('nothing is written for a pod of which the apiserver knows everything already', async t => {
  const first = clusterSetup()
  first.api.put(pods, boundPod('web'))
  await first.settle()
  first.stop()
  first.api.clearCalls()
  const second = clusterSetup({ after: first, api: first.api })
  await second.settle()
  t.equal(second.state('web'), 'running')
  t.same(second.writes(), [])
})

t.test('conditions of others are left alone, and a readiness gate is waited for', async t => {
  const { api, settle, told } = clusterSetup()
  api.put(pods, boundPod('web', { readinessGates: [{ conditionType: 'example.com/lb' }] }))
  await settle()
  t.match(condition(told('web'), 'Ready'), { status: 'False', reason: 'ReadinessGatesNotReady' })
  const now = told('web')!
  const gate = { type: 'example.com/lb', status: 'True' } as const
  api.put(pods, { ...now, status: { ...now.status!, conditions: [...(now.status?.conditions ?? []), gate] } })
  await settle()
  t.equal(condition(told('web'), 'Ready')?.status, 'True')
  t.equal(condition(told('web'), 'example.com/lb')?.status, 'True')
})

t.test('what could not be told while the apiserver was away is told when it is back', async t => {
  const { api, settle, told, clock, cri, reporter } = clusterSetup()
  api.put(pods, boundPod('job', { restartPolicy: 'Never' }))
  await settle()
  const back = api.react({ verb: 'patch' }, () => {
    throw new Fault('api-away', 'connection refused')
  })
  cri.exit(cri.container('a')!.id, 0)
  await settle()
  t.equal(told('job')?.status?.phase, 'Running')
  t.equal(reporter.pending(), 1)
  back()
  await clock.advance(10_000)
  await settle()
  t.equal(told('job')?.status?.phase, 'Succeeded')
  t.equal(reporter.pending(), 0)
})

t.test('a pod that took the name of another is not told the status of the old one', async t => {
  const { api, settle, told, cri, clock } = clusterSetup()
  cri.programs.set('a', { ignoresStop: true })
  api.put(pods, boundPod('web', {}, 'first'))
  await settle()
  api.remove(pods, 'default', 'web')
  api.put(pods, boundPod('web', {}, 'second'))
  await settle()
  t.equal(told('web')?.status?.phase, 'Pending')
  await clock.advance(6000)
  await settle()
  t.match(told('web'), { metadata: { uid: 'second' }, status: { phase: 'Running' } })
})

t.test('a conflict is settled by a look at the pod as it is now', async t => {
  const { api, settle, told } = clusterSetup()
  api.failNext({ verb: 'patch' }, new Fault('api-conflict', 'the object has been modified'))
  api.put(pods, boundPod('web'))
  await settle()
  t.equal(condition(told('web'), 'Ready')?.status, 'True')
  t.equal(api.calls.filter(it => it.verb === 'get').length, 1)
})

t.test('a pod that the node cannot take fails with the reason, and may be deleted', async t => {
  const { api, settle, told, state } = clusterSetup({ maxPods: 1 })
  api.put(pods, boundPod('a'))
  await settle()
  api.put(pods, boundPod('b'))
  await settle()
  t.equal(state('a'), 'running')
  t.match(told('b')?.status, { phase: 'Failed', reason: 'OutOfpods', message: 'Pod was rejected: no room' })
  t.equal(condition(told('b'), 'PodScheduled')?.status, 'True')
  const rejected = told('b')!
  api.put(pods, { ...rejected, metadata: { ...rejected.metadata, generation: 2 } })
  await settle()
  t.match(told('b')?.status, { phase: 'Failed', reason: 'OutOfpods', observedGeneration: 2 })
  await api.delete({ resource: pods, namespace: 'default', name: 'b' })
  await settle()
  t.equal(told('b'), undefined)
})

t.test('a pod that the node needs takes the place of another, which fails and says why', async t => {
  const { api, settle, told, state, cri, clock } = clusterSetup({ maxPods: 1 })
  cri.programs.set('a', { ignoresStop: true })
  api.put(pods, boundPod('web'))
  await settle()
  api.put(pods, boundPod('dns', { priority: 2_000_001_000, containers: [container('b')] }))
  await settle()
  t.equal(state('web'), 'running', 'it has its grace period')
  t.equal(state('dns'), 'none')
  await clock.advance(6000)
  await settle()
  t.match(told('web')?.status, { phase: 'Failed', reason: 'Preempting', message: 'Preempted in order to admit critical pod' })
  t.match(condition(told('web'), 'DisruptionTarget'), { status: 'True', reason: 'TerminationByKubelet' })
  t.equal(state('dns'), 'running')
})

t.test('a pod that was deleted while no daemon ran is ended by the next', async t => {
  const first = clusterSetup()
  first.api.put(pods, boundPod('web'))
  first.api.put(pods, boundPod('gone'))
  await first.settle()
  first.stop()
  await first.api.delete({ resource: pods, namespace: 'default', name: 'web' })
  first.api.remove(pods, 'default', 'gone')
  const second = clusterSetup({ after: first, api: first.api })
  await second.settle()
  t.equal(second.told('web'), undefined)
  t.equal(second.cri.sandboxes.size, 0)
})

t.test('a pod that has ended in an earlier life is not started again', async t => {
  const { api, settle, cri, told, writes } = clusterSetup()
  const done = boundPod('job', { restartPolicy: 'Never' })
  api.put(pods, { ...done, status: { ...done.status, phase: 'Succeeded', startTime: '2023-11-14T22:13:21Z' } })
  await settle()
  t.equal(cri.sandboxes.size, 0)
  t.equal(told('job')?.status?.phase, 'Succeeded')
  await api.delete({ resource: pods, namespace: 'default', name: 'job' })
  await settle()
  t.equal(told('job'), undefined)
  t.ok(writes().every(it => it !== 'get'))
})

t.test('an image that is changed in place restarts its container only', async t => {
  const { api, settle, told, cri } = clusterSetup()
  api.put(pods, boundPod('web', { containers: [container('a'), container('b')] }))
  await settle()
  const now = told('web')!
  const [a, b] = now.spec.containers
  const metadata = { ...now.metadata, generation: 2 }
  api.put(pods, { ...now, metadata, spec: { ...now.spec, containers: [a!, { ...b!, image: 'image-of-a' }] } })
  await settle()
  t.match(told('web')?.status, { observedGeneration: 2, containerStatuses: [{ restartCount: 0 }, { restartCount: 1 }] })
  t.equal(cri.sandboxes.size, 1)
})

t.test('an ephemeral container runs beside the others and is not started again', async t => {
  const { api, settle, told, cri } = clusterSetup()
  api.put(pods, boundPod('web'))
  await settle()
  const now = told('web')!
  api.put(pods, { ...now, spec: { ...now.spec, ephemeralContainers: [container('debug', { image: 'image-of-b' })] } })
  await settle()
  t.match(told('web')?.status?.ephemeralContainerStatuses, [{ name: 'debug', state: { running: {} } }])
  cri.exit(cri.container('debug')!.id, 0)
  await settle()
  t.match(told('web')?.status?.ephemeralContainerStatuses, [{ state: { terminated: { exitCode: 0 } } }])
  t.equal(told('web')?.status?.phase, 'Running')
})

t.test('a pod that was rejected stays as it was told over a restart of the daemon', async t => {
  const first = clusterSetup({ maxPods: 0 })
  first.api.put(pods, boundPod('web'))
  await first.settle()
  first.stop()
  const before = first.told('web')?.status
  first.api.clearCalls()
  const second = clusterSetup({ after: first, api: first.api })
  await second.settle()
  t.same(second.told('web')?.status, before)
  t.same(second.writes(), [])
})

t.test('a runtime that does not answer at the start takes nothing back of what was told', async t => {
  const first = clusterSetup()
  first.api.put(pods, boundPod('web'))
  await first.settle()
  first.stop()
  first.api.clearCalls()
  const second = clusterSetup({ after: first, api: first.api })
  first.cri.fail('podSandboxStatus', new Fault('runtime-timeout', 'no answer'), 5)
  await second.settle()
  t.same(second.writes(), [])
  t.equal(second.told('web')?.status?.phase, 'Running')
})

t.test('a pod that somebody else declares failed is ended and stays failed', async t => {
  const { api, settle, told, cri } = clusterSetup()
  api.put(pods, boundPod('web'))
  await settle()
  const now = told('web')!
  api.put(pods, { ...now, status: { ...now.status!, phase: 'Failed', reason: 'NodeShutdown' } })
  await settle()
  t.equal(cri.container('a')?.state, 'CONTAINER_EXITED')
  t.match(told('web')?.status, { phase: 'Failed', reason: 'NodeShutdown', containerStatuses: [{ state: { terminated: {} } }] })
  t.match(condition(told('web'), 'Ready'), { status: 'False', reason: 'PodFailed' })
})

t.test('a pod that is deleted before its container ever ran ends as Failed', async t => {
  const { api, settle, told, cri } = clusterSetup()
  cri.fail('pullImage', new Fault('image-pull', 'no such image', { reason: 'ErrImagePull' }), 99)
  api.put(pods, boundPod('web', { containers: [container('missing')] }))
  await settle()
  const last: (string | undefined)[] = []
  api.follow<Pod>(pods, (before, after) => void (after === undefined && last.push(before?.status?.phase)))
  await api.delete({ resource: pods, namespace: 'default', name: 'web' })
  await settle()
  t.equal(told('web'), undefined)
  t.same(last, ['Failed'])
})

t.test('labels that change are shown without a restart or a look at the runtime', async t => {
  const { api, settle, told, cri } = clusterSetup()
  api.put(pods, boundPod('web'))
  await settle()
  const asked = cri.calls.length
  const now = told('web')!
  api.put(pods, { ...now, metadata: { ...now.metadata, labels: { a: 'b' } } })
  await settle()
  t.equal(cri.calls.length, asked)
})
