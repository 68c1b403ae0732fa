// The apiserver in memory: it fails and merges as the real one does, since other tests lean on it.
import t from 'tap'
import { Fault } from '../../host/fault.ts'
import type { Pod } from '../types.ts'
import { createFakeApi } from './api.fake.ts'
import { nodes, type ObjectRef, pods } from './api.ts'
import { applyPatch } from './patch.fake.ts'

const pod = (name: string, more: object = {}): Pod =>
  ({ metadata: { name, namespace: 'default' }, spec: { nodeName: 'n1', containers: [{ name: 'c' }] }, ...more }) as unknown as Pod
const web: ObjectRef = { resource: pods, namespace: 'default', name: 'web' }

t.test('a created object has a uid and a version; creating it again fails', async t => {
  const api = createFakeApi()
  const made = await api.create<Pod>({ resource: pods, namespace: 'default' }, pod('web'))
  t.ok(made.metadata.uid)
  t.ok(made.metadata.resourceVersion)
  await t.rejects(api.create({ resource: pods, namespace: 'default' }, pod('web')), { code: 'already-exists' })
  t.same(await api.get(web), made)
  t.same(
    api.calls.map(it => `${it.verb} ${it.resource} ${it.name}`),
    ['create pods web', 'create pods web', 'get pods web'],
  )
})

t.test('an update with an old version conflicts; one that changes nothing keeps the version', async t => {
  const api = createFakeApi()
  const first = api.put(pods, pod('web'))
  const second = await api.update(web, { ...first, metadata: { ...first.metadata, labels: { a: 'b' } } })
  t.not(second.metadata.resourceVersion, first.metadata.resourceVersion)
  await t.rejects(api.update(web, first), { code: 'api-conflict', reason: 'Conflict' })
  t.same(await api.update(web, second), second)
})

t.test('a patch of the status leaves the spec, one of the object leaves the status', async t => {
  const api = createFakeApi()
  api.put(nodes, { metadata: { name: 'n1' }, spec: { unschedulable: true }, status: { phase: 'a' } } as never)
  const patch = { spec: { unschedulable: false }, status: { phase: 'b' } }
  const status = { resource: nodes, name: 'n1', subresource: 'status' }
  t.match(await api.patch(status, patch, 'strategic'), { spec: { unschedulable: true }, status: { phase: 'b' } })
  t.match(await api.patch({ resource: nodes, name: 'n1' }, { spec: null, status: { phase: 'c' } }, 'merge'), {
    status: { phase: 'b' },
  })
})

t.test('a patch that names another uid conflicts', async t => {
  const api = createFakeApi()
  api.put(pods, pod('web'))
  await t.rejects(api.patch(web, { metadata: { uid: 'other' } }, 'strategic'), { code: 'api-conflict' })
})

t.test('a bound pod ends when it is deleted with grace 0, and only the right one', async t => {
  const api = createFakeApi()
  const { metadata } = api.put(pods, pod('web'))
  await api.delete(web)
  t.match(api.peek(pods, 'default', 'web'), { metadata: { deletionTimestamp: String, deletionGracePeriodSeconds: 30 } })
  const other = { gracePeriodSeconds: 0, preconditions: { uid: 'other' } }
  await t.rejects(api.delete(web, other), { code: 'api-conflict' })
  await api.delete(web, { gracePeriodSeconds: 0, preconditions: { uid: metadata.uid! } })
  t.equal(api.peek(pods, 'default', 'web'), undefined)
  await t.rejects(api.delete(web), { code: 'not-found' })
})

t.test('an object with a finalizer goes when the last one is taken off', async t => {
  const api = createFakeApi()
  api.put(nodes, { metadata: { name: 'n1', finalizers: ['x/y'] } })
  const ref = { resource: nodes, name: 'n1' }
  await api.delete(ref)
  t.ok(api.peek(nodes, '', 'n1'))
  await api.patch(ref, { metadata: { finalizers: null } }, 'merge')
  t.equal(api.peek(nodes, '', 'n1'), undefined)
})

t.test('lists select by field and label', async t => {
  const api = createFakeApi()
  api.put(pods, pod('a'))
  api.put(pods, pod('b', { spec: { nodeName: 'n2' }, metadata: { name: 'b', namespace: 'x', labels: { app: 'db' } } }))
  const names = async (query: Record<string, string>, namespace?: string) =>
    (await api.list(pods, query, namespace === undefined ? {} : { namespace })).items.map(it => it.metadata.name)
  t.same(await names({ fieldSelector: 'spec.nodeName=n1' }), ['a'])
  t.same(await names({ fieldSelector: 'metadata.name!=a' }), ['b'])
  t.same(await names({ labelSelector: 'app=db' }), ['b'])
  t.same(await names({ labelSelector: '!app' }), ['a'])
  t.same(await names({}, 'x'), ['b'])
})

t.test('a call can be made to fail, or be answered', async t => {
  const api = createFakeApi()
  api.put(pods, pod('web'))
  api.failNext({ verb: 'get' }, new Fault('api-away', 'gone'))
  await t.rejects(api.get(web), { code: 'api-away' })
  await t.resolves(api.get(web))
  api.react({ subresource: 'token' }, () => ({ status: { token: 'abc' } }))
  t.same(await api.create({ ...web, subresource: 'token' }, {}), { status: { token: 'abc' } })
})

t.test('changes are told as a watch would', async t => {
  const api = createFakeApi()
  const told: unknown[] = []
  const stop = api.follow(pods, (before, after) => told.push([before?.metadata.name, after?.metadata.name]))
  api.put(pods, pod('web'))
  api.remove(pods, 'default', 'web')
  stop()
  api.put(pods, pod('web'))
  t.same(told, [
    [undefined, 'web'],
    ['web', undefined],
  ])
})

const condition = (type: string, status: string) => ({ type, status })
for (const [name, before, patch, type, after] of [
  [
    'a strategic patch merges conditions by type',
    { conditions: [condition('A', 'True'), condition('B', 'True')] },
    { conditions: [condition('B', 'False'), condition('C', 'True')] },
    'strategic',
    { conditions: [condition('A', 'True'), condition('B', 'False'), condition('C', 'True')] },
  ],
  [
    'one with $patch: delete takes the entry out',
    { conditions: [condition('A', 'True'), condition('B', 'True')] },
    { conditions: [{ type: 'A', $patch: 'delete' }] },
    'strategic',
    { conditions: [condition('B', 'True')] },
  ],
  [
    'one with $setElementOrder orders the entries',
    { conditions: [condition('A', 'True'), condition('B', 'True')] },
    { '$setElementOrder/conditions': [{ type: 'B' }, { type: 'A' }] },
    'strategic',
    { conditions: [condition('B', 'True'), condition('A', 'True')] },
  ],
  [
    'one replaces lists without a merge key',
    { containerStatuses: [{ name: 'a' }, { name: 'b' }] },
    { containerStatuses: [{ name: 'b' }] },
    'strategic',
    { containerStatuses: [{ name: 'b' }] },
  ],
  ['a merge patch takes out what is null', { a: 1, b: { c: 2, d: 3 } }, { a: null, b: { c: 4 } }, 'merge', { b: { c: 4, d: 3 } }],
  [
    'a json patch walks escaped paths',
    { labels: { 'a/b': '1' }, list: [1] },
    [
      { op: 'replace', path: '/labels/a~1b', value: '2' },
      { op: 'add', path: '/list/-', value: 2 },
    ],
    'json',
    { labels: { 'a/b': '2' }, list: [1, 2] },
  ],
] as const)
  t.test(name, async t => t.same(applyPatch(before, patch, type), after))
