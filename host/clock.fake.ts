// A clock that moves only when told to, with every timer run in order at its own time.
import type { Clock, Millis, Timer } from './clock.ts'

export interface FakeClock extends Clock {
  /** Moves time on by `ms`, running due timers in order and letting promises settle between them. */
  advance(ms: number): Promise<void>
}

export const fakeClock = (start: Millis = 1_700_000_000_000): FakeClock => {
  let now = start
  const timers = new Set<{ at: Millis; run: () => void }>()
  const settle = () => new Promise<void>(resolve => setImmediate(resolve))
  const after = (ms: number, run: () => void): Timer => {
    const timer = { at: now + Math.max(ms, 0), run }
    timers.add(timer)
    return { cancel: () => void timers.delete(timer) }
  }
  return {
    now: () => now,
    monotonic: () => now - start,
    after,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason)
        const timer = after(ms, resolve)
        const onAbort = () => {
          timer.cancel()
          reject(signal?.reason)
        }
        signal?.addEventListener('abort', onAbort, { once: true })
      }),
    advance: async ms => {
      const end = now + ms
      await settle()
      for (;;) {
        const due = [...timers].filter(timer => timer.at <= end).sort((a, b) => a.at - b.at)[0]
        if (due === undefined) break
        timers.delete(due)
        now = Math.max(now, due.at)
        due.run()
        await settle()
      }
      now = end
      await settle()
    },
  }
}
