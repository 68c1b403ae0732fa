import t from 'tap'
import type { EndpointSlice, Service, ServiceSpec } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { silentLog } from '../../host/log.ts'
import type { Allocations } from './allocate.ts'
import { createStandaloneServices } from './services.ts'

const service = (name: string, spec: ServiceSpec = {}): Service => ({
  metadata: { name, namespace: 'default' },
  spec: { selector: { app: name }, ports: [{ port: 80 }], ...spec },
})

const pod = (name: string, app: string, ip: string, ready = true): Pod => ({
  metadata: { name, namespace: 'default', uid: `uid-${name}`, labels: { app, part: 'of-all' } },
  spec: { containers: [] },
  status: { phase: 'Running', podIPs: [{ ip }], conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
})

const setup = (remembered: Allocations = {}) => {
  const manifests = createStore<Service>()
  const pods = createStore<Pod>()
  const saved: { latest?: () => Allocations } = {}
  const made = createStandaloneServices({
    manifestServices: manifests,
    pods,
    allocations: {
      remembered,
      save: read => {
        saved.latest = read
      },
      flush: async () => undefined,
    },
    clock: fakeClock(0),
    log: silentLog,
    serviceCIDRs: ['10.96.0.0/16'],
    nodeName: 'n',
  })
  const heard: string[] = []
  made.endpointSlices.subscribe({
    changed: (before, after) => {
      const { labels } = (after ?? before)!.metadata
      const ready = after?.endpoints.filter(({ conditions }) => conditions?.ready).map(({ addresses }) => addresses[0])
      heard.push(`${labels?.['kubernetes.io/service-name']}: ${ready === undefined ? 'gone' : ready.join()}`)
    },
  })
  return { manifests, pods, made, heard, saved }
}

t.test('nothing is told before both the manifests and the pods are there', async t => {
  const { manifests, pods, made, heard } = setup()
  manifests.put(service('web'))
  manifests.markSynced()
  pods.put(pod('a', 'web', '10.0.0.1'))
  t.same([made.services.list().length, heard.length, made.services.isSynced], [0, 0, false])
  pods.markSynced()
  t.same([made.services.isSynced, made.endpointSlices.isSynced], [true, true])
  t.same(heard, ['web: 10.0.0.1'])
  t.match(made.services.get('default', 'web')?.spec, { type: 'ClusterIP', clusterIP: /^10\.96\./, sessionAffinity: 'None' })
})

t.test('sources that are synced already are taken at once, each Service once', async t => {
  const manifests = createStore<Service>()
  const pods = createStore<Pod>()
  manifests.put(service('web'))
  manifests.markSynced()
  pods.markSynced()
  const reads: unknown[] = []
  const allocations = { remembered: {}, save: (read: unknown) => void reads.push(read), flush: async () => undefined }
  const made = createStandaloneServices({
    manifestServices: manifests,
    pods,
    allocations,
    clock: fakeClock(0),
    log: silentLog,
    serviceCIDRs: ['10.96.0.0/16'],
    nodeName: 'n',
  })
  t.equal(made.services.list().length, 1)
  t.equal(reads.length, 1)
})

const started = (remembered: Allocations = {}) => {
  const parts = setup(remembered)
  parts.manifests.markSynced()
  parts.pods.markSynced()
  return parts
}

t.test('a pod that gets ready is in the slice before the call returns, and no other Service hears of it', async t => {
  const { manifests, pods, heard } = started()
  manifests.put(service('web'))
  manifests.put(service('db'))
  pods.put(pod('a', 'web', '10.0.0.1', false))
  heard.length = 0
  pods.put(pod('a', 'web', '10.0.0.1', true))
  t.same(heard, ['web: 10.0.0.1'])
  heard.length = 0
  pods.put({ ...pod('a', 'web', '10.0.0.1', true) })
  t.same(heard, [], 'a status that changes nothing for endpoints is not told')
  pods.remove('default', 'a')
  t.same(heard, ['web: ', 'web: gone'], 'the empty slice comes before the old one goes')
})

t.test('a pod whose labels change moves from one Service to the other', async t => {
  const { manifests, pods, made } = started()
  manifests.put(service('web'))
  manifests.put(service('db'))
  pods.put(pod('a', 'web', '10.0.0.1'))
  pods.put(pod('a', 'db', '10.0.0.1'))
  const endpoints = (name: string) =>
    made.endpointSlices
      .list()
      .filter(({ metadata }) => metadata.labels?.['kubernetes.io/service-name'] === name)
      .flatMap(slice => slice.endpoints)
  t.same([endpoints('web').length, endpoints('db').length], [0, 1])
})

t.test('a selector that changes selects other pods', async t => {
  const { manifests, pods, made } = started()
  pods.put(pod('a', 'one', '10.0.0.1'))
  pods.put(pod('b', 'two', '10.0.0.2'))
  manifests.put(service('web', { selector: { app: 'one' } }))
  const clusterIP = made.services.get('default', 'web')?.spec.clusterIP
  manifests.put(service('web', { selector: { app: 'two' } }))
  t.same(
    made.endpointSlices
      .list()
      .flatMap(slice => slice.endpoints)
      .map(({ addresses }) => addresses[0]),
    ['10.0.0.2'],
  )
  t.equal(made.services.get('default', 'web')?.spec.clusterIP, clusterIP)
  manifests.put(service('web', { selector: {} }))
  t.same(made.endpointSlices.list(), [])
})

t.test('a Service that goes takes its slices along and gives its ports to the one that waited for them', async t => {
  const { manifests, made, saved } = started()
  const ports = [{ port: 80, nodePort: 30_080 }]
  manifests.put(service('a', { type: 'NodePort', ports }))
  manifests.put(service('b', { type: 'NodePort', ports }))
  t.match(made.problems(), [
    { object: 'service default/b', message: /taken by Service default\/a/, since: '1970-01-01T00:00:00.000Z' },
  ])
  t.equal(made.services.get('default', 'b')?.spec.ports?.[0]?.nodePort, undefined)
  manifests.remove('default', 'a')
  t.same(made.problems(), [])
  t.equal(made.services.get('default', 'b')?.spec.ports?.[0]?.nodePort, 30_080)
  t.same(
    made.endpointSlices.list().map(({ metadata }) => metadata.labels?.['kubernetes.io/service-name']),
    ['b'],
  )
  t.same(Object.keys(saved.latest?.() ?? {}), ['default/b'])
})

t.test('a Service that is changed to what is refused is no longer served', async t => {
  const { manifests, made } = started()
  manifests.put(service('web'))
  manifests.put(service('web', { clusterIP: '1.2.3.4' }))
  t.same([made.services.list(), made.endpointSlices.list()], [[], []])
  t.equal(made.problems().length, 1)
})

t.test('addresses come from the memory', async t => {
  const { manifests, pods, made } = setup({ 'default/web': { clusterIPs: ['10.96.33.44'], nodePorts: {} } })
  manifests.put(service('web'))
  manifests.markSynced()
  pods.markSynced()
  t.equal(made.services.get('default', 'web')?.spec.clusterIP, '10.96.33.44')
})

t.test('among 10,000 Services that share a label a changed pod is compared with a few', async t => {
  const { manifests, pods, made } = setup()
  let looks = 0
  const counted = (selector: Record<string, string>) =>
    new Proxy(selector, {
      ownKeys: target => {
        looks += 1
        return Reflect.ownKeys(target)
      },
    })
  for (let index = 0; index < 10_000; index++)
    manifests.put(service(`s${index}`, { selector: counted({ part: 'of-all', app: `s${index}` }) }))
  for (let index = 0; index < 110; index++) pods.put(pod(`p${index}`, `s${index}`, `10.0.0.${index}`))
  manifests.markSynced()
  pods.markSynced()
  const told: (EndpointSlice | undefined)[] = []
  made.endpointSlices.subscribe({ changed: (_, after) => void told.push(after) })
  told.length = 0
  looks = 0
  for (let index = 0; index < 110; index++) pods.put(pod(`p${index}`, `s${index}`, `10.0.0.${index}`, false))
  t.equal(told.length, 110)
  t.ok(looks >= 110 && looks <= 10 * 110, `${looks / 110} looks at a selector for each change`)
})
