import t from 'tap'
import type { Observations, Signal, Threshold } from './thresholds.ts'
import { type EvictionMemory, nothingRemembered, weigh } from './weigh.ts'

const minute = 60_000
const transitionMs = 5 * minute
const memory: Threshold = { signal: 'memory.available', value: '100', graceMs: 0 }
const disk: Threshold = { signal: 'nodefs.available', value: '100', graceMs: 0, minimumReclaim: '50' }
const softDisk: Threshold = { signal: 'nodefs.available', value: '200', graceMs: 2 * minute }
const seen = (available: Partial<Record<Signal, number>>): Observations =>
  new Map(Object.entries(available).map(([signal, left]) => [signal as Signal, { available: left, capacity: 1000 }]))

/** One observation after the other; what each of them meant, in a line. */
const follow = (thresholds: readonly Threshold[], steps: readonly (readonly [number, Observations])[]): readonly string[] => {
  let before: EvictionMemory = nothingRemembered
  return steps.map(([now, observations]) => {
    const weighed = weigh(before, thresholds, observations, { now, transitionMs })
    before = weighed.memory
    return [...weighed.conditions, ...weighed.due.map(it => `${it.signal}<${it.value}`)].join(' ')
  })
}

for (const [name, thresholds, steps, expected] of [
  ['a node that has enough is well', [memory, disk], [[0, seen({ 'memory.available': 100, 'nodefs.available': 100 })]], ['']],
  [
    'a hard threshold is due at once, and its condition stays for the transition period',
    [memory],
    [
      [0, seen({ 'memory.available': 99 })],
      [10_000, seen({ 'memory.available': 500 })],
      [transitionMs - 1, seen({ 'memory.available': 500 })],
      [transitionMs, seen({ 'memory.available': 500 })],
    ],
    ['MemoryPressure memory.available<100', 'MemoryPressure', 'MemoryPressure', ''],
  ],
  [
    'the period begins anew with every reason',
    [memory],
    [
      [0, seen({ 'memory.available': 99 })],
      [4 * minute, seen({ 'memory.available': 99 })],
      [6 * minute, seen({ 'memory.available': 500 })],
      [9 * minute, seen({ 'memory.available': 500 })],
    ],
    ['MemoryPressure memory.available<100', 'MemoryPressure memory.available<100', 'MemoryPressure', ''],
  ],
  [
    'a soft threshold is a condition at once and due after its grace period',
    [softDisk],
    [
      [0, seen({ 'nodefs.available': 150 })],
      [2 * minute - 1, seen({ 'nodefs.available': 150 })],
      [2 * minute, seen({ 'nodefs.available': 150 })],
    ],
    ['DiskPressure', 'DiskPressure', 'DiskPressure nodefs.available<200'],
  ],
  [
    'the grace period begins anew when it was not crossed in between',
    [softDisk],
    [
      [0, seen({ 'nodefs.available': 150 })],
      [minute, seen({ 'nodefs.available': 250 })],
      [2 * minute, seen({ 'nodefs.available': 150 })],
      [3 * minute, seen({ 'nodefs.available': 150 })],
      [4 * minute, seen({ 'nodefs.available': 150 })],
    ],
    ['DiskPressure', 'DiskPressure', 'DiskPressure', 'DiskPressure', 'DiskPressure nodefs.available<200'],
  ],
  [
    'what was due stays so until the minimum reclaim is reached',
    [disk],
    [
      [0, seen({ 'nodefs.available': 120 })],
      [1, seen({ 'nodefs.available': 99 })],
      [2, seen({ 'nodefs.available': 149 })],
      [3, seen({ 'nodefs.available': 150 })],
      [4, seen({ 'nodefs.available': 120 })],
    ],
    ['', 'DiskPressure nodefs.available<100', 'DiskPressure nodefs.available<100', 'DiskPressure', 'DiskPressure'],
  ],
  [
    'memory goes first',
    [disk, memory],
    [[0, seen({ 'memory.available': 1, 'nodefs.available': 1 })]],
    ['MemoryPressure DiskPressure memory.available<100 nodefs.available<100'],
  ],
] as const) {
  t.test(name, async t => t.same(follow(thresholds, steps), expected))
}
