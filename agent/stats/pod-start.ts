// How long pods take to start: from when they are first seen here, and from when they were created, with and without the time for
// which nobody on this node is to blame (pulling images, init containers). Watches the live pods, changes nothing.
// Follows the pod startup latency SLI (sig-scalability/slos/pod_startup_latency.md) as the kubelet measures it.
import type { ContainerStatus } from '../../api/pod-status.ts'
import type { Source } from '../../api/source.ts'
import type { Pod, Volume } from '../../api/types.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { defaultBuckets, type Metrics } from '../../host/metrics.ts'
import { isStaticPod } from './pod-gauges.ts'
import { pluginOf } from './volume-kinds.ts'

const startBuckets = [
  0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
]

interface Starting {
  readonly seenAt: Millis
  readonly pulls: { readonly from: Millis; readonly to: Millis }[]
}

export interface PodStartDeps {
  readonly metrics: Metrics
  readonly live: Pick<Source<Pod>, 'subscribe'>
  readonly clock: Clock
}

export interface PodStarts {
  /** An image of the pod was being pulled from then until now. */
  pulled(podUid: string, from: Millis): void
  stop(): void
}

const began = ({ state, lastState }: ContainerStatus): boolean =>
  state?.running !== undefined || state?.terminated !== undefined || lastState?.terminated !== undefined

/** Every container of the template runs. */
const hasStarted = ({ spec, status }: Pod): boolean => {
  const statuses = status?.containerStatuses ?? []
  return statuses.length === spec.containers.length && statuses.every(it => it.state?.running !== undefined)
}

/** Milliseconds that these spans cover, what overlaps once. */
export const covered = (spans: readonly { readonly from: Millis; readonly to: Millis }[]): number => {
  let [total, until] = [0, Number.NEGATIVE_INFINITY]
  for (const { from, to } of [...spans].sort((a, b) => a.from - b.from)) {
    total += Math.max(to - Math.max(from, until), 0)
    until = Math.max(until, to)
  }
  return total
}

const initRuntime = ({ status }: Pod): number =>
  (status?.initContainerStatuses ?? []).reduce((total, { state }) => {
    const { startedAt, finishedAt } = state?.terminated ?? {}
    return startedAt && finishedAt ? total + Math.max(Date.parse(finishedAt) - Date.parse(startedAt), 0) : total
  }, 0)

/** Volumes that live elsewhere take the time that they take. */
const isStateful = ({ spec }: Pod): boolean => (spec.volumes ?? []).some((volume: Volume) => pluginOf(volume) === undefined)

const isOver = ({ status }: Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed'

export const createPodStarts = ({ metrics, live, clock }: PodStartDeps): PodStarts => {
  const fromSeen = metrics.histogram(
    'kubelet_pod_start_duration_seconds',
    'From a pod being first seen here to its containers running',
    [],
    startBuckets,
  )
  const fromCreated = metrics.histogram(
    'kubelet_pod_start_total_duration_seconds',
    'From the creation of a pod to its containers running',
    [],
    startBuckets,
  )
  const sli = metrics.histogram(
    'kubelet_pod_start_sli_duration_seconds',
    'From the creation of a pod to its containers running, without image pulls and init containers',
    [],
    startBuckets,
  )
  const perPod = metrics.histogram('kubelet_containers_per_pod_count', 'Containers of a pod', [], [1, 2, 4, 8, 16])
  const starting = new Map<string, Starting>()

  const observe = (pod: Pod, { seenAt, pulls }: Starting) => {
    const now = clock.now()
    fromSeen.observe({}, Math.max(now - seenAt, 0) / 1000)
    const createdAt = Date.parse(pod.metadata.creationTimestamp ?? '')
    // nobody waits for a static pod, and its time of creation is that of a file
    if (Number.isNaN(createdAt) || isStaticPod(pod)) return
    fromCreated.observe({}, Math.max(now - createdAt, 0) / 1000)
    if (!isStateful(pod)) sli.observe({}, Math.max(now - createdAt - covered(pulls) - initRuntime(pod), 0) / 1000)
  }

  const changed = (before: Pod | undefined, after: Pod | undefined) => {
    const uid = after?.metadata.uid ?? before?.metadata.uid ?? ''
    if (after === undefined || isOver(after)) return void starting.delete(uid)
    if (before === undefined) {
      perPod.observe({}, after.spec.containers.length)
      // what ran before this daemon did has been measured by the one before
      const all = [...(after.status?.initContainerStatuses ?? []), ...(after.status?.containerStatuses ?? [])]
      if (!all.some(began)) starting.set(uid, { seenAt: clock.now(), pulls: [] })
    }
    const known = starting.get(uid)
    if (known === undefined || !hasStarted(after)) return
    starting.delete(uid)
    observe(after, known)
  }

  const stop = live.subscribe({ changed })
  return { pulled: (podUid, from) => void starting.get(podUid)?.pulls.push({ from, to: clock.now() }), stop }
}

/** How long the worker of a pod took for one round. */
export const podWorkerDuration = (metrics: Metrics) =>
  metrics.histogram(
    'kubelet_pod_worker_duration_seconds',
    'How long bringing one pod in step took',
    ['operation_type'],
    defaultBuckets,
  )
