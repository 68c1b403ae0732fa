import t from 'tap'
import type { Pod } from '../api/types.ts'
import { fakeClock } from '../host/clock.fake.ts'
import { Fault } from '../host/fault.ts'
import { createTimeline } from './timeline.ts'
import { toDuration, toText } from './timeline-text.ts'

const pod: Pod = { metadata: { name: 'web-n1', namespace: 'ns', uid: 'u' }, spec: { containers: [] } }

t.test('spans are kept in the order in which they began', async t => {
  const clock = fakeClock(1000)
  const timeline = createTimeline({ clock })
  timeline.record('u', { stage: 'seen', startedAt: 1000, endedAt: 1000 })
  const sandbox = timeline.begin('u', { stage: 'sandbox' })
  await clock.advance(30)
  const image = timeline.begin('u', { stage: 'image', container: 'c', detail: 'busybox' })
  sandbox()
  await clock.advance(5)
  image(new Fault('image-pull', 'no such image'))
  image()
  t.same(timeline.of('u'), {
    podUid: 'u',
    spans: [
      { stage: 'seen', startedAt: 1000, endedAt: 1000 },
      { stage: 'sandbox', startedAt: 1000, endedAt: 1030 },
      { stage: 'image', container: 'c', detail: 'busybox', startedAt: 1030, endedAt: 1035, error: 'no such image' },
    ],
    dropped: 0,
    lastError: { at: 1035, stage: 'image', message: 'no such image', code: 'image-pull' },
  })
  t.equal(timeline.of('other'), undefined)
})

t.test('an error told on by an outer stage keeps the code of the stage that had it', async t => {
  const timeline = createTimeline({ clock: fakeClock() })
  const sandbox = timeline.begin('u', { stage: 'sandbox' })
  timeline.begin('u', { stage: 'cni' })(new Fault('address-range', 'no free address is left'))
  sandbox(new Fault('runtime-refused', 'plugin failed: no free address is left'))
  t.match(timeline.of('u')?.lastError, { stage: 'sandbox', message: /^plugin failed/, code: 'address-range' })
})

t.test('what a pod waits for is set and taken back', async t => {
  const timeline = createTimeline({ clock: fakeClock() })
  timeline.waiting('none', undefined)
  t.equal(timeline.of('none'), undefined)
  timeline.waiting('u', 'ConfigMap ns/settings')
  t.equal(timeline.of('u')?.waitingFor, 'ConfigMap ns/settings')
  timeline.waiting('u', undefined)
  t.notOk('waitingFor' in (timeline.of('u') ?? {}))
})

t.test('long texts are kept as one short line', async t => {
  const timeline = createTimeline({ clock: fakeClock() })
  timeline.record('u', { stage: 'probe', startedAt: 0, endedAt: 0, detail: `<html>\n  ${'x'.repeat(9000)}` })
  const detail = timeline.of('u')?.spans[0]?.detail ?? ''
  t.match(detail, /^<html> x+ …$/)
  t.ok(detail.length < 500)
})

t.test('what fails again and again in the same way is one line that grows', async t => {
  const timeline = createTimeline({ clock: fakeClock() })
  const fail = (at: number, error: string) =>
    timeline.record('u', { stage: 'readiness probe', container: 'c', startedAt: at, endedAt: at + 1, error })
  for (const at of [0, 10, 20]) fail(at, 'connection refused')
  timeline.record('u', { stage: 'kill', startedAt: 21, endedAt: 21 })
  for (const at of [30, 40]) fail(at, 'connection refused')
  fail(50, 'status 500')
  fail(60, 'connection refused')
  t.match(timeline.of('u')?.spans, [
    { stage: 'readiness probe', startedAt: 0, endedAt: 41, error: 'connection refused' },
    { stage: 'kill' },
    { startedAt: 50, endedAt: 51, error: 'status 500' },
    { startedAt: 60, endedAt: 61, error: 'connection refused' },
  ])
  t.same(timeline.of('u')?.lastError?.at, 61)
})

t.test('a pod that restarts for ever keeps its start and its newest spans', async t => {
  const timeline = createTimeline({ clock: fakeClock(), maxSpans: 20 })
  for (let i = 0; i < 100; i++) timeline.record('u', { stage: `s${i}`, startedAt: i, endedAt: i })
  const { spans, dropped } = timeline.of('u') ?? { spans: [], dropped: 0 }
  t.equal(dropped, 80)
  t.equal(spans.length, 20)
  t.same([spans[0]?.stage, spans[15]?.stage, spans[16]?.stage, spans[19]?.stage], ['s0', 's15', 's96', 's99'])
})

t.test('ended pods are kept for a while, and make room before living ones do', async t => {
  const clock = fakeClock()
  const timeline = createTimeline({ clock, maxPods: 3, keepEndedMs: 60_000 })
  const see = (uid: string) => timeline.record(uid, { stage: 'seen', startedAt: clock.now() })
  for (const uid of ['a', 'b', 'c']) see(uid)
  const end = (uid: string) => timeline.ended({ ...pod, metadata: { ...pod.metadata, uid } })
  end('b')
  t.same(timeline.gone(), [{ ...pod, metadata: { ...pod.metadata, uid: 'b' } }])
  t.ok(timeline.of('b')?.endedAt)
  see('d')
  t.same(
    ['a', 'b', 'c', 'd'].filter(uid => timeline.of(uid)),
    ['a', 'c', 'd'],
  )
  see('e')
  t.same(
    ['a', 'c', 'd', 'e'].filter(uid => timeline.of(uid)),
    ['c', 'd', 'e'],
  )
  end('c')
  end('d')
  await clock.advance(60_001)
  see('f')
  t.same(
    ['c', 'd', 'e', 'f'].filter(uid => timeline.of(uid)),
    ['e', 'f'],
  )
})

for (const [ms, text] of [
  [0, '0 ms'],
  [7.4, '7 ms'],
  [1240, '1.24 s'],
  [12_340, '12.3 s'],
  [190_000, '3m10s'],
  [7_500_000, '2h5m'],
] as const) {
  t.test(`${ms} ms reads ${text}`, async t => t.equal(toDuration(ms), text))
}

t.test('a pod that started is told stage by stage', async t => {
  const timeline = {
    podUid: 'u',
    dropped: 0,
    spans: [
      { stage: 'seen', startedAt: 1000, endedAt: 1000, detail: 'web.yaml' },
      { stage: 'sandbox', startedAt: 1002, endedAt: 1102 },
      { stage: 'start', container: 'web', startedAt: 2300, endedAt: 2350 },
    ],
  }
  const status = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] } as const
  t.equal(
    toText({ ...pod, status }, timeline, 5000),
    `ns/web-n1: Running, ready

    +0 ms  seen               web.yaml
    +2 ms  sandbox    100 ms
  +1.30 s  start web   50 ms
`,
  )
})

t.test('one that cannot start says what it waits for, why, and what helps', async t => {
  const timeline = {
    podUid: 'u',
    dropped: 2,
    spans: [
      { stage: 'seen', startedAt: 1000, endedAt: 1000 },
      { stage: 'image', container: 'web', startedAt: 1000, endedAt: 1500, error: 'not found' },
      { stage: 'image', container: 'web', startedAt: 4000 },
    ],
    waitingFor: 'back-off of 10 s before the image is pulled again',
    lastError: { at: 1500, stage: 'image', message: 'not found', code: 'image-pull' },
  }
  const waiting = { reason: 'ImagePullBackOff', message: 'Back-off pulling image "x"' }
  const containerStatuses = [{ name: 'web', state: { waiting }, ready: false, restartCount: 0, image: 'x', imageID: '' }]
  t.equal(
    toText({ ...pod, status: { phase: 'Pending', containerStatuses } }, timeline, 5000),
    `ns/web-n1: Pending

  (2 older stages are not kept)
    +0 ms  seen
    +0 ms  image web         500 ms  failed: not found
  +3.00 s  image web  1.00 s so far

Containers:
  web: ImagePullBackOff: Back-off pulling image "x"

Waits for: back-off of 10 s before the image is pulled again

Last error (image, 3.50 s ago): not found
What to do: check the name and tag of the image, the registry, its credentials, and the network of this node
`,
  )
})

t.test('one of which nothing is recorded says so', async t => {
  t.match(toText(pod, undefined, 0), /it ran already when the daemon started/)
})
