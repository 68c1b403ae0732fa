// What of a pod's status the apiserver has to be told: a pure function from the status that it holds and the one that is true.
// Sends only what is the node's own and differs, so that conditions of others are never touched and nothing is written twice.
// Follows the kubelet's isPodStatusByKubeletEqual, mergePodStatus and normalizeStatus (pkg/kubelet/status of 1.36).
import type { ContainerStatus, PodCondition, PodPhase, PodStatus } from '../../api/pod-status.ts'
import type { Pod } from '../../api/types.ts'
import { ownedConditions } from '../conditions.ts'

/** A strategic merge patch of the `status` subresource; the uid in it is the precondition that it is still the same pod. */
export interface StatusPatch {
  readonly metadata: { readonly uid: string }
  readonly status: Readonly<Record<string, unknown>>
}

/** All termination messages of a pod together, in bytes. */
const messageBudget = 12 * 1024

/** The fields of a status that a node writes. What is not named here (resource claims, nominatedNodeName) belongs to others. */
const ownedFields = [
  'observedGeneration',
  'phase',
  'message',
  'reason',
  'hostIP',
  'hostIPs',
  'podIP',
  'podIPs',
  'startTime',
  'initContainerStatuses',
  'containerStatuses',
  'ephemeralContainerStatuses',
  'qosClass',
  'allocatedResources',
  'resources',
] as const satisfies readonly (keyof PodStatus)[]

// Lists that the API merges by key; told anew they have to say that they replace what was there.
const mergedLists: ReadonlySet<string> = new Set(['hostIPs', 'podIPs'])

export const isTerminal = (phase: PodPhase | undefined): boolean => phase === 'Succeeded' || phase === 'Failed'

/**
 * The patch that brings what the apiserver holds to what is true.
 * @param held the status in the apiserver
 * @param status the status as this node sees it; a phase that has ended never goes back
 * @returns undefined when nothing of the node's own differs
 */
export const statusPatch = (pod: Pod, held: PodStatus | undefined, status: PodStatus): StatusPatch | undefined => {
  const wanted = merged(held, normalized(pod, status))
  const changed: Record<string, unknown> = {}
  for (const field of ownedFields) {
    const before = compact(held?.[field])
    const after = compact(wanted[field])
    if (same(before, after)) continue
    const isMerged = mergedLists.has(field) && before !== undefined
    if (after === undefined) changed[field] = null
    else changed[field] = isMerged ? [...(after as readonly unknown[]), { $patch: 'replace' }] : wanted[field]
  }
  const conditions = conditionChanges(held, wanted)
  if (conditions.length > 0) changed['conditions'] = conditions
  return Object.keys(changed).length === 0 ? undefined : { metadata: { uid: pod.metadata.uid ?? '' }, status: changed }
}

const merged = (held: PodStatus | undefined, status: PodStatus): PodStatus => {
  if (held === undefined) return status
  // The start time is set once, and an older look at the spec than the one that was told is no news.
  const observedGeneration = Math.max(held.observedGeneration ?? 0, status.observedGeneration ?? 0)
  const startTime = held.startTime ?? status.startTime
  const phase = isTerminal(held.phase) && !isTerminal(status.phase) ? held.phase : status.phase
  // What explains a phase, whoever wrote it, goes on explaining it.
  const explained: Pick<PodStatus, 'reason' | 'message'> = held.phase === phase ? held : {}
  const { reason = explained.reason, message = explained.message } = phase === status.phase ? status : {}
  return {
    ...status,
    phase,
    ...(observedGeneration > 0 && { observedGeneration }),
    ...(startTime !== undefined && { startTime }),
    ...(reason !== undefined && { reason }),
    ...(message !== undefined && { message }),
  }
}

const conditionChanges = (held: PodStatus | undefined, wanted: PodStatus): readonly object[] => {
  const before = new Map((held?.conditions ?? []).map(it => [it.type, it]))
  const ends = !isTerminal(held?.phase) && isTerminal(wanted.phase)
  const ours = (wanted.conditions ?? []).filter(it => ownedConditions.has(it.type) || (it.type === 'DisruptionTarget' && ends))
  const named = new Set(ours.map(it => it.type))
  const changed = ours.filter(it => !saysTheSame(before.get(it.type), it)).map(it => over(before.get(it.type), it))
  const dropped = [...before.keys()].filter(type => ownedConditions.has(type) && !named.has(type))
  // A rejected pod has no conditions of its own; those that the scheduler wrote stay.
  const removed = ours.length === 0 ? [] : dropped.map(type => ({ type, $patch: 'delete' }))
  return [...changed, ...removed]
}

/** Conditions are merged field by field: what one no longer says has to be taken back. */
const over = (before: PodCondition | undefined, after: PodCondition): object => ({
  ...(before?.reason !== undefined && { reason: null }),
  ...(before?.message !== undefined && { message: null }),
  ...after,
})

const saysTheSame = (before: PodCondition | undefined, after: PodCondition): boolean =>
  before !== undefined &&
  before.status === after.status &&
  (before.reason ?? '') === (after.reason ?? '') &&
  (before.message ?? '') === (after.message ?? '')

const normalized = (pod: Pod, status: PodStatus): PodStatus => {
  const { containers, initContainers = [], ephemeralContainers = [] } = pod.spec
  const share = Math.floor(messageBudget / Math.max(containers.length + initContainers.length + ephemeralContainers.length, 1))
  const cut = (statuses: readonly ContainerStatus[] | undefined) => statuses?.map(it => withShortMessages(it, share))
  const { initContainerStatuses: init, containerStatuses: apps, ephemeralContainerStatuses: ephemeral } = status
  return {
    ...status,
    ...(init && { initContainerStatuses: cut(init)! }),
    ...(apps && { containerStatuses: cut(apps)! }),
    ...(ephemeral && { ephemeralContainerStatuses: cut(ephemeral)! }),
  }
}

const withShortMessages = (status: ContainerStatus, bytes: number): ContainerStatus => {
  const ended = status.state?.terminated
  if (ended?.message === undefined || Buffer.byteLength(ended.message) <= bytes) return status
  const message = Buffer.from(ended.message).subarray(0, bytes).toString()
  return { ...status, state: { terminated: { ...ended, message } } }
}

/** Without what says nothing (absent, null, empty), fields in one order: the apiserver leaves out and sorts as it likes. */
export const compact = (value: unknown): unknown => {
  if (value === null || value === undefined || value === '') return undefined
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.map(it => compact(it) ?? {})
  if (typeof value !== 'object') return value
  const entries = Object.keys(value)
    .sort()
    .map(key => [key, compact((value as Record<string, unknown>)[key])] as const)
    .filter(([, inner]) => inner !== undefined)
  return entries.length === 0 ? undefined : Object.fromEntries(entries)
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
