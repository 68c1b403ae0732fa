// The one owner of a pod: serial, one pending turn (many pokes make one), phases syncing -> terminating -> terminated, never back.
// Others ask the worker. A turn looks at the runtime, publishes the status, plans and carries out steps until nothing is left to do;
// what fails is written down as the reason that containers wait, and tried again after a growing pause.

import type { LinuxContainerResources } from '../api/cri/types.ts'
import { fullName, templateContainers } from '../api/pod.ts'
import type { PodStatus } from '../api/pod-status.ts'
import type { Container, Pod } from '../api/types.ts'
import type { Clock, Millis, Seconds, Timer } from '../host/clock.ts'
import { describe, Fault, type FaultCode, isFault } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import { type BackOff, next as nextBackOff, seed } from './backoff.ts'
import { shorterGrace } from './ending.ts'
import { plan, type Step } from './plan.ts'
import { type ResizeAction, type ResizeState, resizeAction } from './resize.ts'
import { type ContainerSeen, isAlive, latest, latestExited, nothingSeen, type Seen } from './seen.ts'
import type { Verdict, Waiting } from './status.ts'
import type { StepRunner } from './steps.ts'
import { surplus } from './surplus.ts'

export type WorkerPhase = 'syncing' | 'terminating' | 'terminated'

export interface Ending {
  readonly grace: Seconds
  readonly why: string
  /** The pod is gone from its source: nothing of it is kept. Otherwise it has ended and its containers stay readable. */
  readonly removed: boolean
  readonly verdict?: Verdict
}

export interface WorkerDeps {
  readonly steps: StepRunner
  readonly look: (podUid: string) => Promise<Seen>
  readonly probed: (containerId: string, kind: 'liveness' | 'startup') => 'success' | 'failure' | 'unknown'
  /** The figures that a container is to run with; without it nothing is resized in place. */
  readonly resources?: (pod: Pod, container: Container) => LinuxContainerResources
  /** The pod has been here longer than its spec allows. */
  readonly onOverdue?: (worker: PodWorker, verdict: Verdict) => void
  /** What was granted is in force in every container. */
  readonly onResized?: (worker: PodWorker) => void
  /** Works out and makes known the pod's status; returns it. */
  readonly publish: (worker: PodWorker) => PodStatus
  /** A removed pod holds nothing any more: for everybody else it is gone. What the runtime remembers of it is still to be taken away. */
  readonly onLeft: (worker: PodWorker) => void
  /** When to do what nobody waits for. */
  readonly whenCalm: () => Promise<void>
  /** Everything of a removed pod has been taken away. */
  readonly onGone: (worker: PodWorker) => void
  /** The longest crash back-off. */
  readonly longestPauseMs: number
  /** How many ended attempts of each container the runtime keeps. */
  readonly keepDead: number
  readonly clock: Clock
  readonly log: Log
}

const firstRetryMs = 1000
const longestRetryMs = 10_000

/** How long to wait after a failure: the growing pause, or less where it is known that trying again helps sooner. */
const pauseAfter = (error: unknown, retryMs: number): number =>
  Math.min(retryMs, (isFault(error) ? error.retryAfterMs : undefined) ?? retryMs)

export class PodWorker {
  readonly uid: string
  pod: Pod
  seen: Seen = nothingSeen
  readonly waiting = new Map<string, Waiting>()
  readonly firstSeenAt: Millis
  phase: WorkerPhase = 'syncing'
  ending: Ending | undefined
  endingSince: Millis = 0
  /** Where a resize of the pod stands; whoever owns all pods grants it. */
  resize: ResizeState = {}
  /** The last thing that went wrong, until a turn goes well. */
  lastError: { readonly message: string; readonly code?: FaultCode } | undefined

  readonly #deps: WorkerDeps
  readonly #backOffs = new Map<string, BackOff>()
  #running = false
  #pending = false
  #timer: Timer | undefined
  #deadline: Timer | undefined
  #retryMs = firstRetryMs
  #turn = new AbortController()
  #isGone = false
  #isReleased = false
  #hasLeft = false
  /** The figures that each container was last told, so that a runtime which counts otherwise is told once. */
  readonly #told = new Map<string, string>()

  constructor(pod: Pod, deps: WorkerDeps) {
    this.pod = pod
    this.uid = pod.metadata.uid ?? ''
    this.#deps = deps
    this.firstSeenAt = deps.clock.now()
  }

  /** A newer version of the same pod (labels, annotations, an image): the newest wins. */
  update(pod: Pod): void {
    if (pod === this.pod) return
    this.pod = pod
    this.poke()
  }

  /** Asks for a turn soon; many asks while one runs make one more. */
  poke(): void {
    this.#pending = true
    if (!this.#running && !this.#isGone) void this.#run()
  }

  /** Lets the pod be: no more turns. What the daemon that comes next finds is what the runtime shows. */
  abandon(): void {
    this.#isGone = true
    this.#timer?.cancel()
    this.#turn.abort(new Fault('runtime-refused', 'the daemon is stopping', { retry: 'never' }))
  }

  get isBusy(): boolean {
    return this.#running
  }

  /** Nothing is to be told of it any more. */
  get hasLeft(): boolean {
    return this.#hasLeft
  }

  /** Ends the pod. Asked again, the grace period may only get shorter, and `removed` only become true. */
  end(ending: Ending): void {
    const before = this.ending
    const grace = shorterGrace(before?.grace, ending.grace)
    if (before !== undefined && grace === before.grace && ending.removed === before.removed) return
    this.ending = {
      ...before,
      ...ending,
      grace,
      removed: ending.removed || before?.removed === true,
      why: before?.why ?? ending.why,
    }
    if (this.phase === 'syncing') {
      this.phase = 'terminating'
      this.endingSince = this.#deps.clock.now()
    }
    this.#turn.abort(new Fault('runtime-refused', 'the pod is ending', { retry: 'never' }))
    this.poke()
  }

  async #run(): Promise<void> {
    this.#running = true
    this.#timer?.cancel()
    while (this.#pending && !this.#isGone) {
      this.#pending = false
      this.#turn = new AbortController()
      try {
        await this.#oneTurn(this.#turn.signal)
        this.#retryMs = firstRetryMs
        this.lastError = undefined
      } catch (error) {
        this.#failed(error)
      }
    }
    this.#running = false
  }

  async #oneTurn(signal: AbortSignal): Promise<void> {
    if (this.phase === 'syncing') await this.#sync(signal)
    if (this.phase === 'terminating') await this.#terminate(signal)
    if (this.phase === 'terminated') await this.#clear(this.ending?.removed === true)
  }

  #failed(error: unknown): void {
    if (this.#isGone || (this.#turn.signal.aborted && this.#pending)) return
    this.lastError = { message: describe(error), ...(isFault(error) && { code: error.code }) }
    const fields = { pod: fullName(this.pod), err: error, retryMs: this.#retryMs }
    if (isFault(error) && error.retry === 'never') this.#deps.log.debug(fields, 'the pod waits')
    else this.#deps.log.warn(fields, 'the pod could not be brought on')
    if (this.phase !== 'terminated') this.#deps.publish(this)
    this.#wakeIn(pauseAfter(error, this.#retryMs))
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
  }

  #wakeIn(ms: number): void {
    this.#timer?.cancel()
    this.#timer = this.#deps.clock.after(ms, () => this.poke())
  }

  async #sync(signal: AbortSignal): Promise<void> {
    this.seen = await this.#deps.look(this.uid)
    for (;;) {
      const status = this.#deps.publish(this)
      if (status.phase === 'Failed' || status.phase === 'Succeeded') {
        this.end({
          grace: this.pod.spec.terminationGracePeriodSeconds ?? 30,
          why: `the pod has ${status.phase.toLowerCase()}`,
          removed: false,
        })
        return
      }
      if (this.#isOverdue(status)) return
      const steps = this.#plan()
      const active = steps.filter(step => step.do !== 'wait')
      if (active.length === 0) {
        this.#resized()
        this.#holdBack(steps)
        this.seen = await this.#deps.steps.collect(this, surplus(this.seen, this.#deps.keepDead))
        return
      }
      await this.#carryOut(active, steps, signal)
      // A pod that only loses its sandbox is told so by its status at the next look; planning again at once would go in circles.
      if (signal.aborted || active.every(step => step.do === 'stop-sandbox')) return
    }
  }

  /** A pod past its activeDeadlineSeconds ends as Failed; one that is not yet is looked at again when it is. */
  #isOverdue(status: PodStatus): boolean {
    const { activeDeadlineSeconds } = this.pod.spec
    if (activeDeadlineSeconds === undefined || status.startTime === undefined) return false
    const leftMs = Date.parse(status.startTime) + activeDeadlineSeconds * 1000 - this.#deps.clock.now()
    if (leftMs > 0) {
      this.#deadline?.cancel()
      this.#deadline = this.#deps.clock.after(leftMs, () => this.poke())
      return false
    }
    const message = 'Pod was active on the node longer than the specified deadline'
    const verdict: Verdict = { phase: 'Failed', reason: 'DeadlineExceeded', message }
    this.#deps.onOverdue?.(this, verdict)
    this.end({ grace: this.pod.spec.terminationGracePeriodSeconds ?? 30, why: message, removed: false, verdict })
    return true
  }

  #plan(): readonly Step[] {
    for (const { name } of templateContainers(this.pod)) {
      const ended = latestExited(this.seen, name)
      if (ended === undefined || this.#backOffs.has(name)) continue
      const seeded = seed(ended, this.#deps.longestPauseMs)
      if (seeded !== undefined) this.#backOffs.set(name, seeded)
    }
    const { probed, clock, longestPauseMs } = this.#deps
    const resizeOf = (container: Container, current: ContainerSeen) => this.#resizeOf(container, current)
    return plan({ pod: this.pod, seen: this.seen, probed, resizeOf, backOffs: this.#backOffs, longestPauseMs, now: clock.now() })
  }

  /** A pod whose spec never changed was never resized. */
  #resizeOf(container: Container, current: ContainerSeen): ResizeAction {
    if (this.#deps.resources === undefined || (this.pod.metadata.generation ?? 1) <= 1) return 'none'
    const wanted = this.#deps.resources(this.pod, container)
    return this.#told.get(current.id) === JSON.stringify(wanted) ? 'none' : resizeAction(container, current, wanted)
  }

  async #applyResize(step: Extract<Step, { do: 'resize' }>, signal: AbortSignal): Promise<void> {
    try {
      this.seen = await this.#deps.steps.run(step, this, signal)
    } catch (error) {
      const { inProgress } = this.resize
      if (inProgress !== undefined) this.resize = { ...this.resize, inProgress: { ...inProgress, error: describe(error) } }
      throw error
    }
    const container = templateContainers(this.pod).find(it => it.name === step.container)
    if (container !== undefined) this.#told.set(step.id, JSON.stringify(this.#deps.resources?.(this.pod, container)))
  }

  /** Every container has what its pod was granted. */
  #resized(): void {
    const { inProgress, ...rest } = this.resize
    if (inProgress === undefined) return
    this.resize = rest
    this.#deps.onResized?.(this)
  }

  /** Nothing to do but wait: the earliest end of a back-off wakes the worker. */
  #holdBack(steps: readonly Step[]): void {
    const held = this.#showBackOff(steps)
    for (const name of this.waiting.keys()) if (!held.has(name)) this.waiting.delete(name)
    this.#deps.publish(this)
    const earliest = Math.min(...held.values())
    if (Number.isFinite(earliest)) this.#wakeIn(earliest - this.#deps.clock.now())
  }

  /** Writes crash back-off down as what the containers wait for; returns until when, by container. */
  #showBackOff(steps: readonly Step[]): ReadonlyMap<string, Millis> {
    const { name, namespace } = this.pod.metadata
    const held = new Map<string, Millis>()
    for (const step of steps) {
      if (step.do !== 'wait') continue
      held.set(step.container, step.until)
      const message = `back-off ${step.pauseMs / 1000}s restarting failed container=${step.container} pod=${name}_${namespace}(${this.uid})`
      this.waiting.set(step.container, { reason: 'CrashLoopBackOff', message })
    }
    return held
  }

  /** Carries out steps in order. A container that fails to start does not keep the others from theirs; anything else ends the turn. */
  async #carryOut(active: readonly Step[], all: readonly Step[], signal: AbortSignal): Promise<void> {
    await this.#deps.steps.prepare(this, active, signal)
    const failures: unknown[] = []
    for (const step of active) {
      if (signal.aborted) return
      if (step.do === 'resize') {
        await this.#applyResize(step, signal)
        continue
      }
      if (step.do !== 'start') {
        this.seen = await this.#deps.steps.run(step, this, signal)
        continue
      }
      try {
        await this.#start(step, signal)
      } catch (error) {
        failures.push(error)
      }
    }
    this.#showBackOff(all)
    const pauseOf = (error: unknown) => pauseAfter(error, this.#retryMs)
    const [soonest] = failures.sort((a, b) => pauseOf(a) - pauseOf(b))
    if (soonest !== undefined) throw soonest
  }

  async #start(step: Extract<Step, { do: 'start' }>, signal: AbortSignal): Promise<void> {
    const { clock, steps, publish, longestPauseMs } = this.#deps
    const ended = latestExited(this.seen, step.container)
    if (ended !== undefined)
      this.#backOffs.set(step.container, nextBackOff(this.#backOffs.get(step.container), clock.now(), longestPauseMs))
    try {
      this.seen = await steps.run(step, this, signal)
      this.waiting.delete(step.container)
    } catch (error) {
      const reason = (isFault(error) ? error.reason : undefined) ?? 'ContainerCreating'
      this.waiting.set(step.container, { reason, message: describe(error) })
      throw error
    } finally {
      if (!signal.aborted) publish(this)
    }
  }

  async #terminate(signal: AbortSignal): Promise<void> {
    const ending = this.ending
    if (ending === undefined) return
    this.seen = await this.#deps.look(this.uid)
    this.waiting.clear()
    this.#deps.publish(this)
    await this.#deps.steps.endContainers(this, { grace: ending.grace, since: this.endingSince }, signal)
    this.seen = await this.#deps.look(this.uid)
    if (this.seen.containers.some(isAlive) || this.seen.sandboxes.some(it => it.ready))
      throw new Fault('runtime-refused', 'containers of the pod are still alive after they were stopped')
    this.phase = 'terminated'
    this.#deps.publish(this)
  }

  async #release(): Promise<void> {
    if (this.#isReleased) return
    await this.#deps.steps.release(this)
    this.#isReleased = true
  }

  /** Gives back what an ended pod holds; of one that is removed nothing stays in the runtime either, but for that nobody waits. */
  async #clear(removed: boolean): Promise<void> {
    await this.#release()
    if (!removed) return
    if (!this.#hasLeft) {
      this.#hasLeft = true
      this.#deps.onLeft(this)
    }
    await this.#deps.whenCalm()
    if (this.#isGone) return
    await this.#deps.steps.remove(this)
    this.#isGone = true
    this.#timer?.cancel()
    this.#deadline?.cancel()
    this.#deps.onGone(this)
  }

  /** The newest attempt of a container, for those who ask (logs, exec). */
  container(name: string) {
    return latest(this.seen, name)
  }
}
