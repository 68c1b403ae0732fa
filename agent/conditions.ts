// Pod conditions from container statuses: pure. Types, reasons and messages are the kubelet's (pkg/kubelet/status/generate.go of 1.36);
// a transition time changes only when the status does.
import { isSidecar, runningContainers } from '../api/pod.ts'
import type { ContainerStatus, PodCondition, PodPhase } from '../api/pod-status.ts'
import type { Container, Pod } from '../api/types.ts'
import { type ResizeState, resizeConditions } from './resize.ts'

type Verdict = Pick<PodCondition, 'status' | 'reason' | 'message'>

const yes: Verdict = { status: 'True' }

/** The conditions that are the node's to write. `DisruptionTarget` is shared: whoever ends a pod writes it, once. */
export const ownedConditions: ReadonlySet<string> = new Set([
  'PodReadyToStartContainers',
  'Initialized',
  'Ready',
  'ContainersReady',
  'PodScheduled',
  'PodResizePending',
  'PodResizeInProgress',
  'AllContainersRestarting',
])

export interface ConditionInput {
  readonly pod: Pod
  readonly phase: PodPhase
  readonly statuses: readonly ContainerStatus[]
  readonly hasSandbox: boolean
  readonly before: readonly PodCondition[]
  /** Why somebody put an end to the pod. */
  readonly disruption?: { readonly reason: string; readonly message: string } | undefined
  readonly resize?: ResizeState
  /** RFC 3339, for conditions that change now. */
  readonly now: string
}

/**
 * The five conditions that every pod has from its node, after those of others (readiness gates), which are kept as they are: as the
 * apiserver holds them where the pod comes from there.
 */
export const podConditions = (input: ConditionInput): readonly PodCondition[] => {
  const ready = containersReady(input)
  const owned: Readonly<Record<string, Verdict>> = {
    PodReadyToStartContainers: input.hasSandbox ? yes : { status: 'False' },
    Initialized: initialized(input),
    Ready: ready.status === 'True' ? gatesReady(input) : ready,
    ContainersReady: ready,
    PodScheduled: yes,
  }
  const kept = othersOf(input).filter(it => !ownedConditions.has(it.type))
  const { disruption } = input
  const target = disruption === undefined ? [] : [stamp('DisruptionTarget', { status: 'True', ...disruption }, input)]
  const written = Object.entries(owned).map(([type, verdict]) => stamp(type, verdict, input))
  const resizes = resizeConditions(input.resize ?? {}).map(({ type, observedGeneration, ...verdict }) => ({
    ...stamp(type, verdict, input),
    ...(observedGeneration !== undefined && { observedGeneration }),
  }))
  return [...kept.filter(it => target.every(({ type }) => type !== it.type)), ...resizes, ...target, ...written]
}

const othersOf = ({ pod, before }: ConditionInput): readonly PodCondition[] => pod.status?.conditions ?? before

const stamp = (type: string, verdict: Verdict, { before, now, pod }: ConditionInput): PodCondition => {
  const old = before.find(it => it.type === type)
  const lastTransitionTime = old?.status === verdict.status && old.lastTransitionTime !== undefined ? old.lastTransitionTime : now
  const { generation } = pod.metadata
  return {
    type,
    ...verdict,
    lastProbeTime: null,
    lastTransitionTime,
    ...(generation !== undefined && { observedGeneration: generation }),
  }
}

const terminal = (phase: PodPhase): Verdict => ({ status: 'False', reason: phase === 'Failed' ? 'PodFailed' : 'PodCompleted' })

const list = (names: readonly string[]): string => `[${names.join(' ')}]`

const complain = (reason: string, parts: readonly (readonly [string, readonly string[]])[]): Verdict | undefined => {
  const message = parts
    .filter(([, names]) => names.length > 0)
    .map(([text, names]) => `${text}: ${list(names)}`)
    .join(', ')
  return message === '' ? undefined : { status: 'False', reason, message }
}

const split = (
  containers: readonly Container[],
  statuses: readonly ContainerStatus[],
  isFine: (it: ContainerStatus, c: Container) => boolean,
) => {
  const unknown: string[] = []
  const lacking: string[] = []
  for (const container of containers) {
    const status = statuses.find(it => it.name === container.name)
    if (status === undefined) unknown.push(container.name)
    else if (!isFine(status, container)) lacking.push(container.name)
  }
  return { unknown, lacking }
}

const containersReady = ({ pod, phase, statuses }: ConditionInput): Verdict => {
  const counted = runningContainers(pod)
  const { unknown, lacking } = split(counted, statuses, it => it.ready)
  if (phase === 'Failed' || (phase === 'Succeeded' && unknown.length === 0)) return terminal(phase)
  return (
    complain('ContainersNotReady', [
      ['containers with unknown status', unknown],
      ['containers with unready status', lacking],
    ]) ?? yes
  )
}

const gatesReady = (input: ConditionInput): Verdict => {
  const messages = (input.pod.spec.readinessGates ?? []).flatMap(({ conditionType }) => {
    const condition = othersOf(input).find(it => it.type === conditionType)
    if (condition === undefined) return [`corresponding condition of pod readiness gate "${conditionType}" does not exist.`]
    return condition.status === 'True'
      ? []
      : [`the status of pod readiness gate "${conditionType}" is not "True", but ${condition.status}`]
  })
  return messages.length === 0 ? yes : { status: 'False', reason: 'ReadinessGatesNotReady', message: messages.join(', ') }
}

const initialized = ({ pod, phase, statuses }: ConditionInput): Verdict => {
  const isComplete = (it: ContainerStatus, container: Container) => (isSidecar(container) ? it.started === true : it.ready)
  const { unknown, lacking } = split(pod.spec.initContainers ?? [], statuses, isComplete)
  if (phase === 'Succeeded' && unknown.length === 0) return { status: 'True', reason: 'PodCompleted' }
  if (pod.spec.containers.some(it => hasStarted(statuses.find(status => status.name === it.name)))) return yes
  return (
    complain('ContainersNotInitialized', [
      ['containers with unknown status', unknown],
      ['containers with incomplete status', lacking],
    ]) ?? yes
  )
}

const hasStarted = (status: ContainerStatus | undefined): boolean =>
  status !== undefined &&
  (status.state?.running !== undefined || status.state?.terminated !== undefined || status.lastState?.terminated !== undefined)
