// Ends containers: preStop hook, stop signal, grace period, kill; stages in the order of agent/ending.ts; then the sandboxes.
// Safe to repeat: a hook runs once, a container that is gone is fine. The CRI's StopContainer signals, waits and kills.

import type { Cri } from '../api/cri/cri.ts'
import { containerOf } from '../api/pod.ts'
import type { Container, LifecycleHandler, Pod } from '../api/types.ts'
import type { Clock, Millis, Seconds } from '../host/clock.ts'
import { describe, except } from '../host/fault.ts'
import { endingStages, remainingGrace } from './ending.ts'
import type { HookTarget } from './hooks.ts'
import type { OnPodEvent } from './pod-event.ts'
import type { ContainerSeen, Seen } from './seen.ts'

/** Runs one lifecycle hook to its end. @throws Fault `hook` */
export type RunHook = (handler: LifecycleHandler, target: HookTarget, signal: AbortSignal) => Promise<void>

export interface EndingContext {
  readonly pod: Pod
  readonly seen: Seen
  readonly podIPs: readonly string[]
  readonly runtime: Pick<Cri, 'stopContainer' | 'stopPodSandbox'>
  readonly clock: Clock
  readonly hook: RunHook
  readonly onEvent: OnPodEvent
}

export interface Stop {
  readonly id: string
  readonly container: Container | undefined
  readonly graceMs: number
  readonly message: string
  /** The hook has run already: only what is left of the time counts. */
  readonly skipHook: boolean
}

/**
 * Ends one container within its grace period.
 * @throws Fault when the runtime cannot stop it; a container that is gone is fine, a failed hook is an event
 */
export const stopOne = async (context: EndingContext, stop: Stop, signal: AbortSignal): Promise<void> => {
  const { runtime, clock, pod } = context
  const startedAt = clock.monotonic()
  if (!stop.skipHook)
    context.onEvent(pod, 'Normal', 'Killing', stop.message || `Stopping container ${stop.container?.name ?? stop.id}`, {
      ...(stop.container && { container: stop.container.name }),
    })
  if (!stop.skipHook && stop.graceMs > 0) await preStop(context, stop, signal)
  const left = remainingGrace(stop.graceMs / 1000, clock.monotonic() - startedAt)
  await except(runtime.stopContainer(stop.id, left, { signal }), 'not-found')
}

const preStop = async (context: EndingContext, { container, id, graceMs }: Stop, signal: AbortSignal): Promise<void> => {
  const handler = container?.lifecycle?.preStop
  if (handler === undefined || container === undefined) return
  const deadline = new AbortController()
  const timer = context.clock.after(graceMs, () => deadline.abort(new Error(`the grace period of ${graceMs / 1000} s is over`)))
  try {
    const target = { pod: context.pod, container, containerId: id, podIPs: context.podIPs }
    await context.hook(handler, target, AbortSignal.any([deadline.signal, signal]))
  } catch (error) {
    context.onEvent(context.pod, 'Warning', 'FailedPreStopHook', `PreStopHook failed: ${describe(error)}`, {
      container: container.name,
    })
  } finally {
    timer.cancel()
  }
}

/**
 * Ends all containers of a pod, stage by stage, within one grace period that began at `since`.
 * @param hooked containers whose hooks have run; grows, so that a repeated call does not run them twice
 */
export const endContainers = async (
  context: EndingContext,
  { grace, since }: { readonly grace: Seconds; readonly since: Millis },
  hooked: Set<string>,
  signal: AbortSignal,
): Promise<void> => {
  const stopStage = async (it: ContainerSeen) => {
    const spec = containerOf(context.pod, it.name)
    const skipHook = hooked.has(it.id)
    hooked.add(it.id)
    const graceMs = remainingGrace(grace, context.clock.now() - since) * 1000
    await stopOne(context, { id: it.id, container: spec, graceMs, message: '', skipHook }, signal)
  }
  for (const stage of endingStages(context.pod, context.seen)) {
    const results = await Promise.allSettled(stage.map(stopStage))
    const failed = results.find(it => it.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }
}

/**
 * Stops every sandbox of the pod: its network is taken down and what still runs in it is killed. One that is not ready may only have lost
 * its pause process: it holds its addresses and hostPorts until it is stopped, and cannot be removed before. Safe to repeat.
 */
export const stopSandboxes = async ({ seen, runtime }: EndingContext): Promise<void> => {
  for (const { id } of seen.sandboxes) await except(runtime.stopPodSandbox(id), 'not-found')
}
