// What pods of the apiserver need beside their own object, joined: ConfigMaps and Secrets, tokens, claims, RuntimeClasses. It follows which pods
// there are, so that each thing is held from the moment a pod is known to the moment it is gone. Static pods have the folder's objects.
import { configMaps, type Resource, runtimeClasses, secrets } from '../../api/kube/api.ts'
import type { KubeClient } from '../../api/kube/client.ts'
import { createReflector, type ReflectorDeps } from '../../api/kube/reflector.ts'
import type { KubeObject } from '../../api/meta.ts'
import { keyOf, type Source } from '../../api/source.ts'
import type { ConfigMap, Pod, Secret } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import type { Log } from '../../host/log.ts'
import { createRuntimeClasses, type RuntimeClass, type RuntimeClasses } from '../runtime-class.ts'
import { createTokens, type Tokens } from '../tokens.ts'
import { references } from '../volumes/plan.ts'
import { type ClaimedVolumes, createClaimedVolumes } from './claimed-volumes.ts'
import { isStatic } from './mirror-marks.ts'
import type { KnownObjects, ObjectMemory } from './object-memory.ts'
import { createReferences, type DetectionStrategy, type References } from './references.ts'

export interface PodObjectsDeps {
  readonly client: ReflectorDeps<KubeObject>['client'] & Pick<KubeClient, 'get' | 'create' | 'problem'>
  /** The folder's, for static pods. */
  readonly folder: { readonly configMaps: Source<ConfigMap>; readonly secrets: Source<Secret> }
  /** KubeletConfiguration configMapAndSecretChangeDetectionStrategy. */
  readonly strategy: DetectionStrategy
  /** KubeletConfiguration syncFrequency. */
  readonly pollMs: number
  readonly memory: Pick<ObjectMemory, 'remembered' | 'save'>
  /** A token of the pod has been renewed: its volumes are to be brought up to date. */
  readonly onRenewed: (podUid: string) => void
  readonly clock: Clock
  readonly log: Log
}

export interface PodObjects {
  readonly configMaps: References<ConfigMap>
  readonly secrets: References<Secret>
  readonly tokens: Tokens
  readonly claims: ClaimedVolumes
  readonly runtimeClasses: RuntimeClasses
  /** Follows the pods that the node should run; to be called before anybody else begins to start them. Returns how to stop. */
  follow(pods: Source<Pod>): () => void
  stop(): void
}

const isOver = ({ status }: Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed'

// Nobody on a node reads them, and some are as large as the object.
const withoutNotes = <T extends KubeObject>(object: T): T => {
  const { annotations: _, labels: __, ownerReferences: ___, ...metadata } = object.metadata
  return { ...object, metadata }
}

/** What was remembered of objects that nobody has told of yet. */
const byKey = <T extends KubeObject>(objects: readonly T[]) => {
  const found = new Map(objects.map(object => [keyOf(object), object]))
  return (namespace: string, name: string): T | undefined => found.get(`${namespace}/${name}`)
}

export const createPodObjects = (deps: PodObjectsDeps): PodObjects => {
  const { client, strategy, pollMs, memory, clock, log } = deps
  const referencesTo = <T extends KubeObject>(
    kind: string,
    resource: Resource,
    own: Pick<Parameters<typeof createReferences<T>>[0], 'keysOf' | 'folder' | 'remembered'>,
  ): References<T> =>
    createReferences<T>({
      ...{ kind, strategy, pollMs, clock, log, ...own },
      isAway: () => client.problem() !== undefined,
      watch: (namespace, name) => {
        const fieldSelector = `metadata.name=${name}`
        return createReflector<T>({ client, resource, namespace, fieldSelector, trim: withoutNotes, clock, log })
      },
      fetch: async (namespace, name) => withoutNotes(await client.get<T>({ resource, namespace, name }, { timeoutMs: 5_000 })),
    })
  const maps = referencesTo<ConfigMap>('configmap', configMaps, {
    keysOf: pod => references(pod).configMaps,
    folder: deps.folder.configMaps,
    remembered: byKey(memory.remembered.configMaps),
  })
  const keys = referencesTo<Secret>('secret', secrets, {
    keysOf: pod => references(pod).secrets,
    folder: deps.folder.secrets,
    remembered: byKey(memory.remembered.secrets),
  })
  const known = (): KnownObjects => ({
    configMaps: maps.held(),
    secrets: keys.held(),
    tokens: tokens.saved(),
    bindings: claims.saved(),
  })
  // Before the first pod is told of, nothing is known; that is nothing to be remembered.
  let hasPods = false
  const save = () => {
    if (hasPods) memory.save(known)
  }
  const { tokens: remembered } = memory.remembered
  const tokens = createTokens({ api: client, clock, log, remembered, onRenewed: deps.onRenewed, onChange: save })
  const claims = createClaimedVolumes({ api: client, remembered: memory.remembered.bindings, onChange: save })
  const classes = createRuntimeClasses({
    watch: () => createReflector<RuntimeClass>({ client, resource: runtimeClasses, clock, log }),
    clock,
  })
  const release = (uid: string) => {
    maps.release(uid)
    keys.release(uid)
  }
  const follow = (pods: Source<Pod>) =>
    pods.subscribe({
      changed: (before, after) => {
        const uid = before?.metadata.uid ?? ''
        if (before !== undefined && (after?.metadata.uid !== uid || isOver(after))) release(uid)
        if (after === undefined || isStatic(after) || isOver(after)) return
        hasPods = true
        maps.hold(after)
        keys.hold(after)
      },
    })
  const unsubscribe = [maps.subscribe({ changed: save }), keys.subscribe({ changed: save })]
  return {
    ...{ configMaps: maps, secrets: keys, tokens, claims, runtimeClasses: classes, follow },
    stop: () => {
      for (const stop of unsubscribe) stop()
      maps.stop()
      keys.stop()
      tokens.stop()
      classes.stop()
    },
  }
}
