// Shows static pods in the apiserver: one mirror pod for each, made anew when somebody deletes it, taken away when its pod is gone.
// Reports no status (pod-status.ts does, under the mirror's uid) and runs nothing: the folder decides what runs.
// Follows the kubelet's mirror client and NodeRestriction's rules for it (pkg/kubelet/pod/mirror_client.go of 1.36; KEP-1314).
import { type KubeApi, pods as podsResource } from '../../api/kube/api.ts'
import type { OwnerReference } from '../../api/meta.ts'
import { fullName } from '../../api/pod.ts'
import { keyOf, type Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock, Timer } from '../../host/clock.ts'
import { describe, except } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { configHashAnnotation } from '../sources/identity.ts'
import { configMirrorAnnotation, isMirror, isStatic, mirrors } from '../sources/mirror-marks.ts'

export interface MirrorsDeps {
  readonly api: Pick<KubeApi, 'create' | 'delete'>
  /** The folder's pods. */
  readonly statics: Source<Pod>
  /** The apiserver's pods of this node, mirrors included. */
  readonly apiserver: Source<Pod>
  /** Pods with their live status: the mirror of a pod that still ends stays. */
  readonly live: Source<Pod>
  readonly nodeName: string
  /** The Node's uid, which a mirror has to name as its owner; undefined until the Node is registered. */
  readonly nodeUid: () => string | undefined
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
}

export interface Mirrors {
  /** Looks at every static pod again; to be called when the Node was registered. */
  retry(): void
  stop(): void
}

const firstPauseMs = 1000
const longestPauseMs = 60_000
/** How long the watch may take to tell of what was just done. */
const patienceMs = 10_000

// Taints that evict would only make the apiserver delete what is made again at once.
const staysOnTaints = { operator: 'Exists', effect: 'NoExecute' }

/** The mirror of a static pod as it is to be created. */
export const toMirror = (pod: Pod, owner: OwnerReference): Pod => {
  const { name, namespace = 'default', labels, annotations = {} } = pod.metadata
  const { [configHashAnnotation]: hash = '' } = annotations
  const tolerations = [...(pod.spec.tolerations ?? []), staysOnTaints]
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      ...(labels && { labels }),
      annotations: { ...annotations, [configMirrorAnnotation]: hash },
      ownerReferences: [owner],
    },
    spec: { ...pod.spec, nodeName: owner.name, tolerations },
  }
}

/** Begins once folder and apiserver are both known; what fails is tried again after a growing pause. */
export const createMirrors = (deps: MirrorsDeps): Mirrors => {
  const { api, statics, apiserver, live, nodeName, clock, log } = deps
  /** Names that are worked on, and whether news came meanwhile. */
  const busy = new Map<string, boolean>()
  const failures = new Map<string, number>()
  const timers = new Map<string, Timer>()
  let stopped = false

  const isReady = () => !stopped && statics.isSynced && apiserver.isSynced

  /** What has to be done for one name, if anything. */
  const workFor = (namespace: string, name: string): (() => Promise<unknown>) | undefined => {
    const pod = statics.get(namespace, name)
    const listed = apiserver.get(namespace, name)
    const running = live.get(namespace, name)
    if (listed === undefined) {
      const uid = deps.nodeUid()
      if (pod === undefined || uid === undefined) return undefined
      return () => create(toMirror(pod, { apiVersion: 'v1', kind: 'Node', name: nodeName, uid, controller: true }))
    }
    if (!isMirror(listed)) return undefined
    const isRight = pod !== undefined && mirrors(listed, pod) && listed.metadata.deletionTimestamp === undefined
    const showsAnother = running !== undefined && isStatic(running) && running.metadata.uid !== pod?.metadata.uid
    return isRight || showsAnother ? undefined : () => remove(listed)
  }

  const create = async (mirror: Pod) => {
    const { namespace = '', name } = mirror.metadata
    // Made before, and the watch has not told of it yet: then it will.
    await except(api.create({ resource: podsResource, namespace, name }, mirror), 'already-exists')
    log.info({ pod: fullName(mirror) }, 'the static pod is shown in the apiserver')
  }

  const remove = async (mirror: Pod) => {
    const { namespace = '', name, uid = '' } = mirror.metadata
    const how = { gracePeriodSeconds: 0, preconditions: { uid } }
    await except(api.delete({ resource: podsResource, namespace, name }, how), 'not-found', 'api-conflict')
  }

  const look = (namespace: string, name: string): void => {
    const key = `${namespace}/${name}`
    if (busy.has(key)) return void busy.set(key, true)
    if (!isReady() || timers.has(key)) return
    const work = workFor(namespace, name)
    if (work !== undefined) void carryOut(key, work)
  }

  const carryOut = async (key: string, work: () => Promise<unknown>): Promise<void> => {
    busy.set(key, false)
    try {
      await work()
      failures.delete(key)
      wait(key, patienceMs)
    } catch (error) {
      const failed = (failures.get(key) ?? 0) + 1
      failures.set(key, failed)
      if (failed === 1) log.warn({ pod: key, err: error }, `the static pod cannot be shown in the apiserver: ${describe(error)}`)
      wait(key, Math.min(firstPauseMs * 2 ** (failed - 1), longestPauseMs))
    }
    const hasNews = busy.get(key) === true && !failures.has(key)
    busy.delete(key)
    if (hasNews) lookNow(key)
  }

  const wait = (key: string, ms: number) => {
    timers.get(key)?.cancel()
    timers.set(
      key,
      clock.after(ms, () => lookNow(key)),
    )
  }

  const lookNow = (key: string) => {
    timers.get(key)?.cancel()
    timers.delete(key)
    const [namespace = '', name = ''] = key.split('/')
    look(namespace, name)
  }

  const retry = () => {
    if (isReady()) for (const it of [...statics.list(), ...apiserver.list().filter(isMirror)]) lookNow(keyOf(it))
  }

  const onChange = (before: Pod | undefined, after: Pod | undefined) => {
    const pod = after ?? before
    if (pod !== undefined && (isStatic(pod) || isMirror(pod))) lookNow(keyOf(pod))
  }

  const stops = [statics, apiserver].map(source => source.subscribe({ changed: onChange, synced: retry }))
  stops.push(
    live.subscribe({
      changed: (before, after) => {
        // Only an end frees a name.
        if (before !== undefined && isStatic(before) && before.metadata.uid !== after?.metadata.uid) lookNow(keyOf(before))
      },
    }),
  )
  return {
    retry,
    stop: () => {
      stopped = true
      for (const stop of stops) stop()
      for (const timer of timers.values()) timer.cancel()
    },
  }
}
