// Events as a person sees them at the apiserver: which are there, how often, and what happens when it is away.
import t from 'tap'
import { createFakeApi } from '../../api/kube/api.fake.ts'
import { events } from '../../api/kube/api.ts'
import type { Pod } from '../../api/types.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { type EventObject, eventName, nodeReference, podReference } from './event-object.ts'
import { createEventRecorder } from './events.ts'

const pod = {
  metadata: { name: 'web', namespace: 'shop', uid: 'u1', resourceVersion: '7' },
  spec: { containers: [{ name: 'app', image: 'a' }], initContainers: [{ name: 'first', image: 'a' }] },
} as Pod
const about = podReference(pod, 'app')

const setUp = (limits: { qps?: number; burst?: number } = {}) => {
  const clock = fakeClock()
  const api = createFakeApi({ now: clock.now })
  const lines: string[] = []
  const say = (_: object, message: string) => void lines.push(message)
  const log: Log = { error: say, warn: say, info: say, debug: () => undefined, child: () => log }
  const source = { component: 'kubelet', host: 'n1' }
  const recorder = createEventRecorder({ api, clock, log, source, random: () => 1, ...limits })
  const written = () => api.all<EventObject>(events)
  return { clock, api, lines, recorder, written }
}

t.test('an Event says what it is about, where it comes from and when', async t => {
  const { clock, recorder, written } = setUp()
  recorder.record(about, 'Normal', 'Started', 'Started container app')
  await clock.advance(0)
  const [event] = written()
  t.match(event, {
    metadata: { namespace: 'shop', name: /^web\.[0-9a-f]{16}$/ },
    involvedObject: {
      kind: 'Pod',
      namespace: 'shop',
      name: 'web',
      uid: 'u1',
      fieldPath: 'spec.containers{app}',
      resourceVersion: '7',
    },
    type: 'Normal',
    reason: 'Started',
    message: 'Started container app',
    count: 1,
    source: { component: 'kubelet', host: 'n1' },
    reportingComponent: 'kubelet',
    reportingInstance: 'n1',
    firstTimestamp: '2023-11-14T22:13:20Z',
    lastTimestamp: '2023-11-14T22:13:20Z',
  })
})

t.test('references', async t => {
  t.equal(podReference(pod, 'first').fieldPath, 'spec.initContainers{first}')
  t.equal(podReference(pod).fieldPath, undefined, 'the pod as a whole has no path')
  t.same(nodeReference('n1'), { kind: 'Node', apiVersion: 'v1', name: 'n1', uid: 'n1' }, 'a node is found by its name')
  t.equal(eventName('a'.repeat(253), 1, 0).length, 253, 'a long name is cut')
})

t.test('an Event of the node stands in namespace default', async t => {
  const { clock, recorder, written } = setUp()
  recorder.record(nodeReference('n1'), 'Normal', 'Starting', 'Starting kubelet.')
  await clock.advance(0)
  t.match(written()[0], { metadata: { namespace: 'default' }, involvedObject: { kind: 'Node', name: 'n1' } })
})

t.test('the same Event again raises the count of the first', async t => {
  const { clock, api, recorder, written } = setUp()
  for (let i = 0; i < 3; i++) {
    recorder.record(about, 'Warning', 'BackOff', 'Back-off restarting')
    await clock.advance(1000)
  }
  t.equal(written().length, 1)
  t.match(written()[0], { count: 3, firstTimestamp: '2023-11-14T22:13:20Z', lastTimestamp: '2023-11-14T22:13:22Z' })
  t.same(
    api.calls.map(it => it.verb),
    ['create', 'patch', 'patch'],
  )
})

t.test('what happens again before it is written is written once, with its count', async t => {
  const { clock, api, recorder, written } = setUp()
  for (let i = 0; i < 5; i++) recorder.record(about, 'Warning', 'BackOff', 'Back-off restarting')
  await clock.advance(0)
  t.match(written(), [{ count: 5 }])
  t.equal(api.calls.length, 1)
})

t.test('an Event that was swept up meanwhile is made anew with its count', async t => {
  const { clock, api, recorder, written } = setUp()
  recorder.record(about, 'Warning', 'BackOff', 'Back-off restarting')
  await clock.advance(0)
  api.remove(events, 'shop', written()[0]!.metadata.name)
  recorder.record(about, 'Warning', 'BackOff', 'Back-off restarting')
  await clock.advance(0)
  t.match(written(), [{ count: 2 }])
})

t.test('from the tenth message of one reason on they share one Event', async t => {
  const { clock, recorder, written } = setUp()
  for (let i = 0; i < 15; i++) {
    recorder.record(about, 'Warning', 'Unhealthy', `attempt ${i}`)
    await clock.advance(1000)
  }
  t.equal(written().length, 10, 'nine of their own and one for the rest')
  t.match(
    written().find(it => it.message.startsWith('(combined')),
    { count: 6, message: '(combined from similar events): attempt 14' },
  )
  await clock.advance(11 * 60_000)
  recorder.record(about, 'Warning', 'Unhealthy', 'after ten quiet minutes')
  await clock.advance(0)
  t.ok(written().some(it => it.message === 'after ten quiet minutes'))
})

t.test('an object has 25 Events at once, and one more every five minutes', async t => {
  const { clock, recorder, written } = setUp()
  for (let i = 0; i < 40; i++) recorder.record(about, 'Normal', `Reason${i}`, 'm')
  recorder.record(nodeReference('n1'), 'Normal', 'NodeReady', 'another object')
  await clock.advance(0)
  t.equal(written().length, 26)
  recorder.record(about, 'Normal', 'Late', 'm')
  await clock.advance(5 * 60_000)
  t.equal(written().length, 26)
  recorder.record(about, 'Normal', 'Later', 'm')
  await clock.advance(0)
  t.equal(written().length, 27)
})

const node = (i: number) => ({ kind: 'Pod', apiVersion: 'v1', namespace: 'shop', name: `p${i}` })

t.test('a burst passes at once, the rest at the configured rate', async t => {
  const { clock, recorder, written } = setUp({ qps: 10, burst: 20 })
  for (let i = 0; i < 50; i++) recorder.record(node(i), 'Normal', 'Started', 'm')
  await clock.advance(0)
  t.equal(written().length, 20)
  await clock.advance(1000)
  t.ok(written().length >= 29 && written().length <= 31, `${written().length} after a second`)
  await clock.advance(3000)
  t.equal(written().length, 50)
})

t.test('a thousand at once are all written; what is beyond is counted in the log', async t => {
  const { clock, recorder, written, lines } = setUp({ qps: 0 })
  for (let i = 0; i < 1200; i++) recorder.record(node(i), 'Normal', 'Started', 'm')
  t.equal(written().length, 0, 'the caller does not wait for one of them')
  await clock.advance(0)
  for (let i = 0; i < 50 && written().length < 1000; i++) await clock.advance(1)
  t.equal(written().length, 1000)
  t.match(lines, [/^more than 1000 Events wait/, /^200 Events were lost/])
})

t.test('with the apiserver away they wait, one line says so, and order is kept', async t => {
  const { clock, api, recorder, written, lines } = setUp()
  const back = api.react({}, () => {
    throw new Fault('api-away', 'connection refused')
  })
  for (let i = 0; i < 3; i++) recorder.record(node(i), 'Normal', 'Started', 'm')
  await clock.advance(60_000)
  back()
  await clock.advance(10_000)
  t.same(
    written().map(it => it.involvedObject.name),
    ['p0', 'p1', 'p2'],
  )
  t.match(lines, [/^Events cannot be written; trying again: connection refused/, /^Events are written again/])
})

t.test('one is given up after twelve tries, and said', async t => {
  const { clock, api, recorder, lines } = setUp()
  api.react({}, () => {
    throw new Fault('api-away', 'connection refused')
  })
  recorder.record(node(1), 'Normal', 'Started', 'm')
  await clock.advance(10 * 60_000)
  t.equal(api.calls.length, 12)
  t.match(lines.at(-1), /^an Event was given up after 12 tries/)
})

t.test('one that is refused is said and not sent again', async t => {
  const { clock, api, recorder, written, lines } = setUp()
  api.failNext({ verb: 'create' }, new Fault('api-forbidden', 'namespace shop is being terminated'))
  recorder.record(about, 'Normal', 'Killing', 'm')
  recorder.record(node(2), 'Normal', 'Started', 'm')
  await clock.advance(0)
  t.equal(written().length, 1)
  t.match(lines, [/^the apiserver refused an Event: namespace shop/])
})

t.test('flush waits until all is written, and no longer than told', async t => {
  const { clock, recorder, written } = setUp({ qps: 1, burst: 1 })
  for (let i = 0; i < 3; i++) recorder.record(node(i), 'Normal', 'Started', 'm')
  const flushed = recorder.flush(1000)
  await clock.advance(1000)
  await flushed
  t.equal(written().length, 2)
  recorder.stop()
  recorder.record(node(9), 'Normal', 'Started', 'm')
  await clock.advance(60_000)
  t.equal(written().length, 2)
})
