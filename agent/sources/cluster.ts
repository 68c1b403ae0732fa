// What a node of a cluster should run: the folder's static pods and the apiserver's pods as one source.
// Static pods wait for nobody. The apiserver's come once its first list is whole; until then those remembered from earlier stand in for them
// when it stays away. Mirror pods are never run. Decides who is wanted, not whether there is room.
import { fullName } from '../../api/pod.ts'
import { createStore, keyOf, type Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock, Timer } from '../../host/clock.ts'
import type { Log } from '../../host/log.ts'
import { byText } from '../../host/order.ts'
import { isMirror } from './mirror-marks.ts'

export interface ClusterPodsDeps {
  /** The folder's pods. */
  readonly statics: Source<Pod>
  /** All pods that the apiserver binds to this node, mirrors included. */
  readonly apiserver: Source<Pod>
  /** The apiserver's pods as they were last known (agent/sources/remembered.ts). */
  readonly remembered?: readonly Pod[]
  /** How long the apiserver's first list is waited for before the remembered pods run; 3,000. */
  readonly patienceMs?: number
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
}

export interface ClusterPods extends Source<Pod> {
  /** Resolves when the apiserver's list is in: only then is a pod that nobody names one that nobody wants. */
  readonly complete: Promise<void>
  readonly isComplete: boolean
  stop(): void
}

/**
 * Joins the sources. `synced` is the folder's: whoever waits for it starts static pods at once.
 * Two pods of one name are told as one changed pod with another uid; of a static and an apiserver's pod of one name the static one runs.
 */
export const createClusterPods = (deps: ClusterPodsDeps): ClusterPods => {
  const { statics, apiserver, clock, log } = deps
  const store = createStore<Pod>()
  const standIns = new Map((deps.remembered ?? []).filter(it => !isMirror(it)).map(it => [keyOf(it), it]))
  const { promise: complete, resolve: resolveComplete } = Promise.withResolvers<void>()
  const hidden = new Set<string>()
  let isComplete = false
  let standsIn = false

  const fromApiserver = (namespace: string, name: string): Pod | undefined => {
    if (!isComplete) return standsIn ? standIns.get(`${namespace}/${name}`) : undefined
    const pod = apiserver.get(namespace, name)
    return pod === undefined || isMirror(pod) ? undefined : pod
  }

  const sayHidden = (pod: Pod) => {
    const { uid = '' } = pod.metadata
    if (hidden.has(uid)) return
    hidden.add(uid)
    log.warn(
      { pod: fullName(pod), uid },
      'a static pod has the name of a pod of the apiserver, which does not run until it is free',
    )
  }

  const weigh = (pod: Pod): void => {
    const { namespace = '', name } = pod.metadata
    const ours = statics.get(namespace, name)
    const theirs = fromApiserver(namespace, name)
    if (ours !== undefined && theirs !== undefined) sayHidden(theirs)
    const wanted = ours ?? theirs
    if (wanted === undefined) store.remove(namespace, name)
    else store.put(wanted)
  }

  const weighEither = (before: Pod | undefined, after: Pod | undefined): void => {
    const pod = after ?? before
    if (pod !== undefined) weigh(pod)
  }

  const standIn = () => {
    standsIn = true
    if (standIns.size > 0)
      log.warn({ pods: standIns.size }, 'the apiserver does not answer; the pods that it had last bound to this node run')
    for (const pod of inOrder([...standIns.values()])) weigh(pod)
  }
  const timer: Timer = clock.after(deps.patienceMs ?? 3000, standIn)

  const onComplete = () => {
    timer.cancel()
    isComplete = true
    const listed = inOrder(apiserver.list())
    const gone = [...standIns.values()].filter(it => apiserver.get(it.metadata.namespace ?? '', it.metadata.name) === undefined)
    standIns.clear()
    for (const pod of [...gone, ...listed]) weigh(pod)
    resolveComplete()
  }

  const stops = [
    statics.subscribe({ changed: weighEither, synced: store.markSynced }),
    apiserver.subscribe({
      changed: (before, after) => {
        if (isComplete) weighEither(before, after)
      },
      synced: onComplete,
    }),
  ]

  return {
    synced: store.synced,
    get isSynced() {
      return store.isSynced
    },
    complete,
    get isComplete() {
      return isComplete
    },
    get: store.get,
    list: store.list,
    subscribe: store.subscribe,
    stop: () => {
      timer.cancel()
      for (const stop of stops) stop()
    },
  }
}

const hasStarted = ({ status }: Pod): boolean => status?.startTime !== undefined

/** Those that this node has started already keep their places; then the oldest first. */
const inOrder = (pods: readonly Pod[]): readonly Pod[] =>
  [...pods].sort(
    (a, b) =>
      Number(hasStarted(b)) - Number(hasStarted(a)) ||
      byText(a.metadata.creationTimestamp ?? '', b.metadata.creationTimestamp ?? '') ||
      byText(keyOf(a), keyOf(b)),
  )
