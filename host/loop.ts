// The event loop is shared by probes, workers and rule compiles: long work is cut into slices here, so that nobody waits for another.
// Owns only the question "have I held the loop for too long" and the way to give it back.
import { setImmediate } from 'node:timers/promises'
import type { Clock } from './clock.ts'

export interface Slices {
  /** Gives the loop back when this slice has lasted long enough; undefined (nothing to await) while it has not. */
  pause(): Promise<void> | undefined
}

/**
 * Slices of at most about `sliceMs`; call `pause` between pieces of work that are each much shorter.
 * A piece that is longer than a slice is not interrupted.
 */
export const createSlices = (clock: Pick<Clock, 'monotonic'>, sliceMs = 6): Slices => {
  let began = clock.monotonic()
  const turn = async () => {
    await setImmediate()
    began = clock.monotonic()
  }
  return { pause: () => (clock.monotonic() - began < sliceMs ? undefined : turn()) }
}
