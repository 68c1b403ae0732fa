// A copy that is kept in step with a server that streams, pages, forgets, tears, hangs and goes away.
import t, { type Test } from 'tap'
import { fakeClock } from '../../host/clock.fake.ts'
import { type Clock, holdProcess, systemClock } from '../../host/clock.ts'
import type { Log } from '../../host/log.ts'
import type { ConfigMap } from '../types.ts'
import { configMaps } from './api.ts'
import { createKubeClient } from './client.ts'
import { type Asked, createLoopback, status } from './loopback.fake.ts'
import { createReflector, type ReflectorDeps } from './reflector.ts'

const object = (name: string, resourceVersion: string, more: object = {}): ConfigMap => ({
  metadata: { name, namespace: 'x', uid: `uid-${name}`, resourceVersion, ...more },
})
const bookmark = (resourceVersion: string, more: object = {}) => ({ metadata: { resourceVersion, ...more } })
const initialEnd = (resourceVersion: string) =>
  bookmark(resourceVersion, { annotations: { 'k8s.io/initial-events-end': 'true' } })

/** Pauses that a test would wait for are over at once, and noted. */
const hurriedClock = (): Clock & { readonly slept: readonly number[] } => {
  const slept: number[] = []
  const sleep = (ms: number, signal?: AbortSignal) => {
    slept.push(ms)
    return systemClock.sleep(1, signal)
  }
  return { ...systemClock, sleep, slept }
}

const setup = async (
  t: Test,
  respond?: (asked: Asked) => void,
  more: Partial<ReflectorDeps<ConfigMap>> & { clock?: Clock } = {},
) => {
  const server = await createLoopback(respond)
  const clock = hurriedClock()
  const lines: string[] = []
  const take = (level: string) => (_: object, message: string) => void lines.push(`${level} ${message}`)
  const log: Log = { error: take('error'), warn: take('warn'), info: take('info'), debug: () => undefined, child: () => log }
  const client = createKubeClient({ kubeconfig: server.kubeconfig, clock: more.clock ?? clock, log })
  const reflector = createReflector<ConfigMap>({ client, resource: configMaps, clock, log, random: () => 0, ...more })
  t.teardown(async () => {
    reflector.stop()
    client.close()
    await server.close()
  })
  const told: string[] = []
  const waiters: { readonly count: number; readonly done: () => void }[] = []
  const tell = (line: string) => {
    told.push(line)
    for (const { count, done } of waiters) if (told.length >= count) done()
  }
  const shown = (it: ConfigMap | undefined) => (it === undefined ? '-' : `${it.metadata.name}@${it.metadata.resourceVersion}`)
  reflector.subscribe({ changed: (a, b) => tell(`${shown(a)} ${shown(b)}`), synced: () => tell('synced') })
  /** Resolves with what the consumer was told once there are `count` lines of it. */
  const toldAfter = (count: number) =>
    new Promise<readonly string[]>(resolve => {
      const done = () => resolve([...told])
      if (told.length >= count) done()
      else waiters.push({ count, done })
    })
  return { server, client, reflector, clock, lines, told, toldAfter }
}

const queryOf = ({ query }: Asked) => Object.fromEntries(query)

t.test('the first list is streamed and goes on as a watch, in one request', async t => {
  const { server, reflector, toldAfter } = await setup(t, undefined, { namespace: 'x', fieldSelector: 'metadata.name=a' })
  const first = await server.request(0)
  t.equal(first.path, '/api/v1/namespaces/x/configmaps')
  t.same(queryOf(first), {
    fieldSelector: 'metadata.name=a',
    allowWatchBookmarks: 'true',
    resourceVersion: '0',
    timeoutSeconds: '300',
    sendInitialEvents: 'true',
    resourceVersionMatch: 'NotOlderThan',
    watch: 'true',
  })
  first.stream()
  first.event('ADDED', { ...object('a', '3'), metadata: { ...object('a', '3').metadata, managedFields: [{}] } })
  t.same(await toldAfter(1), ['- a@3'])
  t.notOk(reflector.isSynced)
  first.event('BOOKMARK', initialEnd('9'))
  await reflector.synced
  t.ok(reflector.isSynced)
  t.same(reflector.get('x', 'a'), object('a', '3'), 'managedFields are not kept')
  first.event('MODIFIED', object('a', '10'))
  first.event('DELETED', object('a', '11'))
  t.same(await toldAfter(4), ['- a@3', 'synced', 'a@3 a@10', 'a@10 -'])
  t.equal(server.asked.length, 1)
})

t.test('a watch that ends is opened again from the last version, bookmarks included', async t => {
  const clock = fakeClock()
  const { server, reflector } = await setup(t, undefined, { clock })
  const first = await server.request(0)
  first.stream()
  first.event('BOOKMARK', initialEnd('9'))
  await reflector.synced
  first.event('MODIFIED', object('a', '12'))
  first.event('BOOKMARK', bookmark('20'))
  await clock.advance(300_000)
  first.answer.end()
  const second = await server.request(1)
  t.match(queryOf(second), { resourceVersion: '20', watch: 'true', allowWatchBookmarks: 'true' })
  t.notOk(second.query.has('sendInitialEvents'))
})

t.test('410 lists again: consumers see what changed and what went, and nothing of the rest', async t => {
  const { server, reflector, toldAfter, lines } = await setup(t)
  const first = await server.request(0)
  first.stream()
  for (const name of ['same', 'changed', 'gone', 'remade']) first.event('ADDED', object(name, '3'))
  first.event('BOOKMARK', initialEnd('9'))
  await reflector.synced
  const same = reflector.get('x', 'same')
  first.event('ERROR', status(410, 'Expired', 'too old resource version: 9 (30)'))
  const second = await server.request(1)
  t.match(queryOf(second), { sendInitialEvents: 'true', resourceVersion: '' })
  second.stream()
  second.event('ADDED', object('same', '3'))
  second.event('ADDED', object('changed', '31'))
  second.event('ADDED', object('remade', '32', { uid: 'another' }))
  second.event('BOOKMARK', initialEnd('40'))
  t.same((await toldAfter(9)).slice(5), ['changed@3 changed@31', 'remade@3 -', '- remade@32', 'gone@3 -'])
  t.equal(reflector.get('x', 'same'), same)
  t.same(lines, [], 'nobody has to know')
})

t.test('a 410 as the answer to the watch lists again at once, and a second one after a pause', async t => {
  const { server, clock } = await setup(t, it => {
    if (server.asked.length === 1) {
      it.stream()
      it.event('BOOKMARK', initialEnd('9'))
      it.answer.end()
    } else it.reply(410, status(410, 'Expired', 'gone'))
  })
  await server.request(4)
  t.ok(server.asked.length >= 5)
  // After the first short watch, then none after the first 410, then one after each.
  t.same(clock.slept.slice(0, 3), [800, 1600, 3200])
})

for (const [name, refuse] of [
  [
    'a server that refuses to stream lists',
    (it: Asked) => it.reply(422, status(422, 'Invalid', 'sendInitialEvents is forbidden')),
  ],
  [
    'one over an old etcd',
    (it: Asked) => {
      it.stream()
      it.event('ERROR', status(500, 'InternalError', 'the required storage feature RequestWatchProgress is disabled'))
    },
  ],
] as const) {
  t.test(`${name} is asked for pages, and nobody asks it to stream again`, async t => {
    const { server, client, reflector, clock, lines } = await setup(t, it => {
      if (it.query.has('sendInitialEvents')) return refuse(it)
      if (it.query.has('watch')) return it.stream()
      const isSecond = it.query.get('continue') === 'more'
      const metadata = isSecond ? { resourceVersion: '9' } : { resourceVersion: '9', continue: 'more' }
      it.reply(200, { kind: 'ConfigMapList', apiVersion: 'v1', metadata, items: [object(isSecond ? 'b' : 'a', '3')] })
    })
    await reflector.synced
    t.same(
      reflector.list().map(it => it.metadata.name),
      ['a', 'b'],
    )
    t.match(queryOf(await server.request(3)), { watch: 'true', resourceVersion: '9' })
    const other = createReflector({
      client,
      resource: configMaps,
      fieldSelector: 'metadata.name=a',
      clock,
      log: { debug: () => undefined } as never,
    })
    t.match(queryOf(await server.request(4)), { limit: '500', fieldSelector: 'metadata.name=a', resourceVersion: '0' })
    other.stop()
    t.same(clock.slept, [])
    t.same(lines, [])
  })
}

t.test('of many that are refused a stream at the same time each lists at once', async t => {
  const held: Asked[] = []
  const { client, reflector, clock } = await setup(t, it => {
    if (it.query.has('sendInitialEvents')) {
      held.push(it)
      const refusal = status(422, 'Invalid', 'sendInitialEvents is forbidden')
      if (held.length === 2) for (const asked of held) asked.reply(422, refusal)
    } else if (it.query.has('watch')) it.stream()
    else it.reply(200, { kind: 'ConfigMapList', metadata: { resourceVersion: '9' }, items: [] })
  })
  const log = { debug: () => undefined } as never
  const other = createReflector({ client, resource: configMaps, namespace: 'y', clock, log })
  await Promise.all([reflector.synced, other.synced])
  other.stop()
  t.same(clock.slept, [], 'nobody waited')
})

t.test('410 in the middle of a list in pages lists again, whole', async t => {
  const { reflector } = await setup(t, it => {
    if (it.query.has('sendInitialEvents')) return it.reply(400, status(400, 'BadRequest', 'unknown'))
    if (it.query.has('watch')) return it.stream()
    const list = (name: string, more: object) => ({
      kind: 'ConfigMapList',
      metadata: { resourceVersion: '9', ...more },
      items: [object(name, '3')],
    })
    if (it.query.has('continue')) it.reply(410, status(410, 'Expired', 'compacted'))
    else if (it.query.get('limit') === '0') it.reply(200, list('b', {}))
    else it.reply(200, list('a', { continue: 'more' }))
  })
  await reflector.synced
  t.same(
    reflector.list().map(it => it.metadata.name),
    ['b'],
    'what only the first page had is gone',
  )
})

t.test('a torn line is logged and the watch opened again from the last version', async t => {
  const { server, reflector, lines } = await setup(t)
  const first = await server.request(0)
  first.stream()
  first.event('BOOKMARK', initialEnd('9'))
  await reflector.synced
  first.event('ADDED', object('a', '10'))
  first.answer.write('{"type":"MODIFIED","object":{"met\n')
  t.match(queryOf(await server.request(1)), { resourceVersion: '10' })
  t.same(lines, ['warn this resource cannot be watched; trying on'])
  t.equal(reflector.problem()?.reason, 'TornLine')
})

t.test('a watch that ends at once, again and again, is asked for in growing pauses up to 30 s', async t => {
  const { server, clock } = await setup(t, it => {
    it.stream()
    if (server.asked.length === 1) it.event('BOOKMARK', initialEnd('9'))
    it.answer.end()
  })
  await server.request(8)
  t.same(clock.slept.slice(0, 8), [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000])
})

t.test('what the server forbids is said once, and tried on until it is allowed', async t => {
  const { server, reflector, lines } = await setup(t, it => {
    if (server.asked.length < 4) return it.reply(403, status(403, 'Forbidden', 'User "x" cannot watch configmaps'))
    it.stream()
    it.event('BOOKMARK', initialEnd('9'))
  })
  await reflector.synced
  t.equal(server.asked.length, 4)
  t.same(lines, ['warn this resource cannot be watched; trying on'])
  t.equal(reflector.problem(), undefined)
})

t.test('429 with Retry-After is heeded', async t => {
  const { server, reflector, clock } = await setup(t, it => {
    if (server.asked.length === 1) return it.reply(429, status(429, 'TooManyRequests', 'later'), { 'retry-after': '17' })
    it.stream()
    it.event('BOOKMARK', initialEnd('9'))
  })
  await reflector.synced
  t.same(clock.slept, [17_000])
})

t.test('while the apiserver is away the copy stays; one line when it goes, one when it is back', async t => {
  const { server, reflector, lines, told, toldAfter } = await setup(t)
  // Nothing listens for a while, and timers of the clock alone do not keep the test going.
  const hold = holdProcess()
  t.teardown(() => hold.cancel())
  const first = await server.request(0)
  first.stream()
  first.event('ADDED', object('a', '3'))
  first.event('BOOKMARK', initialEnd('9'))
  await reflector.synced
  await server.down()
  while (lines.length === 0) await systemClock.sleep(2)
  t.same(reflector.list(), [object('a', '3')])
  t.equal(reflector.problem()?.code, 'api-away')
  await server.up()
  const second = await server.request(1)
  t.match(queryOf(second), { resourceVersion: '9' })
  second.stream()
  second.event('MODIFIED', object('a', '10'))
  t.same(await toldAfter(3), ['- a@3', 'synced', 'a@3 a@10'])
  t.equal(told.length, 3)
  t.same(lines, ['warn the apiserver cannot be asked; trying on', 'info the apiserver answers again'])
  t.equal(reflector.problem(), undefined)
})

t.test('a stream on which nothing comes, not even its end, is opened again', async t => {
  const clock = fakeClock()
  const { server, reflector } = await setup(t, undefined, { clock })
  const first = await server.request(0)
  first.stream()
  first.event('BOOKMARK', initialEnd('9'))
  await reflector.synced
  await clock.advance(29_000)
  await clock.advance(302_000)
  t.match(queryOf(await Promise.race([server.request(1), advancing(clock)])), { resourceVersion: '9' })
})

t.test('a list that hangs after its first event is asked for again', async t => {
  const clock = fakeClock()
  const { server, toldAfter, reflector } = await setup(t, undefined, { clock })
  const first = await server.request(0)
  first.stream()
  first.event('ADDED', object('a', '3'))
  await toldAfter(1)
  await clock.advance(30_000)
  t.match(queryOf(await Promise.race([server.request(1), advancing(clock)])), { sendInitialEvents: 'true' })
  t.notOk(reflector.isSynced)
})

/** Moves time on, for those who wait for the server and for a pause. */
const advancing = async (clock: ReturnType<typeof fakeClock>): Promise<never> => {
  for (let i = 0; i < 200; i++) {
    await clock.advance(100)
    await systemClock.sleep(5)
  }
  throw new Error('nothing came')
}

t.test('a stopped reflector asks no more, and what it holds stays', async t => {
  const { server, reflector, clock } = await setup(t)
  const first = await server.request(0)
  first.stream()
  first.event('ADDED', object('a', '3'))
  first.event('BOOKMARK', initialEnd('9'))
  await reflector.synced
  const closed = new Promise(resolve => first.answer.on('close', resolve))
  reflector.stop()
  await closed
  t.same(reflector.list(), [object('a', '3')])
  t.equal(server.asked.length, 1)
  t.same(clock.slept, [])
})

t.test('objects are made smaller before they are kept, by whoever knows what is needed of them', async t => {
  const { server, reflector } = await setup(t, undefined, { trim: ({ metadata }) => ({ metadata }) })
  const first = await server.request(0)
  first.stream()
  first.event('ADDED', { ...object('a', '3'), data: { large: 'text' } })
  first.event('BOOKMARK', initialEnd('9'))
  await reflector.synced
  t.same(reflector.list(), [object('a', '3')])
})

t.test('a bound of five to ten minutes is asked for each watch', async t => {
  const { server } = await setup(t, undefined, { random: () => 0.999 })
  t.equal((await server.request(0)).query.get('timeoutSeconds'), '600')
})
