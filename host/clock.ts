// Time, as the parts see it: the only place that reads the wall clock or sets a timer.
// Decisions never call it, they are given `now`. Tests use clock.fake.ts, which moves only when told to.

/** Milliseconds since the epoch. */
export type Millis = number
/** Whole or fractional seconds. */
export type Seconds = number

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Milliseconds since the epoch, as the wall clock says. */
  now(): Millis
  /** Milliseconds of a clock that never jumps; for durations. */
  monotonic(): Millis
  /** Calls `run` once after `ms`; the timer does not keep the process alive. */
  after(ms: number, run: () => void): Timer
  /** Resolves after `ms`, or rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

// setTimeout takes at most 2^31-1 ms; longer waits wake early and are asked for again by their owner.
const longestTimer = 2 ** 31 - 1

const after = (ms: number, run: () => void): Timer => {
  const timer = setTimeout(run, Math.min(Math.max(ms, 0), longestTimer))
  timer.unref()
  return { cancel: () => clearTimeout(timer) }
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after,
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const onAbort = () => {
        timer.cancel()
        reject(signal?.reason)
      }
      const timer = after(ms, () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      })
      signal?.addEventListener('abort', onAbort, { once: true })
    }),
}

/** Keeps the process alive until cancelled: timers of the clock do not, and a daemon may have nothing but them to wait for. */
export const holdProcess = (): Timer => {
  const timer = setInterval(() => undefined, longestTimer)
  return { cancel: () => clearInterval(timer) }
}
