// How a pod's sandbox and its containers come to run: create, start, postStart. The executors of two kinds of step, no policy.
// Follows the order of the kubelet: image, configuration, create, log link, start, hook (k8s.io: Container Lifecycle Hooks).
import { containerOf } from '../api/pod.ts'
import type { Container } from '../api/types.ts'
import { describe, Fault } from '../host/fault.ts'
import type { SandboxSeen } from './seen.ts'
import {
  asReason,
  type Executor,
  endingContext,
  graceOf,
  type Image,
  type PodView,
  podIPsOf,
  type StepDeps,
  spanned,
} from './step-context.ts'
import { stopOne } from './terminate.ts'

export interface Starting {
  readonly createSandbox: Executor<'create-sandbox'>
  readonly start: Executor<'start'>
}

/** @param cgroupParentOf the cgroup that was made for a pod, for the runtime to put the sandbox and containers into */
export const createStarting = (deps: StepDeps, cgroupParentOf: (podUid: string) => string): Starting => {
  const { runtime } = deps

  const createSandbox: Executor<'create-sandbox'> = async ({ attempt }, view, signal) => {
    const { pod, seen } = view
    await deps.logs.prepare(pod)
    const config = deps.sandboxConfig(pod, attempt, cgroupParentOf(view.uid))
    try {
      const handler = (await deps.runtimeHandler?.(pod)) ?? ''
      const id = await spanned(deps, view, { stage: 'sandbox' }, () => runtime.runPodSandbox(config, handler, { signal }))
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
    const sandboxConfig = deps.sandboxConfig(pod, sandbox.attempt, cgroupParentOf(view.uid))
    try {
      return await runtime.createContainer(sandbox.id, config, sandboxConfig)
    } catch (error) {
      throw asReason(error, 'container-create', 'CreateContainerError')
    }
  }

  const start: Executor<'start'> = async ({ container: name, restartCount }, view, signal) => {
    const { pod, seen } = view
    const container = containerOf(pod, name)
    const [sandbox] = seen.sandboxes
    if (container === undefined || sandbox === undefined)
      throw new Fault('not-found', `container ${name} is not in the pod's spec`)
    try {
      const image = await spanned(deps, view, { stage: 'image', container: name, detail: container.image }, () =>
        deps.image(pod, container, signal),
      )
      const id = await spanned(deps, view, { stage: 'create', container: name }, () =>
        create(view, container, restartCount, image, sandbox),
      )
      deps.onEvent(pod, 'Normal', 'Created', 'Container created', { container: name })
      // Linked before it starts: what was only created is made anew by the next daemon, what runs is left alone.
      await deps.logs.link(pod, name, id, restartCount)
      await spanned(deps, view, { stage: 'start', container: name }, async () => {
        await runtime.startContainer(id).catch(error => {
          throw asReason(error, 'container-start', 'RunContainerError')
        })
      })
      deps.onEvent(pod, 'Normal', 'Started', 'Container started', { container: name })
      await postStart(view, container, id, signal)
      const it = await deps.containerSeen(id, sandbox.id)
      return { ...seen, containers: [it, ...seen.containers] }
    } catch (error) {
      if (!signal.aborted) deps.onEvent(pod, 'Warning', 'Failed', `Error: ${describe(error)}`, { container: name })
      throw error
    }
  }

  const postStart = async (view: PodView, container: Container, id: string, signal: AbortSignal): Promise<void> => {
    const handler = container.lifecycle?.postStart
    if (handler === undefined) return
    try {
      await spanned(deps, view, { stage: 'postStart', container: container.name }, () =>
        deps.hook(handler, { pod: view.pod, container, containerId: id, podIPs: podIPsOf(view.seen) }, signal),
      )
    } catch (error) {
      deps.onEvent(view.pod, 'Warning', 'FailedPostStartHook', describe(error), { container: container.name })
      await stopOne(
        endingContext(deps, view),
        { id, container, graceMs: graceOf(view.pod) * 1000, message: 'FailedPostStartHook', skipHook: false },
        signal,
      )
      throw asReason(error, 'hook', 'PostStartHookError')
    }
  }

  return { createSandbox, start }
}
