// Keeps the node from running dry: looks every ten seconds at what is left, tells the node's conditions, and where a threshold is
// crossed gives back what nobody needs, then ends one pod a round. Thin: weigh.ts decides what an observation means, rank.ts who goes,
// message.ts what is said; these are loaded when they are needed. Ends no critical pod, whatever happens.
// Follows pkg/kubelet/eviction/eviction_manager.go of 1.36.
import { fullName } from '../../api/pod.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock, Seconds } from '../../host/clock.ts'
import { describe } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { isCriticalPod } from '../qos.ts'
import { keptOn, type Reclaim, reclaimsFor } from './disks.ts'
import type { Disks, NodeSignals } from './node-signals.ts'
import type { Uses } from './rank.ts'
import {
  crossed,
  type Observations,
  type PressureCondition,
  type Signal,
  type Starved,
  signals,
  type Threshold,
  withContainerFs,
} from './thresholds.ts'
import { type EvictionMemory, nothingRemembered, weigh } from './weigh.ts'

export interface EvictionHow {
  readonly grace: Seconds
  readonly message: string
  readonly annotations: Readonly<Record<string, string>>
}

export interface EvictionDeps {
  readonly thresholds: readonly Threshold[]
  /** evictionPressureTransitionPeriod. */
  readonly transitionMs: number
  /** evictionMaxPodGracePeriod, for soft thresholds. */
  readonly longestGrace: Seconds
  /** kernelMemcgNotification: memory is looked at every second. */
  readonly watchesMemory: boolean
  readonly signals: NodeSignals
  readonly measure: (starved: Starved) => Promise<Uses>
  readonly reclaim: Readonly<Record<Reclaim, () => Promise<unknown>>>
  /** Pods that may have to go: admitted, not ended, and not evicted before. */
  readonly candidates: () => readonly Pod[]
  readonly evict: (pod: Pod, how: EvictionHow) => void
  /** Whether nothing of the pod runs any more. */
  readonly hasEnded: (pod: Pod) => boolean
  readonly onConditions: (conditions: readonly PressureCondition[]) => void
  readonly onReclaiming: (starved: Starved) => void
  /** For metrics. */
  readonly onEvicted?: (signal: Signal) => void
  readonly clock: Clock
  readonly log: Log
}

export interface Evicted {
  readonly pod: Pod
  readonly grace: Seconds
}

export interface Eviction {
  /** Looks again and again until the signal aborts; resolves then. */
  run(signal: AbortSignal): Promise<void>
  /** One round. @returns the pod that has to go */
  look(signal?: AbortSignal): Promise<Evicted | undefined>
}

const pauseMs = 10_000
const memoryPauseMs = 1000
/** How long an evicted pod may take to end before the next round, beside its grace period. */
const endingMs = 30_000
const endedPollMs = 1000
/** Given when a hard threshold is crossed. */
const hardGrace = 1

/** A second at least: without any a program would not even be told. */
const graceFor = ({ graceMs }: Threshold, { spec }: Pod, longest: Seconds): Seconds =>
  graceMs === 0 ? hardGrace : Math.max(Math.min(longest, spec.terminationGracePeriodSeconds ?? longest), 1)

const signalsOf = (thresholds: readonly Threshold[]): ReadonlySet<Signal> => new Set(thresholds.map(it => it.signal))

export const createEviction = (deps: EvictionDeps): Eviction => {
  const { clock, log } = deps
  const memoryThresholds = deps.thresholds.filter(it => signals[it.signal].starved === 'memory')
  let disks: Disks | undefined
  let remembered: EvictionMemory = nothingRemembered
  let conditions: readonly PressureCondition[] = []

  const findDisks = async (): Promise<Disks | undefined> => {
    // A runtime that is away must not keep the node from seeing that memory runs out.
    disks ??= await deps.signals.disks().catch(error => {
      log.debug({ err: error }, `where the runtime keeps its files is not known yet: ${describe(error)}`)
      return undefined
    })
    return disks
  }

  const tell = (now: readonly PressureCondition[]) => {
    if (now.join() === conditions.join()) return
    log.warn(
      { before: conditions, now },
      now.length === 0 ? 'the node is no longer under pressure' : 'the node is under pressure',
    )
    conditions = now
    deps.onConditions(now)
  }

  /** Gives back what nobody needs. @returns true when that was enough for every threshold */
  const reclaimed = async (threshold: Threshold, all: readonly Threshold[]): Promise<boolean> => {
    const steps = reclaimsFor(threshold.signal, disks?.layout ?? 'one')
    for (const step of steps) {
      await deps.reclaim[step]().catch(error => log.warn({ err: error }, `${step} could not be reclaimed: ${describe(error)}`))
    }
    return steps.length > 0 && crossed(all, await deps.signals.observe(signalsOf(all), disks), true).length === 0
  }

  const evictOne = async (due: readonly Threshold[], observations: Observations): Promise<Evicted | undefined> => {
    const [threshold] = due
    if (threshold === undefined) return undefined
    const { starved } = signals[threshold.signal]
    const [{ rank }, { evictionWords }] = await Promise.all([import('./rank.ts'), import('./message.ts')])
    const uses = await deps.measure(starved)
    const candidates = deps.candidates()
    const ranked = rank(candidates, uses, { starved, kept: keptOn(threshold.signal, disks?.layout ?? 'one') })
    for (const pod of ranked) {
      if (isCriticalPod(pod)) continue
      const words = evictionWords({ pod, starved, due, observations, use: uses.get(pod.metadata.uid ?? '') })
      const grace = graceFor(threshold, pod, deps.longestGrace)
      log.warn({ pod: fullName(pod), signal: threshold.signal }, 'a pod is evicted')
      deps.evict(pod, { grace, ...words })
      deps.onEvicted?.(threshold.signal)
      return { pod, grace }
    }
    log.error({ signal: threshold.signal, pods: candidates.length }, 'the node runs short, and no pod may be evicted')
    return undefined
  }

  const look: Eviction['look'] = async signal => {
    const found = await findDisks()
    const all = found === undefined ? deps.thresholds : withContainerFs(deps.thresholds, found.layout)
    const observations = await deps.signals.observe(signalsOf(all), found)
    const weighed = weigh(remembered, all, observations, { now: clock.now(), transitionMs: deps.transitionMs })
    remembered = weighed.memory
    tell(weighed.conditions)
    const [threshold] = weighed.due
    if (threshold === undefined || signal?.aborted) return undefined
    const { starved } = signals[threshold.signal]
    log.info({ signal: threshold.signal, ...observations.get(threshold.signal) }, `attempting to reclaim ${starved}`)
    deps.onReclaiming(starved)
    if (await reclaimed(threshold, all)) {
      log.info({ signal: threshold.signal }, 'enough was reclaimed without ending a pod')
      return undefined
    }
    return signal?.aborted ? undefined : evictOne(weighed.due, observations)
  }

  /** Until the next round: ten seconds, or until memory runs short where it is watched. */
  const pause = async (signal: AbortSignal): Promise<void> => {
    const isWatched = deps.watchesMemory && memoryThresholds.length > 0 && !conditions.includes('MemoryPressure')
    if (!isWatched) return clock.sleep(pauseMs, signal)
    for (let waited = 0; waited < pauseMs; waited += memoryPauseMs) {
      await clock.sleep(memoryPauseMs, signal)
      if (crossed(memoryThresholds, await deps.signals.observe(signalsOf(memoryThresholds), disks)).length > 0) return
    }
  }

  /** What a pod held is free only when it has ended: nobody else is to pay for it meanwhile. */
  const untilEnded = async ({ pod, grace }: Evicted, signal: AbortSignal): Promise<void> => {
    const deadline = clock.monotonic() + grace * 1000 + endingMs
    while (!deps.hasEnded(pod)) {
      if (clock.monotonic() >= deadline) return log.warn({ pod: fullName(pod) }, 'the evicted pod has not ended yet')
      await clock.sleep(endedPollMs, signal)
    }
  }

  const run: Eviction['run'] = async signal => {
    while (!signal.aborted) {
      try {
        const evicted = await look(signal)
        await (evicted === undefined ? pause(signal) : untilEnded(evicted, signal))
      } catch (error) {
        if (signal.aborted) return
        log.error({ err: error }, `what the node has left could not be looked at: ${describe(error)}`)
        await clock.sleep(pauseMs, signal).catch(() => undefined)
      }
    }
  }

  return { run, look }
}
