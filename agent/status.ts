// The status of a pod: a pure function of its spec, what the runtime shows, what the probes say and what holds it up.
// Follows the kubelet's convertToAPIContainerStatuses and getPhase (pkg/kubelet/kubelet_pods.go of 1.36).
import { isSidecar } from '../api/pod.ts'
import type { ContainerState, ContainerStatus, PodPhase, PodStatus, QosClass } from '../api/pod-status.ts'
import type { Container, Pod } from '../api/types.ts'
import type { Millis } from '../host/clock.ts'
import { byText } from '../host/order.ts'
import { podConditions } from './conditions.ts'
import { endedStatuses, type Statuses, unseenStatus } from './lost.ts'
import { type ResizeState, resourcesInForce } from './resize.ts'
import { restartsAfter } from './restart.ts'
import { type ContainerSeen, latest, previous, type Seen, usableSandbox } from './seen.ts'
import { isStatic } from './sources/mirror-marks.ts'

/** Why a container does not run yet, as its status says it. */
export interface Waiting {
  readonly reason: string
  readonly message: string
}

/** A verdict on the whole pod that stands above its containers: rejected, evicted, past its deadline. */
export interface Verdict {
  readonly phase: 'Failed'
  readonly reason: string
  readonly message: string
  /** Why somebody put an end to it, for the `DisruptionTarget` condition. */
  readonly disruption?: { readonly reason: string; readonly message: string }
}

export interface StatusInput {
  readonly pod: Pod
  readonly seen: Seen
  readonly waiting: ReadonlyMap<string, Waiting>
  readonly isStarted: (containerId: string, container: Container) => boolean
  readonly isReady: (containerId: string, container: Container) => boolean
  readonly verdict: Verdict | undefined
  /** The containers of a pod that is being ended will not start again. */
  readonly ending: boolean
  /** Nothing of the pod runs any more, nor will. */
  readonly ended?: boolean
  readonly resize?: ResizeState
  readonly before: PodStatus | undefined
  readonly hostIPs: readonly string[]
  readonly qosClass: QosClass
  readonly startTime: Millis
  readonly now: Millis
}

/** A point in time as the API writes it: whole seconds, UTC. */
export const rfc3339 = (at: Millis): string => new Date(Math.floor(at / 1000) * 1000).toISOString().replace('.000Z', 'Z')

/** The runtime's name in container ids, as the API shows them. */
const scheme = 'containerd://'

export const podStatus = (input: StatusInput): PodStatus => {
  const { pod, seen, before } = input
  const ephemerals = pod.spec.ephemeralContainers ?? []
  const { init, apps } = templateStatuses(input)
  const all = [...init, ...apps]
  const said = keepTerminal(pod.status?.phase, keepTerminal(before?.phase, phaseOf(input, all)))
  const phase = input.verdict?.phase ?? said
  const ips = podIPs(input)
  const conditionInput = {
    pod,
    phase,
    statuses: all,
    hasSandbox: usableSandbox(seen, pod.spec.hostNetwork === true) !== undefined,
    before: before?.conditions ?? [],
    disruption: input.verdict?.disruption,
    resize: input.resize ?? {},
    now: rfc3339(input.now),
  }
  // What a phase was explained with goes on explaining it.
  const { reason, message } = input.verdict ?? (before?.phase === phase ? before : {})
  const { generation } = pod.metadata
  return {
    ...(generation !== undefined && { observedGeneration: generation }),
    phase,
    conditions: podConditions(conditionInput),
    ...(reason && { reason }),
    ...(message && { message }),
    ...(input.hostIPs[0] !== undefined && { hostIP: input.hostIPs[0], hostIPs: input.hostIPs.map(ip => ({ ip })) }),
    ...(ips[0] !== undefined && { podIP: ips[0], podIPs: ips.map(ip => ({ ip })) }),
    startTime: before?.startTime ?? rfc3339(input.startTime),
    ...(init.length > 0 && { initContainerStatuses: init }),
    containerStatuses: byName(apps),
    ...(ephemerals.length > 0 && {
      ephemeralContainerStatuses: byName(ephemerals.map(it => containerStatus(input, it, false))),
    }),
    qosClass: input.qosClass,
  }
}

const byName = (statuses: readonly ContainerStatus[]) => [...statuses].sort((a, b) => byText(a.name, b.name))

/** A pod that came from an apiserver and is over is never left without a verdict; a static pod keeps the phase that its containers make. */
const isOver = ({ ended, pod }: StatusInput): boolean => ended === true && !isStatic(pod)

const templateStatuses = (input: StatusInput): Statuses => {
  const inits = input.pod.spec.initContainers ?? []
  const statuses = {
    init: inits.map(it => containerStatus(input, it, true)),
    apps: input.pod.spec.containers.map(it => containerStatus(input, it, inits.length > 0)),
  }
  return isOver(input) ? endedStatuses(input.pod, statuses) : statuses
}

const phaseOf = (input: StatusInput, statuses: readonly ContainerStatus[]): PodPhase => {
  const phase = podPhase(input.pod, statuses, input.ending)
  return isOver(input) && phase !== 'Succeeded' ? 'Failed' : phase
}

/** A pod that has ended stays ended. */
const keepTerminal = (before: PodPhase | undefined, now: PodPhase): PodPhase =>
  before === 'Failed' || before === 'Succeeded' ? before : now

const podIPs = ({ pod, seen, hostIPs, before }: StatusInput): readonly string[] => {
  if (pod.spec.hostNetwork) return seen.sandboxes.length > 0 ? hostIPs : []
  const current = usableSandbox(seen, false)?.ips
  return current ?? before?.podIPs?.map(it => it.ip) ?? []
}

const containerStatus = (input: StatusInput, container: Container, hasInit: boolean): ContainerStatus => {
  const current = latest(input.seen, container.name)
  const waiting = input.waiting.get(container.name)
  if (current === undefined) {
    const reason = hasInit ? 'PodInitializing' : 'ContainerCreating'
    const state = { waiting: toWaiting(waiting ?? { reason, message: '' }) }
    const status = unseenStatus(input.pod, container, saidBefore(input, container), state, waiting !== undefined)
    return { ...status, ...mountStatuses(container) }
  }
  const held = waiting !== undefined && current.state !== 'running' && !input.ending
  const before = held && current.state === 'exited' ? current : previous(input.seen, container.name)
  const state: ContainerState = held ? { waiting: toWaiting(waiting) } : stateOf(current)
  const isInit = input.pod.spec.initContainers?.includes(container) && !isSidecar(container)
  const started = current.state === 'running' && input.isStarted(current.id, container)
  return {
    name: container.name,
    state,
    lastState: before?.state === 'exited' ? stateOf(before) : {},
    ready: isInit ? current.state === 'exited' && current.exitCode === 0 : started && input.isReady(current.id, container),
    restartCount: current.restartCount,
    image: current.image || container.image,
    imageID: current.imageRef,
    containerID: scheme + current.id,
    started,
    ...inForce(input, container, current),
    ...(container.resources?.requests && { allocatedResources: container.resources.requests }),
    ...mountStatuses(container),
    ...(current.user && { user: { linux: current.user } }),
  }
}

/** Only a pod whose spec has changed may run with other resources than it names. */
const inForce = ({ pod }: StatusInput, container: Container, current: ContainerSeen): Pick<ContainerStatus, 'resources'> => {
  const mayDiffer = current.state === 'running' && (pod.metadata.generation ?? 1) > 1
  const resources = resourcesInForce(container, mayDiffer ? current.resources : undefined)
  return resources === undefined ? {} : { resources }
}

const saidBefore = ({ before }: StatusInput, { name }: Container): ContainerStatus | undefined =>
  [
    ...(before?.initContainerStatuses ?? []),
    ...(before?.containerStatuses ?? []),
    ...(before?.ephemeralContainerStatuses ?? []),
  ].find(it => it.name === name)

/** How the volumes are mounted; the API wants to know of read-only ones whether that holds for what is mounted below them too. */
const mountStatuses = ({ volumeMounts = [] }: Container): Pick<ContainerStatus, 'volumeMounts'> =>
  volumeMounts.length === 0
    ? {}
    : {
        volumeMounts: volumeMounts.map(({ name, mountPath, readOnly, recursiveReadOnly }) => ({
          name,
          mountPath,
          ...(readOnly && { readOnly, recursiveReadOnly: recursiveReadOnly === 'Enabled' ? 'Enabled' : 'Disabled' }),
        })),
      }

const toWaiting = ({ reason, message }: Waiting) => (message === '' ? { reason } : { reason, message })

const stateOf = (it: ContainerSeen): ContainerState => {
  switch (it.state) {
    case 'running':
      return { running: { startedAt: rfc3339(it.startedAt) } }
    case 'exited':
      return {
        terminated: {
          exitCode: it.exitCode,
          reason: it.reason || (it.exitCode === 0 ? 'Completed' : 'Error'),
          ...(it.message !== '' && { message: it.message }),
          startedAt: rfc3339(it.startedAt),
          finishedAt: rfc3339(it.finishedAt),
          containerID: scheme + it.id,
        },
      }
    case 'created':
    case 'unknown':
      return { waiting: { reason: 'ContainerCreating' } }
  }
}

/** The phase by the containers' states alone. `ending`: what has stopped does not come back. */
const podPhase = (pod: Pod, statuses: readonly ContainerStatus[], ending: boolean): PodPhase => {
  const of = (container: Container) => statuses.find(it => it.name === container.name)
  const inits = (pod.spec.initContainers ?? []).map(it => ({ container: it, status: of(it) }))
  let pending = false
  let initFailed = false
  for (const { container, status } of inits) {
    const ended = status?.state?.terminated ?? (status?.state?.waiting ? status.lastState?.terminated : undefined)
    if (isSidecar(container)) {
      pending ||= ended === undefined && status?.started !== true
    } else if (ended === undefined) pending = true
    else if (ended.exitCode !== 0) {
      if (ending || !restartsAfter(pod, container, ended.exitCode)) initFailed = true
      else pending = true
    }
  }
  const apps = pod.spec.containers.map(it => ({ container: it, status: of(it) }))
  const hasRun = apps.some(({ status }) => status?.state?.running || status?.state?.terminated || status?.lastState?.terminated)
  if (initFailed) return 'Failed'
  if (pending && !hasRun) return 'Pending'
  return appsPhase(pod, apps, ending)
}

const appsPhase = (
  pod: Pod,
  apps: readonly { container: Container; status: ContainerStatus | undefined }[],
  ending: boolean,
): PodPhase => {
  let waiting = 0
  let stopped = 0
  let comesBack = 0
  let failed = 0
  for (const { container, status } of apps) {
    const ended = status?.state?.terminated
    if (ended !== undefined) {
      stopped++
      if (ended.exitCode !== 0) failed++
      if (!ending && restartsAfter(pod, container, ended.exitCode)) comesBack++
    } else if (status?.state?.running === undefined) {
      if (status?.lastState?.terminated !== undefined) comesBack++
      else waiting++
    }
  }
  if (waiting > 0) return 'Pending'
  if (stopped < apps.length || comesBack > 0) return 'Running'
  return failed > 0 ? 'Failed' : 'Succeeded'
}
