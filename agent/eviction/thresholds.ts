// What the node must not run short of: eviction thresholds from the configuration, and which of them are crossed by what was observed. Pure.
// Amounts are bytes, inodes or process ids; a share is of the capacity, in single precision as the kubelet has it.
// Follows k8s.io: Node-pressure Eviction, and pkg/kubelet/eviction of 1.36 (ParseThresholdConfig, UpdateContainerFsThresholds).
import { toBytes } from '../../api/quantity.ts'
import type { Millis } from '../../host/clock.ts'

export type Starved = 'memory' | 'ephemeral-storage' | 'inodes' | 'pids'
export type PressureCondition = 'MemoryPressure' | 'DiskPressure' | 'PIDPressure'

/** What each signal tells a shortage of, and the condition that the node has then. */
export const signals = {
  'memory.available': { starved: 'memory', condition: 'MemoryPressure' },
  'allocatableMemory.available': { starved: 'memory', condition: 'MemoryPressure' },
  'nodefs.available': { starved: 'ephemeral-storage', condition: 'DiskPressure' },
  'nodefs.inodesFree': { starved: 'inodes', condition: 'DiskPressure' },
  'imagefs.available': { starved: 'ephemeral-storage', condition: 'DiskPressure' },
  'imagefs.inodesFree': { starved: 'inodes', condition: 'DiskPressure' },
  'containerfs.available': { starved: 'ephemeral-storage', condition: 'DiskPressure' },
  'containerfs.inodesFree': { starved: 'inodes', condition: 'DiskPressure' },
  'pid.available': { starved: 'pids', condition: 'PIDPressure' },
} as const satisfies Readonly<Record<string, { readonly starved: Starved; readonly condition: PressureCondition }>>

export type Signal = keyof typeof signals

/**
 * Which disks there are: one for everything, one more for all of the runtime's (images and writable layers), or one more for
 * images alone.
 */
export type DiskLayout = 'one' | 'runtime-apart' | 'images-apart'

export interface Threshold {
  readonly signal: Signal
  /** As configured: `100Mi`, `10%`. */
  readonly value: string
  /** How long it must be crossed before pods pay for it; 0 for a hard one. */
  readonly graceMs: number
  /** How much more must be free before it counts as resolved. */
  readonly minimumReclaim?: string
}

export interface Observation {
  readonly available: number
  readonly capacity: number
}

export type Observations = ReadonlyMap<Signal, Observation>

export interface ThresholdSettings {
  readonly evictionHard: Readonly<Record<string, string>>
  readonly evictionSoft: Readonly<Record<string, string>>
  readonly evictionSoftGracePeriod: Readonly<Record<string, Millis>>
  readonly evictionMinimumReclaim: Readonly<Record<string, string>>
  readonly enforceNodeAllocatable: readonly string[]
}

const isSignal = (name: string): name is Signal => Object.hasOwn(signals, name)

/** 0% and 100% are how one switches a default off. */
const isOff = (value: string): boolean => value === '0%' || value === '100%'

/** The thresholds as they are configured, hard ones first; not yet those of containerfs, which follow from the disks. */
export const toThresholds = (settings: ThresholdSettings): readonly Threshold[] => {
  const of = (values: Readonly<Record<string, string>>, graceOf: (signal: Signal) => number) =>
    Object.entries(values).flatMap(([signal, value]): Threshold[] => {
      if (!isSignal(signal) || isOff(value)) return []
      const minimumReclaim = settings.evictionMinimumReclaim[signal]
      return [{ signal, value, graceMs: graceOf(signal), ...(minimumReclaim !== undefined && { minimumReclaim }) }]
    })
  const hard = of(settings.evictionHard, () => 0)
  const soft = of(settings.evictionSoft, signal => settings.evictionSoftGracePeriod[signal] ?? 0)
  // The pods' own limit is held to what the whole machine's memory is.
  const allocatable = settings.enforceNodeAllocatable.includes('pods')
    ? hard.filter(it => it.signal === 'memory.available').map(it => ({ ...it, signal: 'allocatableMemory.available' as const }))
    : []
  return [...hard, ...soft, ...allocatable]
}

const containerSignals: { readonly [S in Signal]?: { readonly [L in DiskLayout]?: Signal } } = {
  'nodefs.available': { one: 'containerfs.available', 'images-apart': 'containerfs.available' },
  'nodefs.inodesFree': { one: 'containerfs.inodesFree', 'images-apart': 'containerfs.inodesFree' },
  'imagefs.available': { 'runtime-apart': 'containerfs.available' },
  'imagefs.inodesFree': { 'runtime-apart': 'containerfs.inodesFree' },
}

/**
 * With the thresholds of the disk of writable layers: those of the disk that it is, whatever the configuration says of containerfs.
 * Unlike upstream's, a soft one that is taken over keeps its grace period on a disk apart too.
 */
export const withContainerFs = (thresholds: readonly Threshold[], layout: DiskLayout): readonly Threshold[] => [
  ...thresholds.filter(it => !it.signal.startsWith('containerfs.')),
  ...thresholds.flatMap(it => {
    const signal = containerSignals[it.signal]?.[layout]
    return signal === undefined ? [] : [{ ...it, signal }]
  }),
]

/** An amount or a share of the capacity, in whole units. */
export const amountOf = (value: string, capacity: number): number =>
  value.endsWith('%') ? Math.trunc(capacity * Math.fround(Math.fround(Number.parseFloat(value)) / 100)) : toBytes(value)

/**
 * The thresholds that are crossed, whatever their grace period.
 * @param untilReclaimed asks for the minimum reclaim on top: what was crossed before is resolved only then
 */
export const crossed = (
  thresholds: readonly Threshold[],
  observations: Observations,
  untilReclaimed = false,
): readonly Threshold[] =>
  thresholds.filter(({ signal, value, minimumReclaim }) => {
    const observed = observations.get(signal)
    if (observed === undefined) return false
    const more = untilReclaimed && minimumReclaim !== undefined ? amountOf(minimumReclaim, observed.capacity) : 0
    return amountOf(value, observed.capacity) + more > observed.available
  })

/** Two thresholds with the same key are one. */
export const thresholdKey = ({ signal, value, graceMs }: Threshold): string => `${signal} ${value} ${graceMs}`
