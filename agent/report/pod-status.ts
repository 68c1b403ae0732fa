// Tells the apiserver what becomes of this node's pods: status patches on change, and the last delete when nothing of a pod is left.
// One call in flight per pod and the newest status wins; a bounded number at once. What cannot be told is kept and told later.
// Owns no status: the live store does. Static pods are reported under the uid of their mirror.
// Follows the kubelet's status manager (pkg/kubelet/status/status_manager.go of 1.36), without its GET before every patch.
import { type KubeApi, type ObjectRef, pods as podsResource } from '../../api/kube/api.ts'
import { fullName } from '../../api/pod.ts'
import type { Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock, Timer } from '../../host/clock.ts'
import { describe, isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { isMirror, isStatic, mirrors } from '../sources/mirror-marks.ts'
import { compact, type StatusPatch, statusPatch } from './pod-patch.ts'

export interface PodReporterDeps {
  readonly api: Pick<KubeApi, 'get' | 'patch' | 'delete'> & {
    /** Tells when the apiserver answers again, where that is known; returns how to stop. */
    readonly onBack?: (run: () => void) => () => void
  }
  /** Pods with their live status; a pod that leaves it has left nothing on this node. */
  readonly live: Source<Pod>
  /** The apiserver's pods of this node, mirrors included. */
  readonly apiserver: Source<Pod>
  /** Calls at once; 10. */
  readonly parallel?: number
  readonly clock: Pick<Clock, 'after' | 'monotonic'>
  readonly log: Log
  /** How long a status took from its change to the apiserver's answer, for metrics. */
  readonly onWritten?: (pod: Pod, tookMs: number) => void
}

export interface PodReporter {
  /** Tries what waits for its pause now; for whoever knows that the apiserver is back. */
  retry(): void
  /** Pods of which the apiserver has not been told the latest. */
  pending(): number
  stop(): void
}

/** What is to be told of one pod, by its uid on this node. */
interface Entry {
  readonly uid: string
  pod: Pod
  /** Nothing of the pod is left on this node. */
  finished: boolean
  busy: boolean
  /** When the status changed that is not told yet. */
  since: number | undefined
  /** The pod as the last answer showed it, which the watch may not have told yet. */
  answered: Pod | undefined
  /** What was sent last, and the status that came of it: what the apiserver writes in other words is not sent again. */
  told: { readonly sent: string; readonly became: string } | undefined
  /** The uid under which the apiserver no longer knows the pod. */
  lost: string | undefined
  failures: number
  pause: Timer | undefined
}

const firstPauseMs = 500
const longestPauseMs = 10_000
/** What the apiserver refuses as it is will hardly be taken as it is a second later. */
const refusedPauseMs = 60_000

const text = (value: unknown): string => JSON.stringify(compact(value)) ?? ''

/** Versions of one object compare as numbers (KEP-5504); what does not is taken for older. */
const isNewer = (a: Pod, b: Pod): boolean => Number(a.metadata.resourceVersion ?? 0) > Number(b.metadata.resourceVersion ?? 0)

/** Whether the apiserver still holds what it made of the very status that is true now. */
const isTold = ({ told, pod }: Entry, object: Pod): boolean =>
  told !== undefined && told.became === text(object.status) && told.sent === text(pod.status)

/** What is remembered of an answer; its spec is one that the pod has already. */
const slim = ({ metadata, status }: Pod, { spec }: Pod): Pod => {
  const { managedFields: _, ...kept } = metadata as Pod['metadata'] & { managedFields?: unknown }
  return { metadata: kept, spec, ...(status && { status }) }
}

type Task = { readonly do: 'patch'; readonly patch: StatusPatch } | { readonly do: 'delete' }

/** Starts to report at once; the first statuses go out as soon as the apiserver's pods are known. */
export const createPodReporter = (deps: PodReporterDeps): PodReporter => {
  const { api, live, apiserver, clock, log } = deps
  const parallel = deps.parallel ?? 10
  const entries = new Map<string, Entry>()
  const waiting = new Set<Entry>()
  let running = 0
  let isAway = false
  let stopped = false

  /** The object of the apiserver that shows this pod, as it was last heard of. */
  const shown = (entry: Entry): Pod | undefined => {
    const { namespace = '', name } = entry.pod.metadata
    const listed = apiserver.get(namespace, name)
    if (listed === undefined) return undefined
    const isOurs = isStatic(entry.pod) ? mirrors(listed, entry.pod) : listed.metadata.uid === entry.uid
    if (!isOurs || listed.metadata.uid === entry.lost) return undefined
    const { answered } = entry
    if (answered === undefined || answered.metadata.uid !== listed.metadata.uid) return listed
    return isNewer(answered, listed) ? answered : listed
  }

  const taskFor = (entry: Entry, object: Pod): Task | undefined => {
    const { status } = entry.pod
    const patch = status && statusPatch({ ...entry.pod, metadata: object.metadata }, object.status, status)
    if (patch !== undefined && !isTold(entry, object)) return { do: 'patch', patch }
    const isDeleted = object.metadata.deletionTimestamp !== undefined && !isMirror(object)
    return entry.finished && isDeleted ? { do: 'delete' } : undefined
  }

  const step = (entry: Entry): void => {
    if (stopped || entry.busy || entry.pause !== undefined || !apiserver.isSynced) return
    const object = shown(entry)
    const task = object && taskFor(entry, object)
    if (object === undefined || task === undefined) {
      entry.since = undefined
      if (entry.finished) entries.delete(entry.uid)
      return
    }
    if (running >= parallel) return void waiting.add(entry)
    void carryOut(entry, object, task)
  }

  const carryOut = async (entry: Entry, object: Pod, task: Task): Promise<void> => {
    running++
    entry.busy = true
    const { namespace = '', name, uid = '' } = object.metadata
    const ref: ObjectRef = { resource: podsResource, namespace, name }
    try {
      if (task.do === 'patch') await tell(entry, ref, task.patch)
      else {
        await api.delete(ref, { gracePeriodSeconds: 0, preconditions: { uid } })
        entry.lost = uid
      }
      entry.failures = 0
      if (isAway) log.info({}, 'the apiserver takes pod statuses again')
      isAway = false
    } catch (error) {
      await failed(entry, object, ref, error)
    }
    entry.busy = false
    running--
    step(entry)
    for (const next of waiting) {
      if (running >= parallel) break
      waiting.delete(next)
      step(next)
    }
  }

  const tell = async (entry: Entry, ref: ObjectRef, patch: StatusPatch): Promise<void> => {
    const { pod, since = clock.monotonic() } = entry
    entry.since = undefined
    try {
      entry.answered = slim(await api.patch<Pod>({ ...ref, subresource: 'status' }, patch, 'strategic'), pod)
    } catch (error) {
      entry.since = since
      throw error
    }
    entry.told = { sent: text(pod.status), became: text(entry.answered.status) }
    deps.onWritten?.(pod, clock.monotonic() - since)
  }

  const failed = async (entry: Entry, object: Pod, ref: ObjectRef, error: unknown): Promise<void> => {
    const fields = { pod: fullName(object), err: error }
    if (isFault(error, 'not-found')) {
      entry.lost = object.metadata.uid
      return
    }
    if (isFault(error, 'api-conflict') && entry.failures === 0) {
      entry.failures++
      return await lookAgain(entry, object, ref)
    }
    entry.failures++
    if (!isFault(error, 'api-away', 'api-busy')) log.warn(fields, `the pod's status was not taken: ${describe(error)}`)
    else if (!isAway) {
      isAway = true
      log.warn(fields, `pod statuses cannot be told to the apiserver; they are told when it answers: ${describe(error)}`)
    }
    const grown = Math.min(firstPauseMs * 2 ** (entry.failures - 1), longestPauseMs)
    const known = isFault(error) ? error.retryAfterMs : undefined
    const pauseMs = known ?? (isFault(error, 'api-refused', 'api-forbidden') ? refusedPauseMs : grown)
    entry.pause = clock.after(pauseMs, () => resume(entry))
  }

  /** Somebody else was there first: with the pod as it is now, the next try starts from the truth. */
  const lookAgain = async (entry: Entry, object: Pod, ref: ObjectRef): Promise<void> => {
    try {
      const now = await api.get<Pod>(ref)
      if (now.metadata.uid === object.metadata.uid) entry.answered = slim(now, entry.pod)
      else entry.lost = object.metadata.uid
    } catch (error) {
      await failed(entry, object, ref, error)
    }
  }

  const resume = (entry: Entry) => {
    entry.pause?.cancel()
    entry.pause = undefined
    step(entry)
  }

  const retry = () => {
    for (const entry of [...entries.values()]) if (entry.pause !== undefined) resume(entry)
  }

  const entryOf = (pod: Pod): Entry => {
    const uid = pod.metadata.uid ?? ''
    return entries.getOrInsertComputed(uid, () => ({
      uid,
      pod,
      finished: false,
      busy: false,
      since: undefined,
      answered: undefined,
      told: undefined,
      lost: undefined,
      failures: 0,
      pause: undefined,
    }))
  }

  const onLive = (before: Pod | undefined, after: Pod | undefined) => {
    if (before !== undefined && before.metadata.uid !== after?.metadata.uid) {
      const entry = entryOf(before)
      entry.finished = true
      // What was refused before may matter no more: the end is told at once.
      resume(entry)
    }
    if (after === undefined) return
    const entry = entryOf(after)
    const isRefused = entry.pause !== undefined && !isAway
    entry.pod = after
    entry.finished = false
    entry.since ??= clock.monotonic()
    if (isRefused) resume(entry)
    else step(entry)
  }

  const onApiserver = (_: Pod | undefined, after: Pod | undefined) => {
    if (after === undefined) return
    // Whoever tells of changes takes them too.
    if (isAway) retry()
    const { namespace = '', name, uid = '' } = after.metadata
    const entry = entries.get(uid) ?? entries.get(live.get(namespace, name)?.metadata.uid ?? '')
    if (entry !== undefined) step(entry)
  }

  const stops = [
    live.subscribe({ changed: onLive }),
    apiserver.subscribe({
      changed: onApiserver,
      synced: () => {
        for (const entry of [...entries.values()]) step(entry)
      },
    }),
  ]
  if (api.onBack !== undefined) stops.push(api.onBack(retry))
  return {
    retry,
    pending: () => [...entries.values()].filter(it => it.busy || it.since !== undefined).length,
    stop: () => {
      stopped = true
      for (const stop of stops) stop()
      for (const { pause } of entries.values()) pause?.cancel()
    },
  }
}
