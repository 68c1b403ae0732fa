// Figures that take long to find out, such as what a folder holds: found one after the other, kept for a minute, and refreshed
// behind the back of whoever asks. Nobody waits for one longer than a moment, and nothing is found out that nobody asks for.
import type { Clock } from '../../host/clock.ts'

export interface SlowFigures {
  /**
   * The figure, at most about a minute old; an older one while a new one is on its way.
   * @returns undefined when it is not known within the patience, or cannot be found out
   */
  get<T>(key: string, find: () => Promise<T>): Promise<T | undefined>
  /** Forgets what nobody has asked for lately. */
  prune(): void
}

interface Entry {
  value: unknown
  foundAt: number
  askedAt: number
  finding: Promise<void> | undefined
}

export interface SlowDeps {
  readonly clock: Clock
  readonly maxAgeMs?: number
  readonly patienceMs?: number
}

export const createSlowFigures = ({ clock, maxAgeMs = 60_000, patienceMs = 1000 }: SlowDeps): SlowFigures => {
  const entries = new Map<string, Entry>()
  let queue: Promise<void> = Promise.resolve()

  const enqueue = (entry: Entry, find: () => Promise<unknown>) => {
    const run = async () => {
      // what could not be found out this time is asked again when it is old, not at once
      entry.value = await find().catch(() => undefined)
      entry.foundAt = clock.monotonic()
      entry.finding = undefined
    }
    queue = queue.then(run)
    return queue
  }

  return {
    get: async <T>(key: string, find: () => Promise<T>) => {
      const now = clock.monotonic()
      const entry = entries.get(key) ?? { value: undefined, foundAt: Number.NEGATIVE_INFINITY, askedAt: now, finding: undefined }
      entries.set(key, entry)
      entry.askedAt = now
      if (now - entry.foundAt >= maxAgeMs) entry.finding ??= enqueue(entry, find)
      if (entry.foundAt === Number.NEGATIVE_INFINITY && entry.finding !== undefined) {
        await Promise.race([entry.finding, clock.sleep(patienceMs)])
      }
      return entry.value as T | undefined
    },
    prune: () => {
      const oldest = clock.monotonic() - 10 * maxAgeMs
      for (const [key, { askedAt, finding }] of entries) if (askedAt < oldest && finding === undefined) entries.delete(key)
    },
  }
}
