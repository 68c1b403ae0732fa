import t from 'tap'
import type { ObjectRef } from '../../api/kube/api.ts'
import type { KubeObject } from '../../api/meta.ts'
import type { Pod } from '../../api/types.ts'
import { Fault } from '../../host/fault.ts'
import { createClaimedVolumes, type SavedBinding } from './claimed-volumes.ts'

const pod: Pod = { metadata: { name: 'web', namespace: 'shop', uid: 'u' }, spec: { containers: [] } }
const wish = { claimName: 'data', readOnly: false, isOwn: false }
const claim = (phase: string) => ({
  ...{ metadata: { name: 'data', namespace: 'shop', uid: 'c' }, spec: { volumeName: 'pv' }, status: { phase } },
})
const volume = { metadata: { name: 'pv', labels: { a: 'b' } }, spec: { claimRef: { uid: 'c' }, local: { path: '/srv' } } }
const kept = { metadata: { name: 'pv' }, spec: volume.spec }

/** An apiserver with these objects, by resource and name; a Fault is what it answers. */
const bench = (objects: Record<string, KubeObject | Fault>, remembered: readonly SavedBinding[] = []) => {
  const asked: string[] = []
  let changes = 0
  const get = async <T extends KubeObject>({ resource, name }: ObjectRef): Promise<T> => {
    const key = `${resource.plural}/${name}`
    asked.push(key)
    const found = objects[key] ?? new Fault('not-found', `${key} not found`)
    if (found instanceof Fault) throw found
    return found as T
  }
  const claims = createClaimedVolumes({ api: { get }, remembered, onChange: () => void changes++ })
  return { asked, objects, claims, changes: () => changes }
}
const both = () => ({ 'persistentvolumeclaims/data': claim('Bound'), 'persistentvolumes/pv': volume })

t.test('a bound claim leads to its volume, and is not asked for again while the pod is here', async t => {
  const { claims, asked, changes } = bench(both())
  t.same(await claims.find(pod, { ...wish, readOnly: true }), { volume: kept, readOnly: true })
  await claims.find(pod, wish)
  t.same(asked, ['persistentvolumeclaims/data', 'persistentvolumes/pv'])
  t.same(claims.saved(), [{ podUid: 'u', claimName: 'data', volume: kept }])
  claims.forget('u')
  t.same(claims.saved(), [])
  t.equal(changes(), 2)
  await claims.find(pod, wish)
  t.equal(asked.length, 4)
})

t.test('a volume may name a group that its pods are in', async t => {
  const annotations = { 'pv.beta.kubernetes.io/gid': '1234', other: 'x' }
  const ofGroup = { ...volume, metadata: { name: 'pv', annotations } }
  const { claims } = bench({ ...both(), 'persistentvolumes/pv': ofGroup })
  t.same(claims.groups('u'), [])
  await claims.find(pod, wish)
  t.same([claims.groups('u'), claims.groups('other')], [[1234], []])
})

t.test('one that is bound later is found the next time', async t => {
  const { claims, objects } = bench({ ...both(), 'persistentvolumeclaims/data': claim('Pending') })
  await t.rejects(claims.find(pod, wish), { message: 'error processing PVC shop/data: PVC is not bound' })
  objects['persistentvolumeclaims/data'] = claim('Bound')
  t.match(await claims.find(pod, wish), { volume: { metadata: { name: 'pv' } } })
})

for (const [name, missing, message] of [
  [
    'a claim that is not there',
    'persistentvolumeclaims/data',
    /^error processing PVC shop\/data: failed to fetch PVC from API server: /,
  ],
  [
    'a volume that is not there',
    'persistentvolumes/pv',
    /failed to fetch PV pv from API server: persistentvolumes\/pv not found/,
  ],
] as const)
  t.test(`${name} is told with the apiserver's answer`, async t => {
    const { claims } = bench({ ...both(), [missing]: new Fault('not-found', `${missing} not found`) })
    await t.rejects(claims.find(pod, wish), { code: 'volume', message })
  })

t.test('what was bound before a restart holds while the apiserver is away, and no longer than that', async t => {
  const before = [{ podUid: 'u', claimName: 'data', volume: kept }]
  const away = bench({ 'persistentvolumeclaims/data': new Fault('api-away', 'no answer') }, before)
  t.same(await away.claims.find(pod, wish), { volume: kept, readOnly: false })
  await t.rejects(away.claims.find({ ...pod, metadata: { ...pod.metadata, uid: 'other' } }, wish), /no answer/)
  const back = bench({}, before)
  await t.rejects(back.claims.find(pod, wish), /not found/)
})
