import t from 'tap'
import { createFakeApi, type FakeApi } from '../../api/kube/api.fake.ts'
import { configMaps } from '../../api/kube/api.ts'
import { createStore } from '../../api/source.ts'
import type { ConfigMap, Pod } from '../../api/types.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { Fault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'
import { references } from '../volumes/plan.ts'
import { createReferences, type DetectionStrategy } from './references.ts'

const namespace = 'shop'
const mapOf = (name: string, color: string, immutable = false): ConfigMap => ({
  metadata: { name, namespace },
  data: { color },
  ...(immutable && { immutable }),
})
const podOf = (uid: string, ...names: readonly string[]): Pod => ({
  metadata: { name: uid, namespace, uid },
  spec: {
    containers: [{ name: 'c', image: 'i' }],
    volumes: names.map(name => ({ name, configMap: { name } })),
  },
})

/** A watch of one object as the reflector is one: told of everything, synced when the test says so or at once. */
const watchOf = (api: FakeApi, name: string, isSlow: boolean) => {
  const store = createStore<ConfigMap>()
  const there = api.peek<ConfigMap>(configMaps, namespace, name)
  if (there !== undefined && !isSlow) store.put(there)
  const unfollow = api.follow<ConfigMap>(configMaps, (before, after) => {
    if ((after ?? before)?.metadata.name !== name) return
    if (after === undefined) store.remove(namespace, name)
    else store.put(after)
  })
  if (!isSlow) store.markSynced()
  return {
    ...store,
    get isSynced() {
      return store.isSynced
    },
    markSynced: store.markSynced,
    stop: unfollow,
  }
}

const bench = (given: { strategy?: DetectionStrategy; isSlow?: boolean; remembered?: ConfigMap; isAway?: boolean } = {}) => {
  const api = createFakeApi()
  const clock = fakeClock()
  const watched: string[] = []
  const open = new Map<string, ReturnType<typeof watchOf>>()
  const source = createReferences<ConfigMap>({
    kind: 'configmap',
    keysOf: pod => references(pod).configMaps,
    strategy: given.strategy ?? 'Watch',
    watch: (_, name) => {
      watched.push(name)
      const watching = watchOf(api, name, given.isSlow ?? false)
      open.set(name, watching)
      return {
        ...watching,
        stop: () => {
          open.delete(name)
          watching.stop()
        },
      }
    },
    fetch: (ns, name) => api.get<ConfigMap>({ resource: configMaps, namespace: ns, name }),
    remembered: (_, name) => (given.remembered?.metadata.name === name ? given.remembered : undefined),
    isAway: () => given.isAway ?? false,
    pollMs: 60_000,
    clock,
    log: silentLog,
  })
  t.teardown(source.stop)
  const told: string[] = []
  source.subscribe({
    changed: (before, after) => void told.push(`${before?.data?.['color'] ?? 'none'} -> ${after?.data?.['color'] ?? 'none'}`),
  })
  const color = (name = 'a') => source.get(namespace, name)?.data?.['color']
  return { api, clock, source, told, watched, open, color, put: (map: ConfigMap) => api.put(configMaps, map) }
}
const settle = () => new Promise<void>(resolve => setImmediate(resolve))

t.test('what two pods name is watched once, until both are gone', async t => {
  const { source, put, watched, open, color, told } = bench()
  put(mapOf('a', 'red'))
  source.hold(podOf('one', 'a', 'b'))
  source.hold(podOf('two', 'a'))
  t.same(watched, ['a', 'b'])
  await source.known(namespace, 'a')
  t.equal(color(), 'red')
  put(mapOf('a', 'blue'))
  t.equal(color(), 'blue')
  source.release('one')
  await settle()
  t.same([...open.keys()], ['a'])
  t.equal(color(), 'blue')
  source.release('two')
  await settle()
  t.equal(open.size, 0)
  t.equal(color(), undefined)
  t.same(told, ['none -> red', 'red -> blue', 'blue -> none'])
})

t.test('a new version of a pod holds what it names now', async t => {
  const { source, open } = bench()
  source.hold(podOf('one', 'a', 'b'))
  source.hold(podOf('one', 'b', 'c'))
  await settle()
  t.same([...open.keys()], ['b', 'c'])
})

t.test('what is not there is known not to be there', async t => {
  const { source, color } = bench()
  source.hold(podOf('one', 'a'))
  await source.known(namespace, 'a')
  t.equal(color(), undefined)
})

t.test('an immutable object is not watched any longer once it was seen', async t => {
  const { source, put, open, color } = bench()
  source.hold(podOf('one', 'a'))
  put(mapOf('a', 'red', true))
  await settle()
  t.equal(open.size, 0)
  await source.known(namespace, 'a')
  t.equal(color(), 'red')
})

t.test('an object that no pod names cannot be looked up', async t => {
  await t.rejects(bench().source.known(namespace, 'a'), { code: 'volume', message: /not registered/ })
})

t.test('a watch that does not come about is helped by one question', async t => {
  const { source, put, clock, color, api } = bench({ isSlow: true })
  put(mapOf('a', 'red'))
  source.hold(podOf('one', 'a'))
  const known = Promise.all([source.known(namespace, 'a'), source.known(namespace, 'a')])
  await clock.advance(3_000)
  await known
  t.equal(color(), 'red')
  t.equal(api.calls.length, 1, 'one for both who waited')
})

for (const [name, code, message] of [
  ['a refusal is named', 'api-forbidden', /^failed to sync configmap "a": this node is not allowed to read it: nope$/],
  ['an apiserver that is away too', 'api-away', /^failed to sync configmap "a": it could not be looked up: nope$/],
] as const) {
  t.test(name, async t => {
    const { source, clock, api } = bench({ isSlow: true })
    api.failNext({ verb: 'get' }, new Fault(code, 'nope'))
    source.hold(podOf('one', 'a'))
    const known = t.rejects(source.known(namespace, 'a'), { code: 'volume', message })
    await clock.advance(3_000)
    await known
  })
}

t.test('what was remembered stands in while the apiserver is away, and no longer', async t => {
  const { source, clock, api, color, open } = bench({ isSlow: true, remembered: mapOf('a', 'old') })
  api.failNext({ verb: 'get' }, new Fault('api-away', 'nope'))
  source.hold(podOf('one', 'a'))
  const known = source.known(namespace, 'a')
  await clock.advance(3_000)
  await known
  t.equal(color(), 'old')
  open.get('a')?.markSynced()
  t.equal(color(), undefined, 'it was removed meanwhile')
})

t.test('it stands in at once while the apiserver is known to be away', async t => {
  const { source, api, color } = bench({ isSlow: true, isAway: true, remembered: mapOf('a', 'old') })
  source.hold(podOf('one', 'a'))
  await source.known(namespace, 'a')
  t.equal(color(), 'old')
  t.equal(api.calls.length, 0)
})

t.test('Get asks at every look, Cache once a minute, and both look again for those who wait for news', async t => {
  for (const [strategy, asked] of [
    ['Get', 2],
    ['Cache', 1],
  ] as const) {
    const { source, put, clock, api, color, told, watched } = bench({ strategy })
    put(mapOf('a', 'red'))
    source.hold(podOf('one', 'a'))
    await source.known(namespace, 'a')
    await source.known(namespace, 'a')
    t.equal(api.calls.length, asked, strategy)
    put(mapOf('a', 'blue'))
    t.equal(color(), 'red')
    await clock.advance(60_000)
    t.equal(color(), 'blue')
    t.same(told, ['none -> red', 'red -> blue'])
    t.same(watched, [])
    source.release('one')
  }
})

t.test('with Cache, a new pod finds what was changed just before it was made', async t => {
  const { source, put, color } = bench({ strategy: 'Cache' })
  put(mapOf('a', 'red'))
  source.hold(podOf('one', 'a'))
  await source.known(namespace, 'a')
  put(mapOf('a', 'blue'))
  source.hold(podOf('two', 'a'))
  await source.known(namespace, 'a')
  t.equal(color(), 'blue')
})
