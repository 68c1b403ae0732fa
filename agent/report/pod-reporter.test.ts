import t from 'tap'
import { createFakeApi } from '../../api/kube/api.fake.ts'
import { pods } from '../../api/kube/api.ts'
import { createStore } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { Fault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'
import { boundPod, reflected } from './cluster.fake.ts'
import { createPodReporter } from './pod-status.ts'

const reporting = (parallel?: number) => {
  const clock = fakeClock()
  const api = createFakeApi({ now: clock.now })
  const apiserver = reflected(api)
  apiserver.markSynced()
  const live = createStore<Pod>()
  const deps = { api, live, apiserver, clock, log: silentLog, ...(parallel !== undefined && { parallel }) }
  const reporter = createPodReporter(deps)
  return { clock, api, live, reporter, settle: () => clock.advance(0) }
}

const says = (pod: Pod, message: string): Pod => ({ ...pod, status: { ...pod.status!, phase: 'Running', message } })

t.test('a change goes out in the turn in which it happens', async t => {
  const { api, live } = reporting()
  const web = api.put(pods, boundPod('web'))
  live.put(says(web, 'new'))
  t.equal(api.calls.length, 1)
})

t.test('of many changes while a call is under way, the newest alone is told', async t => {
  const { api, live, settle } = reporting()
  const web = api.put(pods, boundPod('web'))
  for (let version = 1; version <= 50; version++) live.put(says(web, `version ${version}`))
  await settle()
  t.equal(api.calls.length, 2)
  t.equal(api.peek<Pod>(pods, 'default', 'web')?.status?.message, 'version 50')
})

t.test('no more calls than allowed are under way, and everything is told in the end', async t => {
  const { api, live, settle } = reporting(3)
  let under = 0
  let most = 0
  api.react({ verb: 'patch' }, async () => {
    most = Math.max(most, ++under)
    await new Promise(resolve => setImmediate(resolve))
    under--
    return undefined
  })
  for (let index = 0; index < 20; index++) live.put(says(api.put(pods, boundPod(`web-${index}`)), 'new'))
  for (let turn = 0; turn < 20; turn++) await settle()
  t.equal(most, 3)
  t.ok(api.all<Pod>(pods).every(it => it.status?.message === 'new'))
})

t.test('what the apiserver writes in other words is not sent again and again', async t => {
  const { api, live, settle } = reporting()
  // As an apiserver that keeps `0.5` as `500m` does.
  api.react({ verb: 'patch' }, () => {
    const now = api.peek<Pod>(pods, 'default', 'web')!
    return api.put(pods, { ...now, status: { ...now.status!, phase: 'Running', message: 'in other words' } })
  })
  live.put(says(api.put(pods, boundPod('web')), 'new'))
  for (let turn = 0; turn < 5; turn++) await settle()
  t.equal(api.calls.length, 1)
  const now = api.peek<Pod>(pods, 'default', 'web')!
  api.put(pods, { ...now, status: { ...now.status!, message: 'by somebody else' } })
  await settle()
  t.equal(api.calls.length, 2)
})

t.test('an apiserver that asks for patience is asked when it said', async t => {
  const { api, live, clock, settle, reporter } = reporting()
  api.failNext({ verb: 'patch' }, new Fault('api-busy', 'too many requests', { retryAfterMs: 7000 }))
  live.put(says(api.put(pods, boundPod('web')), 'new'))
  await settle()
  t.equal(reporter.pending(), 1)
  await clock.advance(6999)
  t.equal(api.calls.length, 1)
  await clock.advance(1)
  await settle()
  t.equal(api.peek<Pod>(pods, 'default', 'web')?.status?.message, 'new')
})

t.test('a pod that the apiserver no longer has is not asked for again', async t => {
  const { api, live, clock, settle } = reporting()
  api.react({ verb: 'patch' }, () => {
    throw new Fault('not-found', 'pods "web" not found')
  })
  const web = api.put(pods, boundPod('web'))
  live.put(says(web, 'new'))
  await settle()
  live.put(says(web, 'newer'))
  await clock.advance(60_000)
  t.equal(api.calls.length, 1)
})
