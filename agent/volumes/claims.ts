// Claims of a pod's volumes: which claim a volume means, and whether claim and volume that the apiserver shows may be used for it. Pure.
// Where the objects come from is agent/sources/claimed-volumes.ts; what is mounted for them persistent.ts.
// Follows the kubelet's desired state populator for the checks, their order and their messages.
import { namespaceOf } from '../../api/pod.ts'
import type { PersistentVolume, PersistentVolumeClaim } from '../../api/storage.ts'
import type { Pod, Volume } from '../../api/types.ts'
import { Fault } from '../../host/fault.ts'

export interface ClaimWish {
  readonly claimName: string
  readonly readOnly: boolean
  /** The claim was made for this pod and must be owned by it. */
  readonly isOwn: boolean
}

/** The claim that a volume of the pod means; undefined for volumes without one. */
export const claimOf = (pod: Pod, { name, persistentVolumeClaim, ephemeral }: Volume): ClaimWish | undefined => {
  if (persistentVolumeClaim) {
    const { claimName, readOnly = false } = persistentVolumeClaim
    return { claimName, readOnly, isOwn: false }
  }
  return ephemeral ? { claimName: `${pod.metadata.name}-${name}`, readOnly: false, isOwn: true } : undefined
}

/** What a claim has led to: the volume, as the pod may use it. */
export interface ClaimedVolume {
  readonly volume: PersistentVolume
  readonly readOnly: boolean
}

/** Soon again: the scheduler sends pods whose claims are bound, so that one which is not will be at any moment. */
const unboundRetryMs = 2_000
const protection = 'kubernetes.io/pvc-protection'

const wrong = (message: string): Fault => new Fault('volume', message, { retryAfterMs: unboundRetryMs })

/** What went wrong with a claim, in the kubelet's words around the reason. */
export const claimProblem = (pod: Pod, { claimName }: ClaimWish, reason: string, cause?: unknown): Fault =>
  new Fault('volume', `error processing PVC ${namespaceOf(pod)}/${claimName}: ${reason}`, { retryAfterMs: unboundRetryMs, cause })

/**
 * The name of the volume that a claim is bound to.
 * @throws Fault `volume`: the claim goes, is not bound (yet, or any more), or is not the pod's own
 */
export const boundVolumeName = (pod: Pod, wish: ClaimWish, claim: PersistentVolumeClaim): string => {
  const { metadata, spec, status } = claim
  // One that is protected stays until the pod is gone, and the pod was there first.
  const goes = metadata.deletionTimestamp !== undefined && metadata.finalizers?.includes(protection) !== true
  if (goes) throw claimProblem(pod, wish, 'PVC is being deleted')
  if (status?.phase === 'Lost') throw claimProblem(pod, wish, 'PVC is not bound: it has lost its volume')
  if (status?.phase !== 'Bound') throw claimProblem(pod, wish, 'PVC is not bound')
  if (!spec.volumeName) throw claimProblem(pod, wish, 'PVC has empty pvc.Spec.VolumeName')
  const isOwned = metadata.ownerReferences?.some(it => it.controller === true && it.uid === pod.metadata.uid) === true
  if (wish.isOwn && !isOwned) {
    const [namespace, name] = [namespaceOf(pod), pod.metadata.name]
    throw wrong(`PVC ${namespace}/${wish.claimName} was not created for pod ${namespace}/${name} (pod is not owner)`)
  }
  return spec.volumeName
}

/** @throws Fault `volume` when the volume does not say that it belongs to this claim */
export const checkBackReference = (
  pod: Pod,
  wish: ClaimWish,
  claim: PersistentVolumeClaim,
  { metadata: { name }, spec: { claimRef } }: PersistentVolume,
): void => {
  if (claimRef === undefined) {
    const reason = `found PV object ${name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim`
    throw claimProblem(pod, wish, reason)
  }
  const [uid, wanted] = [claimRef.uid ?? '', claim.metadata.uid ?? '']
  if (uid === wanted) return
  throw claimProblem(
    pod,
    wish,
    `found PV object ${name} but its pv.Spec.ClaimRef.UID ${uid} does not point to claim.UID ${wanted}`,
  )
}
