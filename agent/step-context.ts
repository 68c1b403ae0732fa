// What the executors of a pod's steps share: what they work on, what they are given, how a stage leaves its span. Decides nothing.

import type { Cri } from '../api/cri/cri.ts'
import type { ContainerConfig, LinuxContainerResources, PodSandboxConfig } from '../api/cri/types.ts'
import type { Container, Pod } from '../api/types.ts'
import type { Clock, Seconds } from '../host/clock.ts'
import { describe, Fault, isFault } from '../host/fault.ts'
import type { Step } from './plan.ts'
import type { OnPodEvent } from './pod-event.ts'
import type { PodLogs } from './podlogs.ts'
import type { ContainerSeen, SandboxSeen, Seen } from './seen.ts'
import type { EndingContext, RunHook } from './terminate.ts'

/** What a step needs of the pod's owner. */
export interface PodView {
  readonly uid: string
  readonly pod: Pod
  readonly seen: Seen
}

export interface Image {
  readonly imageRef: string
  readonly uid: number | undefined
  readonly username: string
}

export type StepCri = Pick<
  Cri,
  | 'runPodSandbox'
  | 'stopPodSandbox'
  | 'removePodSandbox'
  | 'createContainer'
  | 'startContainer'
  | 'stopContainer'
  | 'removeContainer'
> &
  Partial<Pick<Cri, 'updateContainerResources'>>

export interface StepDeps {
  readonly runtime: StepCri
  readonly clock: Clock
  readonly logs: PodLogs
  /** Looks at one new sandbox or container; cheaper than at the whole pod. */
  readonly sandboxSeen: (id: string) => Promise<SandboxSeen>
  readonly containerSeen: (id: string, sandboxId: string) => Promise<ContainerSeen>
  readonly forget: (ids: readonly string[]) => void
  readonly cgroups: { ensurePod(pod: Pod): Promise<string>; removePod(uid: string): Promise<void> }
  readonly volumes: {
    prepare(pod: Pod): Promise<void>
    teardown(podUid: string): Promise<void>
  }
  readonly image: (pod: Pod, container: Container, signal: AbortSignal) => Promise<Image>
  /** The handler of the pod's RuntimeClass; absent: the runtime's default for every pod. @throws Fault when there is no such class */
  readonly runtimeHandler?: (pod: Pod) => Promise<string>
  readonly sandboxConfig: (pod: Pod, attempt: number, cgroupParent: string) => PodSandboxConfig
  readonly containerConfig: (
    pod: Pod,
    container: Container,
    restartCount: number,
    image: Image,
    seen: Seen,
  ) => Promise<ContainerConfig>
  /** The figures that a container is to run with, for a resize. */
  readonly resources?: (pod: Pod, container: Container) => LinuxContainerResources
  /** Bytes of memory that a container uses: a limit is never set below. */
  readonly memoryUsed?: (containerId: string) => Promise<number>
  readonly hook: RunHook
  readonly forgetProbes: (podUid: string) => void
  readonly begin: (
    podUid: string,
    span: { readonly stage: string; readonly container?: string; readonly detail?: string },
  ) => (error?: unknown) => void
  readonly onEvent: OnPodEvent
}

export const podIPsOf = ({ sandboxes }: Seen): readonly string[] => sandboxes[0]?.ips ?? []

/** Carries out a step of one kind and returns the pod as it is then. @throws Fault */
export type Executor<D extends Step['do']> = (step: Extract<Step, { do: D }>, view: PodView, signal: AbortSignal) => Promise<Seen>

/** Does the work of one stage and leaves its span in the pod's timeline. */
export const spanned = async <T>(
  { begin }: Pick<StepDeps, 'begin'>,
  view: PodView,
  span: { readonly stage: string; readonly container?: string; readonly detail?: string },
  work: () => Promise<T>,
): Promise<T> => {
  const end = begin(view.uid, span)
  try {
    const result = await work()
    end()
    return result
  } catch (error) {
    end(error)
    throw error
  }
}

export const endingContext = (deps: StepDeps, { pod, seen }: PodView): EndingContext => ({
  ...deps,
  pod,
  seen,
  podIPs: podIPsOf(seen),
})

export const graceOf = (pod: Pod): Seconds =>
  pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30

export const asReason = (error: unknown, code: 'container-create' | 'container-start' | 'hook', reason: string): Fault =>
  isFault(error) && error.reason !== undefined ? error : new Fault(code, describe(error), { cause: error, reason })
