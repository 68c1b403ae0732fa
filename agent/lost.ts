// What is said of containers that the runtime does not show (any more): pure. What was last said of them stays true as far as it can;
// a pod that is over never shows a container as yet to come.
// Follows the kubelet's convertToAPIContainerStatuses and TerminatePod (pkg/kubelet of 1.36).
import { isSidecar } from '../api/pod.ts'
import type { ContainerState, ContainerStatus } from '../api/pod-status.ts'
import type { Container, Pod } from '../api/types.ts'

const lost = (message: string): ContainerState => ({ terminated: { exitCode: 137, reason: 'ContainerStatusUnknown', message } })

const vanished = lost('The container could not be located when the pod was deleted.  The container used to be Running')
const neverEnded = lost('The container could not be located when the pod was terminated')

/**
 * The status of a container that the runtime does not know.
 * @param old what was said of it last
 * @param state what it waits for
 * @param isHeld whether something known keeps it from starting
 */
export const unseenStatus = (
  pod: Pod,
  container: Container,
  old: ContainerStatus | undefined,
  state: ContainerState,
  isHeld: boolean,
): ContainerStatus => {
  if (old?.state?.terminated !== undefined) return old
  // It ran and is gone: it has ended somehow, and unless the pod is deleted it comes back.
  const hasVanished = old?.state?.running !== undefined && old.lastState?.terminated === undefined && !isHeld
  const restarts = hasVanished && pod.metadata.deletionTimestamp === undefined ? 1 : 0
  return {
    name: container.name,
    state,
    lastState: hasVanished ? vanished : (old?.lastState ?? {}),
    ready: false,
    restartCount: (old?.restartCount ?? 0) + restarts,
    image: container.image,
    imageID: '',
    started: false,
  }
}

const hasMoved = (it: ContainerStatus): boolean => it.state?.waiting === undefined || it.lastState?.terminated !== undefined

const isComplete = (pod: Pod, it: ContainerStatus): boolean => {
  const container = pod.spec.initContainers?.find(({ name }) => name === it.name)
  if (container !== undefined && isSidecar(container)) return it.started === true
  return it.state?.terminated?.exitCode === 0 || it.lastState?.terminated?.exitCode === 0
}

const asEnded = (it: ContainerStatus): ContainerStatus =>
  it.state?.terminated === undefined ? { ...it, state: neverEnded, ready: false, started: false } : it

export interface Statuses {
  readonly init: readonly ContainerStatus[]
  readonly apps: readonly ContainerStatus[]
}

/** The statuses of a pod of which nothing runs any more: what has no end on record counts as failed once it could have begun. */
export const endedStatuses = (pod: Pod, { init, apps }: Statuses): Statuses => {
  const last = init.at(-1)
  const isInitialized = last === undefined || apps.some(hasMoved) || isComplete(pod, last)
  const begun = Math.max(init.findLastIndex(hasMoved), 0)
  return {
    init: init.map((it, index) => (index <= begun ? asEnded(it) : it)),
    apps: isInitialized ? apps.map(asEnded) : apps,
  }
}
