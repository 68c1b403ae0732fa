import t from 'tap'
import type { PersistentVolume, PersistentVolumeClaim } from '../../api/storage.ts'
import type { Pod, Volume } from '../../api/types.ts'
import { boundVolumeName, checkBackReference, claimOf } from './claims.ts'

const pod: Pod = { metadata: { name: 'web', namespace: 'shop', uid: 'pod-uid' }, spec: { containers: [] } }
const wish = { claimName: 'data', readOnly: false, isOwn: false }
const own = { ...wish, claimName: 'web-tmp', isOwn: true }
const claim = (more: { metadata?: object; spec?: object; status?: object } = {}): PersistentVolumeClaim => ({
  metadata: { name: 'data', namespace: 'shop', uid: 'claim-uid', ...more.metadata },
  spec: { volumeName: 'pv', ...more.spec },
  status: { phase: 'Bound', ...more.status },
})
const controller = (uid: string) => [{ apiVersion: 'v1', kind: 'Pod', name: 'web', uid, controller: true }]

for (const [name, volume, expected] of [
  ['a claim by name', { name: 'v', persistentVolumeClaim: { claimName: 'data', readOnly: true } }, { ...wish, readOnly: true }],
  ["a pod's own claim is called after pod and volume", { name: 'tmp', ephemeral: { volumeClaimTemplate: {} } }, own],
  ['another kind has none', { name: 'v', emptyDir: {} }, undefined],
] as const)
  t.test(name, async t => {
    t.same(claimOf(pod, volume as Volume), expected)
  })

for (const [name, given, wanted, problem] of [
  ['a bound claim names its volume', claim(), wish, undefined],
  [
    'one that is not bound yet',
    claim({ status: { phase: 'Pending' } }),
    wish,
    'error processing PVC shop/data: PVC is not bound',
  ],
  ['one without a status', { ...claim(), status: {} }, wish, 'error processing PVC shop/data: PVC is not bound'],
  [
    'one whose volume is gone',
    claim({ status: { phase: 'Lost' } }),
    wish,
    'error processing PVC shop/data: PVC is not bound: it has lost its volume',
  ],
  [
    'one that names no volume',
    claim({ spec: { volumeName: '' } }),
    wish,
    'error processing PVC shop/data: PVC has empty pvc.Spec.VolumeName',
  ],
  [
    'one that is being deleted',
    claim({ metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }),
    wish,
    'error processing PVC shop/data: PVC is being deleted',
  ],
  [
    'one that is to be deleted after its pods is still good for them',
    claim({ metadata: { deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['kubernetes.io/pvc-protection'] } }),
    wish,
    undefined,
  ],
  ["a pod's own", claim({ metadata: { ownerReferences: controller('pod-uid') } }), own, undefined],
  [
    'one of the right name that is not its own',
    claim({ metadata: { ownerReferences: controller('other') } }),
    own,
    'PVC shop/web-tmp was not created for pod shop/web (pod is not owner)',
  ],
] as const)
  t.test(name, async t => {
    const name = () => boundVolumeName(pod, wanted, given)
    if (problem === undefined) t.equal(name(), 'pv')
    else t.throws(name, { code: 'volume', message: problem, retry: 'backoff', retryAfterMs: 2_000 })
  })

const volume = (claimRef?: object): PersistentVolume => ({ metadata: { name: 'pv' }, spec: { ...(claimRef && { claimRef }) } })
t.test('the volume has to say that it belongs to this very claim', async t => {
  t.doesNotThrow(() => checkBackReference(pod, wish, claim(), volume({ uid: 'claim-uid' })))
  t.throws(() => checkBackReference(pod, wish, claim(), volume()), /has a nil pv.Spec.ClaimRef indicating it is not yet bound/)
  t.throws(
    () => checkBackReference(pod, wish, claim(), volume({ uid: 'before' })),
    /found PV object pv but its pv.Spec.ClaimRef.UID before does not point to claim.UID claim-uid/,
  )
})
