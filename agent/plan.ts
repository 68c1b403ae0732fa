// What a pod needs next: a pure function from the spec, what the runtime shows and what the probes say, to steps.
// No clock, no I/O, no logging: `now` comes in, steps go out, agent/steps.ts carries them out in order.
// Follows the kubelet's rules for sandbox, init containers, sidecars, restart and back-off (computePodActions of 1.36;
// k8s.io: Pod Lifecycle, Init Containers, Sidecar Containers).
import { isSidecar } from '../api/pod.ts'
import type { Container, Pod } from '../api/types.ts'
import type { Millis } from '../host/clock.ts'
import { type BackOff, waitsUntil } from './backoff.ts'
import { containerHash } from './labels.ts'
import type { ResizeAction } from './resize.ts'
import { restartsAfter, restartsAfterKill } from './restart.ts'
import { type ContainerSeen, latest, latestExited, type Seen, usableSandbox } from './seen.ts'

export type KillReason = 'LivenessProbe' | 'StartupProbe' | 'Changed' | 'Unknown'

export type Step =
  /** Ends every container and the sandboxes; the pod is done, or its sandbox cannot be used any more. */
  | { readonly do: 'stop-sandbox'; readonly why: string }
  | { readonly do: 'remove-container'; readonly id: string }
  | { readonly do: 'create-sandbox'; readonly attempt: number }
  | {
      readonly do: 'kill'
      readonly container: string
      readonly id: string
      readonly reason: KillReason
      readonly message: string
    }
  /** Gives a running container the resources that its pod has been granted. */
  | { readonly do: 'resize'; readonly container: string; readonly id: string }
  | { readonly do: 'start'; readonly container: string; readonly restartCount: number }
  | { readonly do: 'wait'; readonly container: string; readonly until: Millis; readonly pauseMs: number }

export interface PlanInput {
  readonly pod: Pod
  readonly seen: Seen
  readonly probed: (containerId: string, kind: 'liveness' | 'startup') => 'success' | 'failure' | 'unknown'
  /** What a resize asks of a running container; none is asked when it is left out. */
  readonly resizeOf?: (container: Container, current: ContainerSeen) => ResizeAction
  /** Crash back-off so far, by container name. */
  readonly backOffs: ReadonlyMap<string, BackOff>
  readonly longestPauseMs?: number
  readonly now: Millis
}

/**
 * The steps that bring a pod from what is observed to what its spec asks.
 * @returns steps in order; empty when nothing is to be done. A step that fails ends those that need it.
 */
export const plan = (input: PlanInput): readonly Step[] => {
  const { pod, seen } = input
  if (usableSandbox(seen, pod.spec.hostNetwork === true) === undefined) return planSandbox(input)
  const ephemeral = (pod.spec.ephemeralContainers ?? [])
    .filter(container => latest(seen, container.name) === undefined)
    .map(container => startNow(input, container))
  const init = planInit(input)
  if (init.failed) return [{ do: 'stop-sandbox', why: 'an init container failed for good' }]
  if (!init.done) return [...ephemeral, ...init.steps]
  const apps = planApps(input)
  return apps.finished
    ? [{ do: 'stop-sandbox', why: 'all containers have ended for good' }]
    : [...ephemeral, ...init.steps, ...apps.steps]
}

const planSandbox = (input: PlanInput): readonly Step[] => {
  const { pod, seen } = input
  const [newest] = seen.sandboxes
  const attempt = newest === undefined ? 0 : newest.attempt + 1
  const clear: Step[] = newest === undefined ? [] : [{ do: 'stop-sandbox', why: 'its sandbox cannot be used any more' }]
  if (pod.spec.restartPolicy === 'Never' && attempt !== 0 && seen.containers.length > 0) return clear
  const toStart = pod.spec.containers.filter(it => !(runsOnce(pod, it) && succeeded(seen, it)))
  if (toStart.length === 0 && pod.spec.containers.some(it => latest(seen, it.name) !== undefined)) return clear
  const create: Step = { do: 'create-sandbox', attempt }
  const [firstInit] = pod.spec.initContainers ?? []
  if (firstInit === undefined) return [...clear, create, ...toStart.flatMap(it => startOrWait(input, it))]
  const initNames = new Set(pod.spec.initContainers?.map(it => it.name))
  const purge = seen.containers.filter(it => initNames.has(it.name)).map((it): Step => ({ do: 'remove-container', id: it.id }))
  return [...clear, ...purge, create, startNow(input, firstInit)]
}

const runsOnce = (pod: Pod, container: Container): boolean => (container.restartPolicy ?? pod.spec.restartPolicy) === 'OnFailure'

const succeeded = (seen: Seen, container: Container): boolean => {
  const it = latest(seen, container.name)
  return it?.state === 'exited' && it.exitCode === 0
}

interface InitPlan {
  readonly done: boolean
  readonly failed: boolean
  readonly steps: readonly Step[]
}

/**
 * Init containers, last first: those that completed may have been removed, so the last one seen tells how far the pod is.
 * Sidecars (restartable init containers) count as complete once started, and are kept running ever after.
 */
const planInit = (input: PlanInput): InitPlan => {
  const { pod, seen } = input
  const inits = pod.spec.initContainers ?? []
  const initialized = pod.spec.containers.some(it => {
    const state = latest(seen, it.name)?.state
    return state === 'created' || state === 'running'
  })
  let done = inits.length === 0 || initialized
  const steps: Step[] = []
  for (let index = inits.length - 1; index >= 0; index--) {
    const container = inits[index]!
    const current = latest(seen, container.name)
    if (current === undefined) {
      if (initialized && isSidecar(container)) steps.unshift(...startOrWait(input, container))
      continue
    }
    if (initialized && !isSidecar(container)) continue
    const verdict = isSidecar(container) ? planSidecar(input, container, current) : planOneInit(input, container, current)
    if (verdict.failed) return { done: false, failed: true, steps: [] }
    steps.unshift(...verdict.steps)
    if (verdict.complete && index === inits.length - 1) done = true
    const following = inits[index + 1]
    if (verdict.complete && !initialized && following !== undefined) steps.push(startNow(input, following))
    if (!initialized) return { done, failed: false, steps: [...keepSidecars(input, inits.slice(0, index)), ...steps] }
  }
  if (inits.length > 0 && !done && steps.length === 0) steps.push(startNow(input, inits[0]!))
  return { done, failed: false, steps }
}

/** While later init containers run, the sidecars before them are kept running too. */
const keepSidecars = (input: PlanInput, earlier: readonly Container[]): readonly Step[] =>
  earlier.filter(isSidecar).flatMap(container => {
    const current = latest(input.seen, container.name)
    return current === undefined ? startOrWait(input, container) : planSidecar(input, container, current).steps
  })

interface OneInit {
  readonly complete: boolean
  readonly failed: boolean
  readonly steps: readonly Step[]
}

const planOneInit = (input: PlanInput, container: Container, current: ContainerSeen): OneInit => {
  if (current.state === 'running') return { complete: false, failed: false, steps: [] }
  if (current.state !== 'exited') return { complete: false, failed: false, steps: startOrWait(input, container) }
  if (current.exitCode === 0) return { complete: true, failed: false, steps: [] }
  return restartsAfter(input.pod, container, current.exitCode)
    ? { complete: false, failed: false, steps: startOrWait(input, container) }
    : { complete: false, failed: true, steps: [] }
}

const planSidecar = (input: PlanInput, container: Container, current: ContainerSeen): OneInit => {
  const steps = (it: readonly Step[], complete = false): OneInit => ({ complete, failed: false, steps: it })
  if (current.state !== 'running') return steps(startOrWait(input, container))
  const startup = container.startupProbe === undefined ? 'success' : input.probed(current.id, 'startup')
  if (startup === 'failure')
    return steps(
      killAndRestart(input, container, current, 'StartupProbe', `Init container ${container.name} failed startup probe`),
    )
  if (startup !== 'success') return steps([])
  if (hasChanged(container, current))
    return steps(
      killAndRestart(input, container, current, 'Changed', `Init container ${container.name} definition changed`),
      true,
    )
  if (container.livenessProbe !== undefined && input.probed(current.id, 'liveness') === 'failure')
    return steps(
      killAndRestart(input, container, current, 'LivenessProbe', `Init container ${container.name} failed liveness probe`),
      true,
    )
  return steps(restartToResize(input, container, current) ?? resized(input, container, current), true)
}

const planApps = (input: PlanInput): { readonly finished: boolean; readonly steps: readonly Step[] } => {
  let kept = 0
  const steps = input.pod.spec.containers.flatMap((container): readonly Step[] => {
    const current = latest(input.seen, container.name)
    if (current?.state !== 'running') return planStopped(input, container, current)
    const kill = whyKill(input, container, current)
    if (kill !== undefined) return kill
    kept++
    return resized(input, container, current)
  })
  return { finished: kept === 0 && steps.length === 0, steps }
}

const planStopped = (input: PlanInput, container: Container, current: ContainerSeen | undefined): readonly Step[] => {
  if (current?.state === 'exited' && !restartsAfter(input.pod, container, current.exitCode)) return []
  if (current?.state !== 'unknown') return startOrWait(input, container)
  const message = `Container is in "unknown" state, try killing it before restart`
  return [{ do: 'kill', container: container.name, id: current.id, reason: 'Unknown', message }, ...startOrWait(input, container)]
}

const whyKill = (input: PlanInput, container: Container, current: ContainerSeen): readonly Step[] | undefined => {
  if (hasChanged(container, current))
    return killAndRestart(input, container, current, 'Changed', `Container ${container.name} definition changed`, true)
  if (container.livenessProbe !== undefined && input.probed(current.id, 'liveness') === 'failure')
    return killAndRestart(input, container, current, 'LivenessProbe', `Container ${container.name} failed liveness probe`)
  if (container.startupProbe !== undefined && input.probed(current.id, 'startup') === 'failure')
    return killAndRestart(input, container, current, 'StartupProbe', `Container ${container.name} failed startup probe`)
  return restartToResize(input, container, current)
}

const restartToResize = (input: PlanInput, container: Container, current: ContainerSeen): readonly Step[] | undefined =>
  input.resizeOf?.(container, current) === 'restart'
    ? killAndRestart(input, container, current, 'Changed', `Container ${container.name} resize requires restart`, true)
    : undefined

const resized = (input: PlanInput, container: Container, current: ContainerSeen): readonly Step[] =>
  input.resizeOf?.(container, current) === 'update' ? [{ do: 'resize', container: container.name, id: current.id }] : []

const hasChanged = (container: Container, current: ContainerSeen): boolean =>
  current.hash !== undefined && current.hash !== containerHash(container)

const killAndRestart = (
  input: PlanInput,
  container: Container,
  current: ContainerSeen,
  reason: KillReason,
  why: string,
  always = false,
): readonly Step[] => {
  const restarts = always || isSidecar(container) || restartsAfterKill(input.pod, container)
  const message = restarts ? `${why}, will be restarted` : why
  const kill: Step = { do: 'kill', container: container.name, id: current.id, reason, message }
  return restarts ? [kill, ...startOrWait(input, container)] : [kill]
}

const startNow = ({ seen }: PlanInput, container: Container): Step => {
  const current = latest(seen, container.name)
  return { do: 'start', container: container.name, restartCount: current === undefined ? 0 : current.restartCount + 1 }
}

/** A start, or the wait that crash back-off asks before it. A container that was made but never started gives way first. */
const startOrWait = (input: PlanInput, container: Container): readonly Step[] => {
  const current = latest(input.seen, container.name)
  if (current?.state === 'created')
    return [
      { do: 'remove-container', id: current.id },
      { do: 'start', container: container.name, restartCount: current.restartCount },
    ]
  const ended = latestExited(input.seen, container.name)
  const backOff = input.backOffs.get(container.name)
  const until = ended === undefined ? undefined : waitsUntil(backOff, ended, input.now, input.longestPauseMs)
  return until === undefined || backOff === undefined
    ? [startNow(input, container)]
    : [{ do: 'wait', container: container.name, until, pauseMs: backOff.pauseMs }]
}
