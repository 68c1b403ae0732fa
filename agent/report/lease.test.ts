// The Lease as the control plane sees it: made, renewed, kept through conflicts, an absent apiserver and a clock that jumps.
import t, { type Test } from 'tap'
import { createFakeApi } from '../../api/kube/api.fake.ts'
import { leases, nodes } from '../../api/kube/api.ts'
import type { KubeObject } from '../../api/meta.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { Fault } from '../../host/fault.ts'
import { type Log, silentLog } from '../../host/log.ts'
import { createLeaseKeeper, isFresh, type Lease, leaseNamespace } from './lease.ts'

const setUp = (t: Test) => {
  const clock = fakeClock()
  const api = createFakeApi({ now: clock.now })
  const node: KubeObject = api.put(nodes, { metadata: { name: 'n1' } })
  const lines: string[] = []
  const say = (_: object, message: string) => void lines.push(message)
  const log: Log = { error: say, warn: say, info: say, debug: () => undefined, child: () => log }
  const state: { node: KubeObject | undefined } = { node }
  const keeper = createLeaseKeeper({
    ...{ api, clock, log, nodeName: 'n1', durationSeconds: 40, random: () => 0 },
    node: () => state.node,
  })
  const stopping = new AbortController()
  const start = () => {
    const ended = keeper.run(stopping.signal)
    t.teardown(async () => {
      stopping.abort()
      await ended
    })
  }
  const lease = () => api.peek<Lease>(leases, leaseNamespace, 'n1')
  const verbs = () => api.calls.map(it => it.verb).join(' ')
  return { clock, api, node, lines, state, start, lease, verbs }
}

t.test('it is made at the start, belongs to the Node and lasts as long as configured', async t => {
  const { clock, node, start, lease } = setUp(t)
  start()
  await clock.advance(0)
  t.match(lease(), {
    metadata: {
      namespace: 'kube-node-lease',
      ownerReferences: [{ kind: 'Node', apiVersion: 'v1', name: 'n1', uid: node.metadata.uid! }],
    },
    spec: { holderIdentity: 'n1', leaseDurationSeconds: 40, renewTime: '2023-11-14T22:13:20.000000Z' },
  })
})

t.test('it is renewed every ten seconds by one request', async t => {
  const { clock, start, lease, verbs } = setUp(t)
  start()
  await clock.advance(30_000)
  t.equal(verbs(), 'get create update update update')
  t.equal(lease()?.spec?.renewTime, '2023-11-14T22:13:50.000000Z')
})

t.test('one that is there already is taken over at once', async t => {
  const { clock, api, start, lease, node } = setUp(t)
  const spec = { holderIdentity: 'old', leaseDurationSeconds: 1, renewTime: '2020-01-01T00:00:00.000000Z' }
  api.put<Lease>(leases, { metadata: { name: 'n1', namespace: leaseNamespace }, spec })
  start()
  await clock.advance(0)
  t.match(lease(), {
    metadata: { ownerReferences: [{ uid: node.metadata.uid! }] },
    spec: { holderIdentity: 'n1', leaseDurationSeconds: 40, renewTime: /^2023/ },
  })
})

t.test('after somebody changed it, it is read again and renewed in the same turn', async t => {
  const { clock, api, start, lease, verbs } = setUp(t)
  start()
  await clock.advance(0)
  api.put<Lease>(leases, { ...lease()!, metadata: { ...lease()!.metadata, labels: { a: 'b' } } })
  api.clearCalls()
  await clock.advance(10_000)
  t.equal(verbs(), 'update get update')
  t.match(lease(), { metadata: { labels: { a: 'b' } }, spec: { renewTime: '2023-11-14T22:13:30.000000Z' } })
})

t.test('after somebody deleted it, it is made again', async t => {
  const { clock, api, start, lease } = setUp(t)
  start()
  await clock.advance(0)
  api.remove(leases, leaseNamespace, 'n1')
  await clock.advance(10_000)
  t.match(lease(), { spec: { holderIdentity: 'n1' } })
})

t.test('without a Node none is made: nobody would own it', async t => {
  const { clock, node, state, api, start, lease } = setUp(t)
  state.node = undefined
  start()
  await clock.advance(5000)
  t.equal(api.calls.length, 0)
  state.node = node
  await clock.advance(1000)
  t.ok(lease())
})

t.test('with the apiserver away: five tries a turn, one line, and renewed as soon as it is back', async t => {
  const { clock, api, start, lease, lines } = setUp(t)
  start()
  await clock.advance(0)
  api.clearCalls()
  const back = api.react({}, () => {
    throw new Fault('api-away', 'connection refused')
  })
  await clock.advance(10_000)
  t.equal(api.calls.length, 5)
  await clock.advance(170_000)
  back()
  await clock.advance(10_000)
  t.equal(lease()?.spec?.renewTime, '2023-11-14T22:16:30.000000Z')
  t.match(lines, [/^the node's Lease cannot be renewed; trying again: connection refused/, /is renewed again$/])
})

t.test('an apiserver that is away at the start is asked again after 200 ms and more', async t => {
  const { clock, api, start, lease } = setUp(t)
  api.failNext({ verb: 'get' }, new Fault('api-away', 'connection refused'))
  start()
  await clock.advance(200)
  t.ok(lease())
})

t.test('a wall clock that jumps by an hour delays no renewal', async t => {
  const clock = fakeClock()
  const jump = { ms: 0 }
  const api = createFakeApi()
  const node: KubeObject = api.put(nodes, { metadata: { name: 'n1' } })
  const jumping = { ...clock, now: () => clock.now() + jump.ms }
  const keeper = createLeaseKeeper({
    ...{ api, clock: jumping, log: silentLog, nodeName: 'n1', durationSeconds: 40, random: () => 0 },
    node: () => node,
  })
  const stopping = new AbortController()
  const ended = keeper.run(stopping.signal)
  await clock.advance(0)
  for (const [ms, expected] of [
    [3_600_000, '2023-11-14T23:13:30.000000Z'],
    [-3_600_000, '2023-11-14T21:13:40.000000Z'],
  ] as const) {
    jump.ms = ms
    await clock.advance(10_000)
    t.equal(api.peek<Lease>(leases, leaseNamespace, 'n1')?.spec?.renewTime, expected)
  }
  stopping.abort()
  await ended
})

t.test('fresh is what was renewed within its duration', async t => {
  const spec = { leaseDurationSeconds: 40, renewTime: '2023-11-14T22:13:20.000000Z' }
  const at = Date.parse('2023-11-14T22:13:20Z')
  for (const [name, lease, now, expected] of [
    ['just renewed', { spec }, at + 39_000, true],
    ['run out', { spec }, at + 41_000, false],
    ['never renewed', {}, at, false],
  ] as const)
    t.equal(isFresh({ metadata: { name: 'n1' }, ...lease }, now), expected, name)
})
