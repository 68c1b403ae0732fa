import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createStore } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { silentLog } from '../../host/log.ts'
import { namedPod } from '../agent.fake.ts'
import { createClusterPods } from './cluster.ts'
import { openRememberedPods } from './remembered.ts'

const joined = (remembered: readonly Pod[] = []) => {
  const clock = fakeClock()
  const statics = createStore<Pod>()
  const apiserver = createStore<Pod>()
  const wanted = createClusterPods({ statics, apiserver, remembered, clock, log: silentLog })
  const told: string[] = []
  const word = (pod: Pod | undefined) => (pod === undefined ? '-' : `${pod.metadata.name}:${pod.metadata.uid}`)
  wanted.subscribe({ changed: (before, after) => void told.push(`${word(before)} > ${word(after)}`) })
  return { clock, statics, apiserver, wanted, told }
}

const marked = (pod: Pod, annotations: Readonly<Record<string, string>>): Pod => ({
  ...pod,
  metadata: { ...pod.metadata, annotations },
})

t.test('static pods do not wait for the apiserver, and its pods come when its list is whole', async t => {
  const { statics, apiserver, wanted, told } = joined()
  statics.put(namedPod('static'))
  statics.markSynced()
  t.ok(wanted.isSynced)
  apiserver.put(namedPod('web'))
  t.same(told, ['- > static:uid-of-static'])
  t.notOk(wanted.isComplete)
  apiserver.markSynced()
  await wanted.complete
  t.same(told.slice(1), ['- > web:uid-of-web'])
  t.ok(wanted.isComplete)
})

t.test('mirror pods are never run', async t => {
  const { apiserver, wanted } = joined()
  apiserver.put(marked(namedPod('static'), { 'kubernetes.io/config.mirror': 'x' }))
  apiserver.markSynced()
  t.same(wanted.list(), [])
})

t.test('a pod that was made anew under the same name is another pod', async t => {
  const { apiserver, told } = joined()
  apiserver.markSynced()
  apiserver.put(namedPod('web', {}, 'first'))
  apiserver.put(namedPod('web', {}, 'second'))
  apiserver.remove('default', 'web')
  t.same(told, ['- > web:first', 'web:first > web:second', 'web:second > -'])
})

t.test('a static pod keeps its name, and the pod that wanted it too comes when it is free', async t => {
  const { statics, apiserver, told } = joined()
  apiserver.markSynced()
  statics.put(namedPod('web', {}, 'static'))
  apiserver.put(namedPod('web', {}, 'api'))
  statics.remove('default', 'web')
  t.same(told, ['- > web:static', 'web:static > web:api'])
})

t.test('those that this node has started keep their places, then the oldest come first', async t => {
  const { apiserver, told } = joined()
  const at = (name: string, creationTimestamp: string, startTime?: string): Pod => {
    const pod = namedPod(name)
    const status = startTime === undefined ? {} : { status: { phase: 'Running', startTime } as const }
    return { ...pod, metadata: { ...pod.metadata, creationTimestamp }, ...status }
  }
  apiserver.put(at('new', '2026-01-03T00:00:00Z'))
  apiserver.put(at('old', '2026-01-01T00:00:00Z'))
  apiserver.put(at('running', '2026-01-02T00:00:00Z', '2026-01-02T00:00:01Z'))
  apiserver.markSynced()
  t.same(
    told.map(it => it.split(':')[1]),
    ['uid-of-running', 'uid-of-old', 'uid-of-new'],
  )
})

t.test('remembered pods stand in for an apiserver that stays away, and fall in step with it', async t => {
  const { clock, apiserver, wanted, told } = joined([namedPod('kept'), namedPod('deleted'), namedPod('renewed', {}, 'first')])
  t.same(told, [])
  await clock.advance(3000)
  t.equal(told.length, 3)
  t.notOk(wanted.isComplete)
  apiserver.put(namedPod('kept'))
  apiserver.put(namedPod('renewed', {}, 'second'))
  apiserver.markSynced()
  t.same(told.slice(3).sort(), [
    'deleted:uid-of-deleted > -',
    'kept:uid-of-kept > kept:uid-of-kept',
    'renewed:first > renewed:second',
  ])
})

t.test('an apiserver that answers in time makes what was remembered pointless', async t => {
  const { clock, apiserver, told } = joined([namedPod('deleted')])
  apiserver.markSynced()
  await clock.advance(10_000)
  t.same(told, [])
})

t.test('the apiserver pods are kept in a file of root alone, with what a start needs', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'nodelet-test-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const path = join(folder, 'state', 'pods.json')
  const clock = fakeClock()
  const open = () => openRememberedPods({ path, clock, log: silentLog })
  const first = await open()
  t.same(first.pods, [])
  const apiserver = createStore<Pod>()
  const stop = first.follow(apiserver)
  const web = namedPod('web')
  const status = { phase: 'Running', startTime: '2026-01-01T00:00:00Z', podIP: '10.0.0.2' } as const
  apiserver.put({ ...web, metadata: { ...web.metadata, resourceVersion: '7' }, status })
  apiserver.put(marked(namedPod('mirror'), { 'kubernetes.io/config.mirror': 'x' }))
  apiserver.markSynced()
  await clock.advance(2000)
  await stop()
  t.equal((await stat(path)).mode & 0o777, 0o600)
  t.same((await open()).pods, [{ ...web, status: { phase: 'Running', startTime: '2026-01-01T00:00:00Z' } }])
  const before = await readFile(path, 'utf8')
  await writeFile(path, before.slice(0, -10))
  t.same((await open()).pods, [], 'a torn file is put aside')
})
