// Pulls in turn: one for each image and credentials at a time, shared by all who wait; at most so many beside each other;
// no faster than the registry may be asked. It does not know what a pull is.
// Follows KubeletConfiguration serializeImagePulls, maxParallelImagePulls, registryPullQPS, registryBurst, with one difference:
// over the rate, a pull waits for its turn here, where the kubelet fails it and backs off for 10 s.
import type { Clock } from '../host/clock.ts'

export interface PullQueueDeps {
  readonly clock: Clock
  readonly parallel: number
  /** Pulls a second in the long run; 0 for any. */
  readonly qps: number
  readonly burst: number
}

export interface Pulled<T> {
  readonly value: T
  /** Without the time in the queue. */
  readonly pullMs: number
}

export interface PullQueue {
  /**
   * Runs `pull` when its turn comes, or joins the run of the same key that is under way.
   * @param signal stops waiting, with its reason; a pull that nobody waits for is stopped
   */
  run<T>(key: string, pull: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<Pulled<T>>
}

interface Running {
  readonly result: Promise<Pulled<unknown>>
  readonly abort: AbortController
  waiting: number
}

/** Grants places in the order of asking. */
const createPlaces = (count: number) => {
  let free = count
  const queue: (() => void)[] = []
  return {
    take: async (): Promise<void> => {
      if (free > 0) {
        free--
        return
      }
      await new Promise<void>(resolve => queue.push(resolve))
    },
    give: (): void => {
      const next = queue.shift()
      if (next === undefined) free++
      else next()
    },
  }
}

/** How long to wait for the next token of a bucket that holds `burst` and gets `qps` a second; takes it. */
const createBucket = (clock: Clock, qps: number, burst: number) => {
  let tokens = burst
  let filledAt = clock.monotonic()
  return (): number => {
    if (qps <= 0) return 0
    const now = clock.monotonic()
    tokens = Math.min(tokens + ((now - filledAt) * qps) / 1000, burst) - 1
    filledAt = now
    return tokens >= 0 ? 0 : (-tokens * 1000) / qps
  }
}

export const createPullQueue = ({ clock, parallel, qps, burst }: PullQueueDeps): PullQueue => {
  const places = createPlaces(parallel)
  const takeToken = createBucket(clock, qps, Math.max(burst, 1))
  const running = new Map<string, Running>()

  const start = async <T>(pull: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<Pulled<T>> => {
    await places.take()
    try {
      signal.throwIfAborted()
      const waitMs = takeToken()
      if (waitMs > 0) await clock.sleep(waitMs, signal)
      const started = clock.monotonic()
      const value = await pull(signal)
      return { value, pullMs: clock.monotonic() - started }
    } finally {
      places.give()
    }
  }

  const join = <T>(key: string, pull: (signal: AbortSignal) => Promise<T>): Running => {
    const there = running.get(key)
    if (there !== undefined) return there
    const abort = new AbortController()
    const entry: Running = { abort, waiting: 0, result: start(pull, abort.signal) }
    const forget = () => {
      if (running.get(key) === entry) running.delete(key)
    }
    entry.result.then(forget, forget)
    running.set(key, entry)
    return entry
  }

  const leave = (key: string, entry: Running, reason: unknown): void => {
    if (--entry.waiting > 0) return
    // whoever comes now starts anew and does not inherit the abort
    if (running.get(key) === entry) running.delete(key)
    entry.abort.abort(reason)
  }

  return {
    run: async (key, pull, signal) => {
      signal?.throwIfAborted()
      const entry = join(key, pull)
      entry.waiting++
      const result = entry.result as Promise<Pulled<Awaited<ReturnType<typeof pull>>>>
      if (signal === undefined) return result.finally(() => void entry.waiting--)
      return new Promise((resolve, reject) => {
        const onAbort = () => {
          leave(key, entry, signal.reason)
          reject(signal.reason)
        }
        signal.addEventListener('abort', onAbort, { once: true })
        result.then(resolve, reject).finally(() => {
          signal.removeEventListener('abort', onAbort)
          if (!signal.aborted) entry.waiting--
        })
      })
    },
  }
}
