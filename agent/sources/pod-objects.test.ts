import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { createFakeApi } from '../../api/kube/api.fake.ts'
import { configMaps, type Resource, runtimeClasses, secrets } from '../../api/kube/api.ts'
import type { Query } from '../../api/kube/client.ts'
import type { KubeObject } from '../../api/meta.ts'
import { createStore } from '../../api/source.ts'
import type { ConfigMap, Pod, PodSpec, Secret } from '../../api/types.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { silentLog } from '../../host/log.ts'
import type { Mounts } from '../../host/mounts.ts'
import { createExecutor } from '../volumes/executors.ts'
import { planVolume } from '../volumes/plan.ts'
import { openObjectMemory } from './object-memory.ts'
import { createPodObjects, type PodObjectsDeps } from './pod-objects.ts'

const namespace = 'shop'
const rootCa: ConfigMap = { metadata: { name: 'kube-root-ca.crt', namespace }, data: { 'ca.crt': 'PEM' } }
/** What the apiserver adds to every pod. */
const access = {
  name: 'kube-api-access-x',
  projected: {
    defaultMode: 0o644,
    sources: [
      { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
      { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
      { downwardAPI: { items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }] } },
    ],
  },
}
const podOf = (spec: Partial<PodSpec> = {}, more: Partial<Pod> = {}): Pod => ({
  metadata: { name: 'web', namespace, uid: 'u' },
  spec: { serviceAccountName: 'clerk', containers: [{ name: 'c', image: 'i' }], volumes: [access], ...spec },
  ...more,
})

/** The fake apiserver with watches, of one object or of all of a kind. */
const watchedApi = () => {
  const api = createFakeApi()
  const watched: string[] = []
  const watch: PodObjectsDeps['client']['watch'] = (resource: Resource, query: Query, options, { event }) => {
    const name = query['fieldSelector']?.replace('metadata.name=', '')
    const key = `${resource.plural}/${name ?? ''}`
    watched.push(key)
    const tell = (type: 'ADDED' | 'DELETED', object: KubeObject) => {
      if (name === undefined || object.metadata.name === name) event({ type, object: structuredClone(object) as never })
    }
    for (const object of api.all(resource)) tell('ADDED', object)
    const bookmark = { metadata: { name: '', resourceVersion: '1', annotations: { 'k8s.io/initial-events-end': 'true' } } }
    event({ type: 'BOOKMARK', object: bookmark as never })
    const unfollow = api.follow(resource, (before, after) => {
      if (after !== undefined) tell('ADDED', after)
      else if (before !== undefined) tell('DELETED', before)
    })
    return new Promise((_, reject) => {
      options.signal?.addEventListener('abort', () => {
        unfollow()
        watched.splice(watched.indexOf(key), 1)
        reject(options.signal?.reason)
      })
    })
  }
  return {
    api,
    watched,
    client: {
      ...api,
      watch,
      pages: async () => '1',
      onBack: () => () => undefined,
      problem: () => undefined,
      lists: { areStreamed: true },
    },
  }
}

const bench = (test: Tap, given: Partial<PodObjectsDeps['memory']> = {}) => {
  const { api, watched, client } = watchedApi()
  const clock = fakeClock()
  let issued = 0
  api.react({ resource: 'serviceaccounts', subresource: 'token' }, ({ body }) => {
    issued += 1
    return { ...(body as object), status: { token: `jwt-${issued}`, expirationTimestamp: new Date(clock.now() + 3607_000) } }
  })
  const folder = { configMaps: createStore<ConfigMap>(), secrets: createStore<Secret>() }
  const renewed: string[] = []
  const objects = createPodObjects({
    ...{ client, folder, strategy: 'Watch', pollMs: 60_000, clock, log: silentLog },
    memory: { remembered: { configMaps: [], secrets: [], tokens: [], bindings: [] }, save: () => undefined, ...given },
    onRenewed: uid => void renewed.push(uid),
  })
  const pods = createStore<Pod>()
  const stop = objects.follow(pods)
  test.teardown(() => {
    stop()
    objects.stop()
  })
  return { api, clock, objects, pods, watched, renewed, folder }
}
type Tap = typeof t
const settle = () => new Promise<void>(resolve => setImmediate(resolve))

t.test('the volume that every pod has: token, root certificate and namespace, renewed in place', async t => {
  const { api, clock, objects, pods, renewed } = bench(t as Tap)
  const dir = t.testdir({})
  // what is mounted there is the kernel ring's business
  const mounts = { at: async () => ({ path: dir, fsType: 'tmpfs' }) } as unknown as Mounts
  const real = { now: clock.now, sleep: async () => undefined }
  const execute = createExecutor({
    ...objects,
    mounts,
    local: { setUp: async () => undefined },
    clock: real,
    allocatable: () => ({}),
  })
  const pod = podOf({ securityContext: { fsGroup: process.getgid?.() ?? 0 } })
  const action = planVolume({ pod, podDir: dir, allocatable: {}, node: { name: 'n', labels: {} } }, access)
  pods.put(pod)
  await t.rejects(execute(pod, action), { message: 'configmap "kube-root-ca.crt" not found' })
  api.put(configMaps, rootCa)
  t.equal(await execute(pod, action), true)
  const path = (name: string) => join(dir, 'volumes/kubernetes.io~projected/kube-api-access-x', name)
  const content = async () => Promise.all(['token', 'ca.crt', 'namespace'].map(name => readFile(path(name), 'utf8')))
  t.same(await content(), ['jwt-1', 'PEM', 'shop'])
  t.equal((await stat(path('token'))).mode & 0o777, 0o640, 'the group may read it, others not')
  t.equal((await stat(path('ca.crt'))).mode & 0o777, 0o644)
  t.equal(await execute(pod, action), false, 'nothing is written twice')
  await clock.advance(50 * 60_000)
  t.same(renewed, ['u'])
  t.equal(await execute(pod, action), true)
  t.same(await content(), ['jwt-2', 'PEM', 'shop'])
})

t.test('what a pod names is watched while the pod is there and has not ended', async t => {
  const { pods, watched } = bench(t as Tap)
  pods.put(podOf({ imagePullSecrets: [{ name: 'pull' }] }))
  t.same(watched, ['configmaps/kube-root-ca.crt', 'secrets/pull'])
  pods.put(podOf({}, { status: { phase: 'Running' } }))
  await settle()
  t.same(watched, ['configmaps/kube-root-ca.crt'])
  pods.put(podOf({}, { status: { phase: 'Succeeded' } }))
  await settle()
  t.same(watched, [])
  pods.put(podOf())
  pods.remove(namespace, 'web')
  await settle()
  t.same(watched, [])
})

t.test('a static pod has the objects of the folder, and asks nobody for them', async t => {
  const { pods, watched, folder, objects } = bench(t as Tap)
  folder.configMaps.put(rootCa)
  const { metadata, ...rest } = podOf()
  pods.put({ ...rest, metadata: { ...metadata, annotations: { 'kubernetes.io/config.source': 'file' } } })
  await objects.configMaps.known(namespace, 'kube-root-ca.crt')
  t.equal(objects.configMaps.get(namespace, 'kube-root-ca.crt'), rootCa)
  t.same(watched, [])
})

t.test('the handler of a RuntimeClass', async t => {
  const { api, objects, watched } = bench(t as Tap)
  api.put(runtimeClasses, { metadata: { name: 'sand' }, handler: 'runsc' } as KubeObject)
  t.same(watched, [])
  t.equal(await objects.runtimeClasses.handlerOf(podOf({ runtimeClassName: 'sand' })), 'runsc')
  t.same(watched, ['runtimeclasses/'])
})

t.test(
  'what pods need is on the disk for a start without the apiserver, Secrets and tokens only where that is wanted',
  async t => {
    const path = join(t.testdir({}), 'state', 'objects.json')
    const clock = fakeClock()
    const open = (keepsSecrets: boolean) => openObjectMemory({ path, keepsSecrets, clock, log: silentLog })
    const memory = await open(true)
    const { api, objects, pods } = bench(t as Tap, memory)
    api.put(configMaps, rootCa)
    api.put(secrets, { metadata: { name: 'pull', namespace }, data: { key: 'c2VjcmV0' } } as Secret)
    const pod = podOf({ imagePullSecrets: [{ name: 'pull' }] })
    pods.put(pod)
    const wanted = { from: 'token', path: 'token', audience: '', expirationSeconds: 3607 } as const
    await objects.tokens.token(pod, wanted)
    await memory.flush()
    t.equal((await stat(path)).mode & 0o777, 0o600)

    const { remembered } = await open(true)
    const later = bench(t as Tap, { remembered })
    later.pods.put(pod)
    t.equal(await later.objects.tokens.token(pod, wanted), 'jwt-1')
    t.equal(remembered.secrets[0]?.data?.['key'], 'c2VjcmV0')

    const without = await open(false)
    t.same(without.remembered.secrets, [])
    t.same(without.remembered.tokens, [])
    t.match(without.remembered.configMaps, [rootCa])
    await without.flush()
    t.notMatch(await readFile(path, 'utf8'), /c2VjcmV0|jwt/)
    await writeFile(path, '{"configMaps": 1}')
    t.same(
      (await open(true)).remembered,
      { configMaps: [], secrets: [], tokens: [], bindings: [] },
      'what cannot be read is put aside',
    )
  },
)
