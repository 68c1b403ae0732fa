// The persistent volumes behind the claims of this node's pods: read from the apiserver when a pod is prepared, and kept while it is
// here. A node may read its pods' claims and volumes one by one, and watch neither: whoever waits for a binding asks again.
// Once bound, a claim stays so: a container that starts again asks nobody, and what was bound before a restart holds without the apiserver.
import { claims as claimResource, type KubeApi, persistentVolumes } from '../../api/kube/api.ts'
import { namespaceOf } from '../../api/pod.ts'
import type { PersistentVolume, PersistentVolumeClaim } from '../../api/storage.ts'
import type { Pod } from '../../api/types.ts'
import { describe, isFault } from '../../host/fault.ts'
import { boundVolumeName, type ClaimedVolume, type ClaimWish, checkBackReference, claimProblem } from '../volumes/claims.ts'

/** A volume of a pod that was bound, as it may be kept on the disk. */
export interface SavedBinding {
  readonly podUid: string
  readonly claimName: string
  readonly volume: PersistentVolume
}

export interface ClaimedVolumes {
  /**
   * The volume that the pod's claim is bound to; asked for at every preparation.
   * @throws Fault `volume` that says what is wrong with the claim, or why it cannot be read
   */
  find(pod: Pod, wish: ClaimWish): Promise<ClaimedVolume>
  /** What was found for a claim of the pod; undefined before that. */
  known(podUid: string, claimName: string): PersistentVolume | undefined
  /** Supplemental groups that the pod's volumes ask for, of those that were found. */
  groups(podUid: string): readonly number[]
  /** The pod's volumes are gone. */
  forget(podUid: string): void
}

export interface ClaimedVolumesDeps {
  readonly api: Pick<KubeApi, 'get'>
  /** Of an earlier run; used for what the apiserver does not answer. */
  readonly remembered?: readonly SavedBinding[]
  /** The set of bindings has changed, for whoever keeps `saved()`. */
  readonly onChange?: () => void
}

const timeoutMs = 5_000
/** By this an administrator lets pods into a volume whose files belong to a group. */
const groupAnnotation = 'pv.beta.kubernetes.io/gid'
const keyOf = (podUid: string, claimName: string): string => `${podUid}/${claimName}`

/** What a node has to know of a volume; the rest can be large. */
const trimmed = ({ metadata: { name, uid, annotations }, spec }: PersistentVolume): PersistentVolume => {
  const group = annotations?.[groupAnnotation]
  return { metadata: { name, ...(uid && { uid }), ...(group && { annotations: { [groupAnnotation]: group } }) }, spec }
}

export const createClaimedVolumes = (deps: ClaimedVolumesDeps): ClaimedVolumes & { saved(): readonly SavedBinding[] } => {
  const { api } = deps
  const bindings = new Map<string, SavedBinding>()
  const remembered = new Map((deps.remembered ?? []).map(it => [keyOf(it.podUid, it.claimName), it]))

  const read = async (pod: Pod, wish: ClaimWish): Promise<PersistentVolume> => {
    const namespace = namespaceOf(pod)
    const claim = await api
      .get<PersistentVolumeClaim>({ resource: claimResource, namespace, name: wish.claimName }, { timeoutMs })
      .catch((error: unknown) => {
        throw claimProblem(pod, wish, `failed to fetch PVC from API server: ${describe(error)}`, error)
      })
    const name = boundVolumeName(pod, wish, claim)
    const volume = await api
      .get<PersistentVolume>({ resource: persistentVolumes, name }, { timeoutMs })
      .catch((error: unknown) => {
        throw claimProblem(pod, wish, `failed to fetch PV ${name} from API server: ${describe(error)}`, error)
      })
    checkBackReference(pod, wish, claim, volume)
    return trimmed(volume)
  }

  const find = async (pod: Pod, wish: ClaimWish): Promise<PersistentVolume> => {
    const podUid = pod.metadata.uid ?? ''
    const key = keyOf(podUid, wish.claimName)
    const known = bindings.get(key)
    if (known !== undefined) return known.volume
    const before = remembered.get(key)
    const volume = await read(pod, wish).catch((error: unknown) => {
      if (before !== undefined && error instanceof Error && isFault(error.cause, 'api-away', 'api-busy')) return before.volume
      throw error
    })
    bindings.set(key, { podUid, claimName: wish.claimName, volume })
    deps.onChange?.()
    return volume
  }

  return {
    find: async (pod, wish) => ({ volume: await find(pod, wish), readOnly: wish.readOnly }),
    known: (podUid, claimName) => bindings.get(keyOf(podUid, claimName))?.volume,
    groups: podUid => {
      const own = [...bindings.values()].filter(it => it.podUid === podUid)
      const named = own.map(({ volume }) => volume.metadata.annotations?.[groupAnnotation] ?? '')
      return [...new Set(named.filter(group => /^\d+$/.test(group)).map(Number))]
    },
    forget: podUid => {
      let hasChanged = false
      for (const known of [bindings, remembered]) {
        for (const [key, it] of known) if (it.podUid === podUid) hasChanged = known.delete(key) || hasChanged
      }
      if (hasChanged) deps.onChange?.()
    },
    saved: () => [...new Map([...remembered, ...bindings]).values()],
  }
}
