// The pods' half of the daemon, put together: sources of wanted pods in, live pods out, the runtime and the machine in between.
// main.ts builds what is handed in here and starts it; nothing here reads flags, files or signals.

import type { Cri } from '../api/cri/cri.ts'
import type { LinuxContainerResources } from '../api/cri/types.ts'
import type { KubeObject } from '../api/meta.ts'
import { namespaceOf, templateContainers } from '../api/pod.ts'
import type { PodStatus } from '../api/pod-status.ts'
import { keyOf, type Source, type Store } from '../api/source.ts'
import type { ConfigMap, Container, Pod, Secret } from '../api/types.ts'
import type { Clock, Millis, Seconds } from '../host/clock.ts'
import { describe } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import type { StateFile } from '../host/state-file.ts'
import { createHttpSender } from '../probes/http.ts'
import { toEventMessage } from '../probes/probe.ts'
import { createProber, type ProbeReport, type Prober, type ProbeTarget, type SavedResult } from '../probes/table.ts'
import type { Admission } from './admit.ts'
import type { PodCgroups } from './cgroups.ts'
import { createFollower } from './follow.ts'
import { type HookDeps, runHook } from './hooks.ts'
import type { Images } from './images.ts'
import { createObserver } from './observe.ts'
import { createOomWitness } from './oom.ts'
import type { Parts } from './parts.ts'
import type { OnPodEvent } from './pod-event.ts'
import type { PodLogs } from './podlogs.ts'
import { createPods, type Pods, type WantedPods } from './pods.ts'
import { qosClass } from './qos.ts'
import { latest } from './seen.ts'
import { configSeenAnnotation } from './sources/identity.ts'
import { podStatus, type Verdict } from './status.ts'
import type { PodView } from './step-context.ts'
import { createSteps } from './steps.ts'
import type { Timeline } from './timeline.ts'
import type { Volumes } from './volumes/volumes.ts'
import type { PodWorker } from './worker.ts'

export interface AgentDeps {
  readonly wanted: WantedPods
  /** Filled here: pods with their live status. */
  readonly live: Store<Pod>
  readonly configMaps: Source<ConfigMap>
  readonly secrets: Source<Secret>
  readonly runtime: Cri
  /** The runtime's name for a pod's RuntimeClass; absent: there are no such classes. */
  readonly runtimeHandler?: (pod: Pod) => Promise<string>
  readonly parts: Parts
  readonly images: Images
  readonly volumes: Volumes
  readonly cgroups: PodCgroups
  readonly logs: PodLogs
  readonly timeline: Timeline
  readonly probeMemory: Pick<StateFile<readonly SavedResult[]>, 'remembered' | 'save'>
  /** Reads the Node anew, as `admit` sees it. */
  readonly lookAtNode?: () => Promise<void>
  readonly admit: (pod: Pod, active: readonly Pod[]) => Admission
  /** The figures that a container is to run with, and what memory it uses now: for a resize in place. */
  readonly resources?: (pod: Pod, container: Container) => LinuxContainerResources
  readonly memoryUsed?: (containerId: string) => Promise<number>
  readonly limits: { readonly longestPauseMs: number; readonly keepDead: number }
  readonly nodeIPs: () => readonly string[]
  readonly startedAt: Millis
  readonly clock: Clock
  readonly log: Log
  /** For metrics. */
  readonly onProbed?: (report: ProbeReport) => void
  readonly onEvent: OnPodEvent
}

export interface Evicting {
  readonly message: string
  /** A second unless told otherwise. */
  readonly grace?: Seconds
  /** Of the Event. */
  readonly annotations?: Readonly<Record<string, string>>
  /** The node runs short, the pod itself has broken no limit: its owner may count that as a disruption. */
  readonly isDisruption?: boolean
}

export interface Agent {
  readonly pods: Pods
  readonly prober: Prober
  /** Feed of the runtime's events. */
  readonly follower: ReturnType<typeof createFollower>
  /** Waits for the runtime and for every source, then adopts what runs and starts what is missing. */
  start(signal: AbortSignal): Promise<void>
  /** Ends a pod that takes what the node needs; its status says Evicted and why. */
  evict(pod: Pod, how: Evicting): void
  /** What the pod's volumes show has changed. */
  refreshVolumes(podUid: string): void
  stop(): void
}

/** A runtime that does not answer for one pod must not keep the others' Services from being routed. */
const longestAdoptionMs = 10_000

export const createAgent = (deps: AgentDeps): Agent => {
  const { runtime, clock, log, timeline, live } = deps
  const oom = createOomWitness(deps.cgroups.oomKillsOfEnded)
  const observer = createObserver({ runtime, oom, clock })
  const prober = createProber({
    cri: runtime,
    clock,
    log: log.child({ part: 'probes' }),
    jitterUntil: deps.startedAt + 10_000,
    onAttempt: report => {
      const { target, kind, answer, startedAt, endedAt } = report
      deps.onProbed?.(report)
      const message = toEventMessage(kind, answer)
      const worker = message === undefined ? undefined : pods.worker(target.podUid)
      if (worker === undefined || message === undefined) return
      if (answer.outcome !== 'warning') {
        const failed = { stage: `${kind} probe`, container: target.container.name, error: answer.message || 'no message' }
        timeline.record(worker.uid, { ...failed, startedAt, endedAt })
      }
      const reason = answer.outcome === 'warning' ? 'ProbeWarning' : 'Unhealthy'
      deps.onEvent(worker.pod, 'Warning', reason, message, { container: target.container.name })
    },
    onResult: (podUid, container, kind, result) => {
      const now = clock.now()
      // How it failed has been recorded attempt by attempt.
      if (result === 'success')
        timeline.record(podUid, { stage: `${kind} probe`, container, startedAt: now, endedAt: now, detail: result })
      pods.republish(podUid)
      if (kind !== 'readiness') pods.poke(podUid)
      deps.probeMemory.save(prober.snapshot)
    },
  })
  prober.restore(deps.probeMemory.remembered ?? [])
  const sendHttp = createHttpSender(clock)
  const hookDeps: HookDeps = { cri: runtime, clock, log, sendHttp }
  const liveOf = ({ pod, seen }: Pick<PodView, 'pod' | 'seen'>) => ({
    hostIPs: deps.nodeIPs(),
    podIPs: pod.spec.hostNetwork ? deps.nodeIPs() : (seen.sandboxes[0]?.ips ?? []),
  })
  const { resources, memoryUsed } = deps
  const resizing = { ...(resources && { resources }), ...(memoryUsed && { memoryUsed }) }
  const steps = createSteps({
    runtime,
    clock,
    logs: deps.logs,
    sandboxSeen: observer.sandbox,
    containerSeen: observer.container,
    forget: observer.forget,
    cgroups: deps.cgroups,
    volumes: deps.volumes,
    image: async (pod, container, signal) => {
      const onEvent = (event: { type: 'Normal' | 'Warning'; reason: string; message: string }) =>
        deps.onEvent(pod, event.type, event.reason, event.message, { container: container.name })
      const image = await deps.images.ensure(pod, container, { signal, onEvent })
      return { imageRef: image.imageRef, uid: image.uid, username: image.username ?? '' }
    },
    ...(deps.runtimeHandler && { runtimeHandler: deps.runtimeHandler }),
    sandboxConfig: deps.parts.sandboxConfig,
    containerConfig: deps.parts.containerConfig,
    hook: (handler, target, signal) => runHook(handler, target, hookDeps, { signal }),
    forgetProbes: prober.forget,
    begin: (podUid, span) => timeline.begin(podUid, span),
    onEvent: deps.onEvent,
    ...resizing,
  })
  const pods = createPods({
    wanted: deps.wanted,
    live,
    worker: {
      ...{ steps, look: observer.look, probed: prober.results, ...deps.limits, clock, log: log.child({ part: 'pods' }) },
      ...(resources && { resources }),
    },
    statusOf: statusOf(deps, prober),
    admit: deps.admit,
    ...(deps.lookAtNode && { lookAtNode: deps.lookAtNode }),
    onEvent: deps.onEvent,
    onMarksChanged: worker => refreshVolumes(deps, worker),
    onStage: (pod, stage, detail) => {
      const now = clock.now()
      timeline.record(pod.metadata.uid ?? '', { stage, startedAt: now, endedAt: now, ...(detail !== undefined && { detail }) })
      if (stage === 'admitted' || stage === 'resized' || stage === 'gone') weighQos()
      if (stage !== 'gone') return
      timeline.ended(pod)
      deps.images.forget(pod.metadata.uid ?? '')
      oom.forget(pod.metadata.uid ?? '')
    },
    onLooked: worker => {
      prober.sync(worker.uid, worker.phase === 'terminated' ? [] : probeTargets(worker, liveOf(worker).podIPs))
      timeline.waiting(worker.uid, waitingLine(worker), worker.lastError?.code)
    },
    clock,
    log: log.child({ part: 'pods' }),
  })
  const weighQos = () => {
    const active = pods.workers().filter(it => it.phase !== 'terminated')
    deps.cgroups
      .updateQos(active.map(it => it.pod))
      .catch(error => log.warn({ err: error }, `QoS classes could not be weighed: ${describe(error)}`))
  }
  const follower = createFollower({ observer, pods, clock, log: log.child({ part: 'runtime' }) })
  return {
    pods,
    prober,
    follower,
    start: async signal => {
      await Promise.all([deps.wanted.synced, deps.configMaps.synced, deps.secrets.synced])
      const found = await follower.firstList(signal)
      const removeLeftBehind = () => {
        const wanted = deps.wanted.list().map(it => it.metadata.uid ?? '')
        return removeOrphans(deps, new Set([...found.keys(), ...wanted, ...pods.workers().map(it => it.uid)]))
      }
      // Whose something is can only be told once it is known who is wanted.
      if (deps.wanted.complete === undefined) await removeLeftBehind()
      else void deps.wanted.complete.then(removeLeftBehind)
      const adopted = pods.start(found)
      followReferences(deps, pods)
      follower.start()
      // Whoever takes all there is for all there should be (Services, names) must not see a node without its pods.
      await Promise.race([adopted, clock.sleep(longestAdoptionMs, signal)])
      live.markSynced()
      prober.restore([])
      catchUp(deps, pods, found.keys())
    },
    evict: (pod, { message, grace = 1, annotations, isDisruption }) => {
      deps.onEvent(pod, 'Warning', 'Evicted', message, annotations && { annotations })
      const disruption = { reason: 'TerminationByKubelet', message }
      const verdict: Verdict = { phase: 'Failed', reason: 'Evicted', message, ...(isDisruption && { disruption }) }
      pods.worker(pod.metadata.uid ?? '')?.end({ grace, why: message, removed: false, verdict })
    },
    refreshVolumes: podUid => {
      const worker = pods.worker(podUid)
      if (worker?.phase === 'syncing') refreshVolumes(deps, worker)
    },
    stop: () => {
      follower.stop()
      for (const worker of pods.workers()) worker.abandon()
      prober.close()
    },
  }
}

const statusOf =
  (deps: AgentDeps, prober: Prober) =>
  (worker: PodWorker, before: PodStatus | undefined): PodStatus =>
    podStatus({
      pod: worker.pod,
      seen: worker.seen,
      waiting: worker.waiting,
      isStarted: (id, container) => container.startupProbe === undefined || prober.results(id, 'startup') === 'success',
      isReady: (id, container) => container.readinessProbe === undefined || prober.results(id, 'readiness') === 'success',
      verdict: worker.ending?.verdict,
      ending: worker.phase !== 'syncing',
      ended: worker.phase === 'terminated',
      resize: worker.resize,
      before,
      hostIPs: deps.nodeIPs(),
      qosClass: qosClass(worker.pod),
      startTime: startTimeOf(worker),
      now: deps.clock.now(),
    })

/** Since when the pod is here: after a restart of the daemon its sandboxes tell it, who carry the pod's annotations. */
const startTimeOf = ({ pod, seen, firstSeenAt }: PodWorker): Millis => {
  const manifestSeenAt = Date.parse(pod.metadata.annotations?.[configSeenAnnotation] ?? '')
  const told = [manifestSeenAt, ...seen.sandboxes.flatMap(it => [it.createdAt, it.podSeenAt ?? 0])]
  return Math.min(firstSeenAt, ...told.filter(at => at > 0))
}

const isProbed = (container: Container): boolean =>
  container.livenessProbe !== undefined || container.readinessProbe !== undefined || container.startupProbe !== undefined

const probeTargets = (worker: PodWorker, podIPs: readonly string[]): readonly ProbeTarget[] => {
  const { pod, seen } = worker
  return templateContainers(pod)
    .filter(isProbed)
    .flatMap(container => {
      const current = latest(seen, container.name)
      if (current?.state !== 'running') return []
      return [
        {
          podUid: worker.uid,
          namespace: namespaceOf(pod),
          podName: pod.metadata.name,
          podIPs,
          container,
          containerId: current.id,
          startedAt: current.startedAt,
          terminating: worker.phase !== 'syncing',
        },
      ]
    })
}

const waitingLine = (worker: PodWorker): string | undefined => {
  const [first] = [...worker.waiting]
  if (first !== undefined) return `container ${first[0]}: ${first[1].reason}${first[1].message && `: ${first[1].message}`}`
  return worker.lastError?.message
}

/** What pods of an earlier run left behind: folders, cgroups and logs that belong to no pod. */
const removeOrphans = async ({ volumes, cgroups, logs, log }: AgentDeps, known: ReadonlySet<string>): Promise<void> => {
  const [folders, groups] = await Promise.all([volumes.podFolders(), cgroups.pods()])
  for (const uid of new Set([...folders, ...groups])) {
    if (known.has(uid)) continue
    try {
      await volumes.teardown(uid)
      await cgroups.removePod(uid)
      log.info({ uid }, 'removed what an ended pod had left behind')
    } catch (error) {
      log.warn({ uid, err: error }, `could not remove what an ended pod had left behind: ${describe(error)}`)
    }
  }
  try {
    const removed = await logs.removeUnknown(known)
    if (removed.length > 0) log.info({ folders: removed }, 'removed the logs of pods that are gone')
  } catch (error) {
    log.warn({ err: error }, `could not remove the logs of pods that are gone: ${describe(error)}`)
  }
}

const refreshVolumes = ({ volumes, log }: AgentDeps, { pod }: PodWorker): void =>
  void volumes
    .refresh(pod)
    .catch(error => log.warn({ pod: keyOf(pod), err: error }, `volumes could not be brought up to date: ${describe(error)}`))

/** ConfigMaps and Secrets may have changed while no daemon ran: nobody tells of that. */
const catchUp = (deps: AgentDeps, pods: Pods, adopted: Iterable<string>): void => {
  for (const uid of adopted) {
    const worker = pods.worker(uid)
    if (worker?.phase !== 'syncing') continue
    const { configMaps, secrets } = deps.volumes.references(worker.pod)
    if (configMaps.size + secrets.size > 0) refreshVolumes(deps, worker)
  }
}

/** A ConfigMap or Secret that changes is written into the volumes of the pods that use it; those that wait for it try again. */
const followReferences = (deps: AgentDeps, pods: Pods): void => {
  const { configMaps, secrets, volumes } = deps
  const concern = (kind: 'configMaps' | 'secrets', object: KubeObject) => {
    for (const worker of pods.workers()) {
      if (worker.phase !== 'syncing' || !volumes.references(worker.pod)[kind].has(keyOf(object))) continue
      if (worker.waiting.size > 0 || worker.lastError !== undefined) worker.poke()
      refreshVolumes(deps, worker)
    }
  }
  const onlyChanges = <T extends KubeObject>(source: Source<T>, kind: 'configMaps' | 'secrets') => {
    let replaying = true
    source.subscribe({
      changed: (before, after) => {
        const object = after ?? before
        if (!replaying && object !== undefined) concern(kind, object)
      },
    })
    replaying = false
  }
  onlyChanges(configMaps, 'configMaps')
  onlyChanges(secrets, 'secrets')
}
