// What an observation of the node means: the conditions that it has, and the thresholds that pods must pay for now. Pure: what is
// remembered from one observation to the next comes in and goes out.
// Follows synchronize in pkg/kubelet/eviction/eviction_manager.go of 1.36.
import type { Millis } from '../../host/clock.ts'
import { crossed, type Observations, type PressureCondition, signals, type Threshold, thresholdKey } from './thresholds.ts'

/** From one observation to the next. */
export interface EvictionMemory {
  /** Since when each crossed threshold is, by its key. */
  readonly crossedSince: ReadonlyMap<string, Millis>
  /** When each condition had a reason last. */
  readonly pressedAt: ReadonlyMap<PressureCondition, Millis>
  /** Those that pods had to pay for, until their minimum reclaim is reached. */
  readonly due: readonly Threshold[]
}

export const nothingRemembered: EvictionMemory = { crossedSince: new Map(), pressedAt: new Map(), due: [] }

export interface Weighed {
  readonly memory: EvictionMemory
  /** The node's conditions that are true. */
  readonly conditions: readonly PressureCondition[]
  /** Crossed for longer than their grace period, the most urgent first. */
  readonly due: readonly Threshold[]
}

const order: readonly PressureCondition[] = ['MemoryPressure', 'DiskPressure', 'PIDPressure']

/** Memory goes first: a machine without it does not get to do anything else. */
const urgency = ({ signal }: Threshold): number => (signals[signal].starved === 'memory' ? 0 : 1)

const merged = (...lists: readonly (readonly Threshold[])[]): readonly Threshold[] => [
  ...new Map(lists.flat().map(it => [thresholdKey(it), it])).values(),
]

/**
 * Weighs one observation.
 * @param transitionMs evictionPressureTransitionPeriod: how long a condition stays after its last reason
 */
export const weigh = (
  before: EvictionMemory,
  thresholds: readonly Threshold[],
  observations: Observations,
  { now, transitionMs }: { readonly now: Millis; readonly transitionMs: number },
): Weighed => {
  const unresolved = crossed(before.due, observations, true)
  const all = merged(crossed(thresholds, observations), unresolved)
  const crossedSince = new Map(all.map(it => [thresholdKey(it), before.crossedSince.get(thresholdKey(it)) ?? now]))
  const pressedAt = new Map([...before.pressedAt, ...all.map(it => [signals[it.signal].condition, now] as const)])
  const conditions = order.filter(it => {
    const at = pressedAt.get(it)
    return at !== undefined && now - at < transitionMs
  })
  const isDue = (it: Threshold) => now - (crossedSince.get(thresholdKey(it)) ?? now) >= it.graceMs
  const due = all.filter(isDue).sort((a, b) => urgency(a) - urgency(b))
  return { memory: { crossedSince, pressedAt, due }, conditions, due }
}
