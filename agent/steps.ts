// Carries out what agent/plan.ts decided for one pod: one executor for each kind of step, no policy of its own.
// Every stage leaves a span in the pod's timeline; every failure is a Fault with the reason that the container's status shows.
import { containerOf } from '../api/pod.ts'
import type { Container, Pod } from '../api/types.ts'
import type { Millis, Seconds } from '../host/clock.ts'
import { except, Fault, isFault } from '../host/fault.ts'
import type { Step } from './plan.ts'
import type { Seen } from './seen.ts'
import { createStarting } from './starting.ts'
import { type Executor, endingContext, graceOf, type PodView, type StepDeps, spanned } from './step-context.ts'
import type { Surplus } from './surplus.ts'
import { endContainers, stopOne, stopSandboxes } from './terminate.ts'

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

export const createSteps = (deps: StepDeps): StepRunner => {
  const { runtime } = deps
  const cgroupParents = new Map<string, string>()
  const { createSandbox, start } = createStarting(deps, uid => cgroupParents.get(uid) ?? '')

  const removeLogs = async ({ pod, seen }: PodView, ids: readonly string[]) => {
    for (const it of seen.containers) if (ids.includes(it.id)) await deps.logs.removeContainer(pod, it)
  }

  const ensureCgroup = async ({ uid, pod }: PodView) => {
    if (!cgroupParents.has(uid)) cgroupParents.set(uid, await deps.cgroups.ensurePod(pod))
  }

  const prepareVolumes = async (view: PodView, signal: AbortSignal) => {
    try {
      await spanned(deps, view, { stage: 'volumes' }, () => deps.volumes.prepare(view.pod))
    } catch (error) {
      if (isFault(error, 'volume') && !signal.aborted) deps.onEvent(view.pod, 'Warning', 'FailedMount', error.message)
      throw error
    }
  }

  const executors = {
    'create-sandbox': createSandbox,
    start,
    'stop-sandbox': async (_, view, signal) => {
      await spanned(deps, view, { stage: 'stop-sandbox' }, async () => {
        await endContainers(endingContext(deps, view), { grace: graceOf(view.pod), since: deps.clock.now() }, new Set(), signal)
        await stopSandboxes(endingContext(deps, view))
      })
      return { sandboxes: view.seen.sandboxes.map(it => ({ ...it, ready: false })), containers: view.seen.containers }
    },
    'remove-container': async ({ id }, view) => {
      await runtime.removeContainer(id)
      await removeLogs(view, [id])
      deps.forget([id])
      return { ...view.seen, containers: view.seen.containers.filter(it => it.id !== id) }
    },
    kill: async ({ id, container: name, message, reason }, view, signal) => {
      const container = containerOf(view.pod, name)
      const grace = probeGrace(view.pod, container, reason)
      await spanned(deps, view, { stage: 'kill', container: name, detail: message }, () =>
        stopOne(endingContext(deps, view), { id, container, graceMs: grace * 1000, message, skipHook: false }, signal),
      )
      const it = view.seen.containers.find(other => other.id === id)
      const now = await deps.containerSeen(id, it?.sandboxId ?? '')
      return { ...view.seen, containers: view.seen.containers.map(other => (other.id === id ? now : other)) }
    },
    resize: async ({ id, container }, view) => {
      await spanned(deps, view, { stage: 'resize', container }, () => resize(deps, view, container, id))
      const it = view.seen.containers.find(other => other.id === id)
      const now = await deps.containerSeen(id, it?.sandboxId ?? '')
      return { ...view.seen, containers: view.seen.containers.map(other => (other.id === id ? now : other)) }
    },
    wait: async (_, view) => view.seen,
  } satisfies { [D in Step['do']]: Executor<D> }

  const stoppedHooks = new Map<string, Set<string>>()
  return {
    prepare: async (view, steps, signal) => {
      if (!steps.some(step => step.do === 'create-sandbox' || step.do === 'start')) return
      signal.throwIfAborted()
      // Neither needs the other, and both are waited for: what comes next may take them away again.
      const [cgroup, volumes] = await Promise.allSettled([ensureCgroup(view), prepareVolumes(view, signal)])
      if (cgroup.status === 'rejected') throw cgroup.reason
      if (volumes.status === 'rejected') throw volumes.reason
    },
    run: (step, view, signal) => (executors[step.do] as Executor<Step['do']>)(step, view, signal),
    endContainers: async (view, ending, signal) => {
      const hooked = stoppedHooks.get(view.uid) ?? new Set<string>()
      stoppedHooks.set(view.uid, hooked)
      await spanned(deps, view, { stage: 'stop' }, async () => {
        await endContainers(endingContext(deps, view), ending, hooked, signal)
        await stopSandboxes(endingContext(deps, view))
      })
    },
    release: async view => {
      deps.forgetProbes(view.uid)
      await deps.volumes.teardown(view.uid)
      await deps.cgroups.removePod(view.uid)
      cgroupParents.delete(view.uid)
      stoppedHooks.delete(view.uid)
    },
    collect: async (view, { containers, sandboxes }) => {
      const { seen } = view
      for (const id of containers) await except(runtime.removeContainer(id), 'not-found')
      await removeLogs(view, containers)
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

/** The pod's cgroup first gets room, and is set to the sum once the container has what it was granted. */
const resize = async (deps: StepDeps, { pod }: PodView, name: string, id: string): Promise<void> => {
  const container = containerOf(pod, name)
  if (container === undefined || deps.resources === undefined || deps.runtime.updateContainerResources === undefined)
    throw new Fault('unsupported', `container ${name} cannot be resized here`, { retry: 'never' })
  const resources = deps.resources(pod, container)
  const { memoryLimitInBytes: limit = 0 } = resources
  const used = limit > 0 ? ((await deps.memoryUsed?.(id)) ?? 0) : 0
  if (used > limit)
    throw new Fault('runtime-refused', `attempting to set memory limit (${limit}) of ${name} below current usage (${used})`)
  // cgroup v1 refuses a quota below that of a container, which is lowered next.
  await except(deps.cgroups.ensurePod(pod), 'kernel-refused')
  await deps.runtime.updateContainerResources(id, resources)
  await deps.cgroups.ensurePod(pod)
}

/** A probe may ask for a grace period of its own. */
const probeGrace = (pod: Pod, container: Container | undefined, reason: string): Seconds => {
  const probe =
    reason === 'LivenessProbe' ? container?.livenessProbe : reason === 'StartupProbe' ? container?.startupProbe : undefined
  return probe?.terminationGracePeriodSeconds ?? graceOf(pod)
}
