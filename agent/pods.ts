// All pods of the node: a worker for each, admission before it starts, and whoever else has news of a pod (the runtime's events,
// probes, a changed ConfigMap) is passed on to its worker. A pod of the same name waits until the one before it is gone.
// Pods that the runtime knows and nobody wants are ended like any other, once it is known who is wanted.

import { fullName, namespaceOf } from '../api/pod.ts'
import type { PodCondition, PodPhase, PodStatus } from '../api/pod-status.ts'
import type { Source, Store } from '../api/source.ts'
import type { Pod } from '../api/types.ts'
import type { Clock } from '../host/clock.ts'
import type { Log } from '../host/log.ts'
import type { Admission } from './admit.ts'
import { createCalm } from './calm.ts'
import { ownedConditions } from './conditions.ts'
import type { PodSketch } from './observe.ts'
import type { OnPodEvent } from './pod-event.ts'
import { qosClass } from './qos.ts'
import { createRoom, type RoomDeps } from './room.ts'
import { isAlive, nothingSeen } from './seen.ts'
import { rfc3339, type Verdict } from './status.ts'
import { type Ending, PodWorker, type WorkerDeps } from './worker.ts'

/** What the node should run; where the list may be unfinished when it is synced, `complete` tells when it is not (sources/cluster.ts). */
export type WantedPods = Source<Pod> & { readonly isComplete?: boolean; readonly complete?: Promise<void> }

export interface PodsDeps {
  readonly wanted: WantedPods
  /** Where pods with their live status are put for everybody else. */
  readonly live: Store<Pod>
  readonly worker: Omit<WorkerDeps, 'publish' | 'onLeft' | 'whenCalm' | 'onGone' | 'onResized' | 'onOverdue'>
  readonly statusOf: (worker: PodWorker, before: PodStatus | undefined) => PodStatus
  readonly admit: (pod: Pod, active: readonly Pod[]) => Admission
  readonly onStage: (pod: Pod, stage: 'seen' | 'admitted' | 'rejected' | 'ready' | 'resized' | 'gone', detail?: string) => void
  /** What a pod's owner should read of it. */
  readonly onEvent?: OnPodEvent
  /** After each publication of a pod whose containers were looked at: whoever follows containers (probes) looks again. */
  readonly onLooked: (worker: PodWorker) => void
  /** Labels or annotations of a pod that runs have changed: files that show them are out of date. */
  readonly onMarksChanged?: (worker: PodWorker) => void
  /** Reads the Node anew, as admission sees it; resolves also when it cannot. Absent without a control plane. */
  readonly lookAtNode?: () => Promise<void>
  readonly clock: Clock
  readonly log: Log
}

export interface Pods {
  /**
   * Begins: pods that the runtime runs already are admitted first, so that a restart never turns a running pod away.
   * @returns resolves when each of these was looked at once, or could not be: what is live is no half of the truth then
   */
  start(runtimePods: ReadonlyMap<string, PodSketch>): Promise<void>
  /** The runtime's news of one pod. */
  poke(podUid: string): void
  /** What kept resizes waiting may be over: the node runs short no more. */
  retryResizes(): void
  /** Works the status out anew without looking at the runtime; for probe results. */
  republish(podUid: string): void
  worker(podUid: string): PodWorker | undefined
  workers(): readonly PodWorker[]
  /** A pod that the runtime knows: ended when nobody wants it. */
  adopt(sketch: PodSketch): void
}

export const createPods = (deps: PodsDeps): Pods => {
  const workers = new Map<string, PodWorker>()
  const rejected = new Map<string, Verdict>()
  /** Pods that were deleted and of which nothing is left here, until their source knows it too. */
  const finished = new Set<string>()
  const unseen = new Set<string>()
  /** Pods that wait for the Node to be looked at. */
  const asked = new Set<string>()
  const { promise: adopted, resolve: resolveAdopted } = Promise.withResolvers<void>()
  let started = false
  const onEvent: RoomDeps['onEvent'] = (...event) => deps.onEvent?.(...event)
  const active = () => [...workers.values()].filter(it => it.phase !== 'terminated').map(it => it.pod)
  const room = createRoom({ admit: deps.admit, active, onEvent, log: deps.log })

  const publish = (worker: PodWorker): PodStatus => {
    const status = tell(worker)
    unseen.delete(worker.uid)
    if (worker.phase === 'terminated') makeUseOfRoom(worker.uid)
    calm.look()
    if (started && unseen.size === 0) resolveAdopted()
    return status
  }

  const tell = (worker: PodWorker): PodStatus => {
    const name = { namespace: namespaceOf(worker.pod), name: worker.pod.metadata.name }
    const current = deps.live.get(name.namespace, name.name)
    const before = current?.metadata.uid === worker.uid ? current : undefined
    // What was said last, by whoever ran it before this daemon, is what goes on.
    const said = before?.status ?? worker.pod.status
    const status = said !== undefined && isSettled(worker) ? { ...said, ...observed(worker.pod) } : deps.statusOf(worker, said)
    if (worker.hasLeft) return status
    deps.onLooked(worker)
    // An old pod of the same name never overwrites what is known of its successor.
    if (current !== undefined && before === undefined && workers.get(current.metadata.uid ?? '')?.phase === 'syncing')
      return status
    const isReady = (it: PodStatus | undefined) => it?.conditions?.some(c => c.type === 'Ready' && c.status === 'True') === true
    if (isReady(status) && !isReady(before?.status)) deps.onStage(worker.pod, 'ready')
    const metadata = worker.ending?.removed ? withDeletion(worker) : worker.pod.metadata
    const { creationTimestamp = status.startTime } = metadata
    const after: Pod = {
      ...worker.pod,
      metadata: { ...metadata, ...(creationTimestamp && { creationTimestamp }) },
      status: held(worker, status, said),
    }
    if (before === undefined || !same(before, after)) deps.live.put(after)
    return status
  }

  const isEnding = (it: PodWorker) => it.phase === 'terminating'
  const calm = createCalm({ isCalm: () => !workers.values().some(isEnding), longestMs: longestPutOffMs, clock: deps.clock })

  const onLeft = (worker: PodWorker) => {
    const { namespace = 'default', name } = worker.pod.metadata
    if (isDeleted(worker.pod) && deps.wanted.get(namespace, name)?.metadata.uid === worker.uid) finished.add(worker.uid)
    const last = deps.live.get(namespace, name)
    deps.onStage(last?.metadata.uid === worker.uid ? last : worker.pod, 'gone')
    if (last?.metadata.uid === worker.uid) deps.live.remove(namespace, name)
    beginSuccessor(worker)
  }

  const onGone = (worker: PodWorker) => {
    workers.delete(worker.uid)
    // The very same pod may be wanted again.
    beginSuccessor(worker)
  }

  const beginSuccessor = ({ pod }: PodWorker) => {
    const successor = deps.wanted.get(namespaceOf(pod), pod.metadata.name)
    if (successor !== undefined) begin(successor)
  }

  const newWorker = (pod: Pod): PodWorker => {
    const onResized = (it: PodWorker) => {
      deps.onStage(it.pod, 'resized')
      onEvent(it.pod, 'Normal', 'ResizeCompleted', 'Pod resize completed')
    }
    const onOverdue = (it: PodWorker, { reason, message }: Verdict) => onEvent(it.pod, 'Normal', reason, message)
    const worker = new PodWorker(pod, {
      ...deps.worker,
      ...{ publish, onLeft, whenCalm: calm.when, onGone, onResized, onOverdue },
    })
    workers.set(worker.uid, worker)
    return worker
  }

  const predecessor = (pod: Pod): PodWorker | undefined =>
    [...workers.values()].find(it => !it.hasLeft && it.uid !== pod.metadata.uid && fullName(it.pod) === fullName(pod))

  /** A label of the Node may have brought the pod here before this node has heard of it: then it is asked for, once. */
  const askAgain = (pod: Pod, { reason }: Verdict): boolean => {
    const { namespace = 'default', name, uid = '' } = pod.metadata
    if (reason !== 'NodeAffinity' || deps.lookAtNode === undefined || asked.has(uid)) return false
    asked.add(uid)
    void deps.lookAtNode().finally(() => {
      const wanted = deps.wanted.get(namespace, name)
      if (wanted?.metadata.uid === uid) begin(wanted)
      asked.delete(uid)
    })
    return true
  }

  const begin = (pod: Pod) => {
    const uid = pod.metadata.uid ?? ''
    const isKnown = workers.has(uid) || rejected.has(uid) || finished.has(uid) || room.isWaiting(uid)
    if (isKnown || predecessor(pod) !== undefined) return
    deps.onStage(pod, 'seen')
    // Of a pod that is over already nothing starts; what may be left of it is taken away.
    const ending = endingOf(pod)
    if (ending !== undefined) return newWorker(pod).end(ending)
    const answer = room.ask(pod)
    if (answer.is === 'refused') return askAgain(pod, answer.verdict) ? undefined : reject(pod, answer.verdict)
    if (answer.is === 'waiting') return giveWay(answer.victims, answer.verdict)
    deps.onStage(pod, 'admitted')
    const worker = newWorker(answer.pod)
    worker.poke()
    if (answer.pod !== pod) take(worker, pod)
  }

  const giveWay = (victims: readonly Pod[], verdict: Verdict) => {
    for (const victim of victims) {
      const ending = { grace: graceOf(victim), why: verdict.message, removed: false, verdict }
      workers.get(victim.metadata.uid ?? '')?.end(ending)
    }
  }

  /** A pod has ended: those that waited for its room, and resizes that were put off. */
  const makeUseOfRoom = (ended: string) => {
    for (const pod of room.ended(ended)) begin(pod)
    retryResizes()
  }

  const retryResizes = () => {
    for (const worker of workers.values()) {
      if (worker.resize.pending?.reason !== 'Deferred' || worker.phase !== 'syncing') continue
      const pod = deps.wanted.get(namespaceOf(worker.pod), worker.pod.metadata.name)
      if (pod?.metadata.uid === worker.uid) take(worker, pod)
    }
  }

  const reject = (pod: Pod, verdict: Verdict) => {
    const uid = pod.metadata.uid ?? ''
    rejected.set(uid, verdict)
    deps.onStage(pod, 'rejected', `${verdict.reason}: ${verdict.message}`)
    deps.log.warn({ pod: fullName(pod), reason: verdict.reason }, `the pod was rejected: ${verdict.message}`)
    onEvent(pod, 'Warning', verdict.reason, verdict.message)
    const status: PodStatus = {
      phase: verdict.phase,
      reason: verdict.reason,
      message: `Pod was rejected: ${verdict.message}`,
      startTime: rfc3339(deps.clock.now()),
      qosClass: qosClass(pod),
      ...observed(pod),
    }
    deps.live.put({ ...pod, status })
  }

  const forgetRejected = (pod: Pod) => {
    const { namespace = 'default', name, uid = '' } = pod.metadata
    if (rejected.delete(uid) && deps.live.get(namespace, name)?.metadata.uid === uid) deps.live.remove(namespace, name)
  }

  const drop = (pod: Pod, why: string) => {
    const uid = pod.metadata.uid ?? ''
    forgetRejected(pod)
    finished.delete(uid)
    room.forget(uid)
    workers.get(uid)?.end({ grace: graceOf(pod), why, removed: true })
  }

  /** A newer version of a pod that has a worker: what it says of the node's own doing is no news to the node. */
  const take = (worker: PodWorker, pod: Pod) => {
    const { pod: before, resize } = worker
    const ending = endingOf(pod)
    if (ending !== undefined) {
      worker.pod = pod
      worker.end(ending)
    } else {
      const granted = room.resize(before, resize, pod)
      worker.resize = granted.state
      if (same(before.spec, granted.pod.spec)) worker.pod = granted.pod
      else worker.update(granted.pod)
    }
    const { labels, annotations, generation } = pod.metadata
    const remarked = !same([before.metadata.labels, before.metadata.annotations], [labels, annotations])
    if (remarked) deps.onMarksChanged?.(worker)
    if (
      remarked ||
      resize !== worker.resize ||
      before.metadata.generation !== generation ||
      !same(othersConditions(before), othersConditions(pod))
    )
      publish(worker)
  }

  const changed = (before: Pod | undefined, after: Pod | undefined) => {
    if (!started) return
    if (before !== undefined && before.metadata.uid !== after?.metadata.uid)
      drop(before, after ? 'its manifest changed' : 'its manifest is gone')
    if (after === undefined) return
    const uid = after.metadata.uid ?? ''
    const worker = workers.get(uid)
    if (worker !== undefined) return worker.ending?.removed === true && !isDeleted(after) ? undefined : take(worker, after)
    if (room.isWaiting(uid)) return room.renew(after)
    if (!rejected.has(uid)) return begin(after)
    if (isDeleted(after)) {
      finished.add(uid)
      return forgetRejected(after)
    }
    const { status } = deps.live.get(namespaceOf(after), after.metadata.name) ?? {}
    if (status !== undefined) deps.live.put({ ...after, status: { ...status, ...observed(after) } })
  }

  const adopt = (sketch: PodSketch) => {
    if (deps.wanted.isComplete === false) return
    if (workers.has(sketch.uid) || deps.wanted.get(sketch.namespace, sketch.name)?.metadata.uid === sketch.uid) return
    deps.log.info({ pod: `${sketch.namespace}/${sketch.name}`, uid: sketch.uid }, 'a pod runs that nobody wants; it is ended')
    const metadata = { name: sketch.name, namespace: sketch.namespace, uid: sketch.uid }
    newWorker({ metadata, spec: { containers: [] } }).end({ grace: orphanGrace, why: 'no manifest asks for it', removed: true })
  }

  return {
    start: runtimePods => {
      started = true
      const wanted = [...deps.wanted.list()]
      const runs = (pod: Pod) => runtimePods.has(pod.metadata.uid ?? '')
      for (const pod of wanted.filter(runs)) begin(pod)
      for (const sketch of runtimePods.values()) adopt(sketch)
      for (const uid of workers.keys()) unseen.add(uid)
      for (const pod of wanted.filter(pod => !runs(pod))) begin(pod)
      deps.wanted.subscribe({ changed })
      if (unseen.size === 0) resolveAdopted()
      void deps.wanted.complete?.then(() => {
        for (const sketch of runtimePods.values()) adopt(sketch)
      })
      return adopted
    },
    poke: podUid => workers.get(podUid)?.poke(),
    retryResizes,
    republish: podUid => {
      const worker = workers.get(podUid)
      if (worker !== undefined) publish(worker)
    },
    worker: podUid => workers.get(podUid),
    workers: () => [...workers.values()],
    adopt,
  }
}

/** A pod is told to have ended when nothing of it runs any more: whoever counts on that may take what it held. */
const held = ({ seen }: PodWorker, status: PodStatus, before: PodStatus | undefined): PodStatus => {
  if (!isTerminal(status.phase) || isTerminal(before?.phase) || !seen.containers.some(isAlive)) return status
  const { reason: _, message: __, ...rest } = status
  return {
    ...rest,
    phase: before?.phase ?? 'Running',
    ...(before?.reason !== undefined && { reason: before.reason }),
    ...(before?.message !== undefined && { message: before.message }),
  }
}

/** A pod that could not be looked at yet is not one without containers; of one that was over before, there is no more to say. */
const isSettled = ({ seen, pod: { status } }: PodWorker): boolean => {
  const isRunning = status?.containerStatuses?.some(it => it.state?.running !== undefined) === true
  return seen === nothingSeen || (isTerminal(status?.phase) && seen.containers.length === 0 && !isRunning)
}

/** Which version of the spec a status speaks of. */
const observed = ({ metadata: { generation } }: Pod): Pick<PodStatus, 'observedGeneration'> =>
  generation === undefined ? {} : { observedGeneration: generation }

const isTerminal = (phase: PodPhase | undefined): boolean => phase === 'Succeeded' || phase === 'Failed'

const isDeleted = ({ metadata }: Pod): boolean => metadata.deletionTimestamp !== undefined

/** Why a pod is over as its source has it: deleted by somebody, or ended for good in an earlier life. */
const endingOf = (pod: Pod): Ending | undefined => {
  if (isDeleted(pod)) return { grace: graceOf(pod), why: 'it was deleted', removed: true }
  if (!isTerminal(pod.status?.phase)) return undefined
  return { grace: graceOf(pod), why: `the pod has ${pod.status?.phase?.toLowerCase()}`, removed: false }
}

const othersConditions = ({ status }: Pod): readonly PodCondition[] =>
  (status?.conditions ?? []).filter(it => !ownedConditions.has(it.type))

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

/** For how long the remains of pods that are gone give way to pods that end. */
const longestPutOffMs = 3000

/** The grace period of a pod of which only the runtime's labels are left. */
const orphanGrace = 30

/** Never less than the second that the kubelet gives: StopContainer with 0 would kill without a signal. */
const graceOf = (pod: Pod): number =>
  Math.max(pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30, 1)

const withDeletion = (worker: PodWorker): Pod['metadata'] => ({
  ...worker.pod.metadata,
  deletionTimestamp: worker.pod.metadata.deletionTimestamp ?? rfc3339(worker.endingSince),
  deletionGracePeriodSeconds: worker.ending?.grace ?? 0,
})
