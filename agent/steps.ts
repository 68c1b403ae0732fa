// Carries out what agent/plan.ts decided for one pod: one executor for each kind of step, no policy of its own.
// Every stage leaves a span in the pod's timeline; every failure is a Fault with the reason that the container's status shows.

import type { Cri } from '../api/cri/cri.ts'
import type { ContainerConfig, PodSandboxConfig } from '../api/cri/types.ts'
import { containerOf } from '../api/pod.ts'
import type { Container, Pod } from '../api/types.ts'
import type { Clock, Millis, Seconds } from '../host/clock.ts'
import { describe, except, Fault, isFault } from '../host/fault.ts'
import type { Step } from './plan.ts'
import type { PodLogs } from './podlogs.ts'
import type { ContainerSeen, SandboxSeen, Seen } from './seen.ts'
import type { Surplus } from './surplus.ts'
import { type EndingContext, endContainers, type RunHook, stopOne, stopSandboxes } from './terminate.ts'

/** What a step needs of the pod's owner. */
export interface PodView {
  readonly uid: string
  readonly pod: Pod
  readonly seen: Seen
}

export interface StepRunner {
  /** What must be there before containers start: the pod's cgroup and its volumes. Does nothing when no step needs it. */
  prepare(view: PodView, steps: readonly Step[], signal: AbortSignal): Promise<void>
  /** Carries out one step and returns the pod as it is then. @throws Fault */
  run(step: Step, view: PodView, signal: AbortSignal): Promise<Seen>
  /** Ends all containers within the grace period and stops the sandboxes. Safe to repeat. */
  endContainers(view: PodView, ending: { readonly grace: Seconds; readonly since: Millis }, signal: AbortSignal): Promise<void>
  /** Gives back what an ended pod holds: volumes, cgroup, probes. */
  release(view: PodView): Promise<void>
  /** Removes what nobody needs any more of a pod that goes on, and returns what is left. */
  collect(view: PodView, surplus: Surplus): Promise<Seen>
  /** Removes containers, sandboxes and logs of a pod that is gone from its source. */
  remove(view: PodView): Promise<void>
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
>

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
  readonly sandboxConfig: (pod: Pod, attempt: number, cgroupParent: string) => PodSandboxConfig
  readonly containerConfig: (
    pod: Pod,
    container: Container,
    restartCount: number,
    image: Image,
    seen: Seen,
  ) => Promise<ContainerConfig>
  readonly hook: RunHook
  readonly forgetProbes: (podUid: string) => void
  readonly begin: (
    podUid: string,
    span: { readonly stage: string; readonly container?: string; readonly detail?: string },
  ) => (error?: unknown) => void
  readonly onEvent: (pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string) => void
}

export const podIPsOf = ({ sandboxes }: Seen): readonly string[] => sandboxes[0]?.ips ?? []

type Executor<S extends Step> = (step: S, view: PodView, signal: AbortSignal) => Promise<Seen>

export const createSteps = (deps: StepDeps): StepRunner => {
  const { runtime, begin } = deps
  const cgroupParents = new Map<string, string>()

  const spanned = async <T>(
    view: PodView,
    span: { stage: string; container?: string; detail?: string },
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

  const endingContext = (view: PodView): EndingContext => ({
    ...deps,
    pod: view.pod,
    seen: view.seen,
    podIPs: podIPsOf(view.seen),
  })

  const createSandbox: Executor<Extract<Step, { do: 'create-sandbox' }>> = async ({ attempt }, view, signal) => {
    const { pod, seen } = view
    await deps.logs.prepare(pod)
    const config = deps.sandboxConfig(pod, attempt, cgroupParents.get(view.uid) ?? '')
    try {
      const id = await spanned(view, { stage: 'sandbox' }, () => runtime.runPodSandbox(config, '', { signal }))
      return { ...seen, sandboxes: [await deps.sandboxSeen(id), ...seen.sandboxes] }
    } catch (error) {
      deps.onEvent(pod, 'Warning', 'FailedCreatePodSandBox', `Failed to create pod sandbox: ${describe(error)}`)
      throw new Fault('sandbox-create', `failed to create pod sandbox: ${describe(error)}`, { cause: error })
    }
  }

  const create = async (
    view: PodView,
    container: Container,
    restartCount: number,
    image: Image,
    sandbox: SandboxSeen,
  ): Promise<string> => {
    const { pod } = view
    await deps.logs.prepare(pod, container.name)
    const config = await deps.containerConfig(pod, container, restartCount, image, view.seen)
    const sandboxConfig = deps.sandboxConfig(pod, sandbox.attempt, cgroupParents.get(view.uid) ?? '')
    try {
      return await runtime.createContainer(sandbox.id, config, sandboxConfig)
    } catch (error) {
      throw asReason(error, 'container-create', 'CreateContainerError')
    }
  }

  const start: Executor<Extract<Step, { do: 'start' }>> = async ({ container: name, restartCount }, view, signal) => {
    const { pod, seen } = view
    const container = containerOf(pod, name)
    const [sandbox] = seen.sandboxes
    if (container === undefined || sandbox === undefined)
      throw new Fault('not-found', `container ${name} is not in the pod's spec`)
    try {
      const image = await spanned(view, { stage: 'image', container: name, detail: container.image }, () =>
        deps.image(pod, container, signal),
      )
      const id = await spanned(view, { stage: 'create', container: name }, () =>
        create(view, container, restartCount, image, sandbox),
      )
      await spanned(view, { stage: 'start', container: name }, async () => {
        await runtime.startContainer(id).catch(error => {
          throw asReason(error, 'container-start', 'RunContainerError')
        })
        await deps.logs.link(pod, name, id, restartCount)
      })
      deps.onEvent(pod, 'Normal', 'Started', `Container started: ${name}`)
      await postStart(view, container, id, signal)
      const it = await deps.containerSeen(id, sandbox.id)
      return { ...seen, containers: [it, ...seen.containers] }
    } catch (error) {
      if (!signal.aborted) deps.onEvent(pod, 'Warning', 'Failed', `Error: ${describe(error)}`)
      throw error
    }
  }

  const postStart = async (view: PodView, container: Container, id: string, signal: AbortSignal): Promise<void> => {
    const handler = container.lifecycle?.postStart
    if (handler === undefined) return
    try {
      await spanned(view, { stage: 'postStart', container: container.name }, () =>
        deps.hook(handler, { pod: view.pod, container, containerId: id, podIPs: podIPsOf(view.seen) }, signal),
      )
    } catch (error) {
      deps.onEvent(view.pod, 'Warning', 'FailedPostStartHook', describe(error))
      await stopOne(
        endingContext(view),
        { id, container, graceMs: graceOf(view.pod) * 1000, message: 'FailedPostStartHook', skipHook: false },
        signal,
      )
      throw asReason(error, 'hook', 'PostStartHookError')
    }
  }

  const executors = {
    'create-sandbox': createSandbox,
    start,
    'stop-sandbox': async (_, view, signal) => {
      await spanned(view, { stage: 'stop-sandbox' }, async () => {
        await endContainers(endingContext(view), { grace: graceOf(view.pod), since: deps.clock.now() }, new Set(), signal)
        await stopSandboxes(endingContext(view))
      })
      return { sandboxes: view.seen.sandboxes.map(it => ({ ...it, ready: false })), containers: view.seen.containers }
    },
    'remove-container': async ({ id }, view) => {
      await runtime.removeContainer(id)
      deps.forget([id])
      return { ...view.seen, containers: view.seen.containers.filter(it => it.id !== id) }
    },
    kill: async ({ id, container: name, message, reason }, view, signal) => {
      const container = containerOf(view.pod, name)
      const grace = probeGrace(view.pod, container, reason)
      await spanned(view, { stage: 'kill', container: name, detail: message }, () =>
        stopOne(endingContext(view), { id, container, graceMs: grace * 1000, message, skipHook: false }, signal),
      )
      const it = view.seen.containers.find(other => other.id === id)
      const now = await deps.containerSeen(id, it?.sandboxId ?? '')
      return { ...view.seen, containers: view.seen.containers.map(other => (other.id === id ? now : other)) }
    },
    wait: async (_, view) => view.seen,
  } satisfies { [S in Step['do']]: Executor<Extract<Step, { do: S }>> }

  const stoppedHooks = new Map<string, Set<string>>()
  return {
    prepare: async (view, steps, signal) => {
      if (!steps.some(step => step.do === 'create-sandbox' || step.do === 'start')) return
      signal.throwIfAborted()
      if (!cgroupParents.has(view.uid)) cgroupParents.set(view.uid, await deps.cgroups.ensurePod(view.pod))
      await spanned(view, { stage: 'volumes' }, () => deps.volumes.prepare(view.pod))
    },
    run: (step, view, signal) => (executors[step.do] as Executor<Step>)(step, view, signal),
    endContainers: async (view, ending, signal) => {
      const hooked = stoppedHooks.get(view.uid) ?? new Set<string>()
      stoppedHooks.set(view.uid, hooked)
      await spanned(view, { stage: 'stop' }, async () => {
        await endContainers(endingContext(view), ending, hooked, signal)
        await stopSandboxes(endingContext(view))
      })
    },
    release: async view => {
      deps.forgetProbes(view.uid)
      await deps.volumes.teardown(view.uid)
      await deps.cgroups.removePod(view.uid)
      cgroupParents.delete(view.uid)
      stoppedHooks.delete(view.uid)
    },
    collect: async ({ seen }, { containers, sandboxes }) => {
      for (const id of containers) await except(runtime.removeContainer(id), 'not-found')
      for (const id of sandboxes) await except(runtime.removePodSandbox(id), 'not-found')
      deps.forget([...containers, ...sandboxes])
      return {
        containers: seen.containers.filter(it => !containers.includes(it.id)),
        sandboxes: seen.sandboxes.filter(it => !sandboxes.includes(it.id)),
      }
    },
    remove: async view => {
      for (const { id } of view.seen.containers) await except(runtime.removeContainer(id), 'not-found')
      for (const { id } of view.seen.sandboxes) await except(runtime.removePodSandbox(id), 'not-found')
      deps.forget([...view.seen.containers, ...view.seen.sandboxes].map(it => it.id))
      await deps.logs.remove(view.pod)
    },
  }
}

const graceOf = (pod: Pod): Seconds => pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30

/** A probe may ask for a grace period of its own. */
const probeGrace = (pod: Pod, container: Container | undefined, reason: string): Seconds => {
  const probe =
    reason === 'LivenessProbe' ? container?.livenessProbe : reason === 'StartupProbe' ? container?.startupProbe : undefined
  return probe?.terminationGracePeriodSeconds ?? graceOf(pod)
}

const asReason = (error: unknown, code: 'container-create' | 'container-start' | 'hook', reason: string): Fault =>
  isFault(error) && error.reason !== undefined ? error : new Fault(code, describe(error), { cause: error, reason })
