// Answers that hold for a while: one question under way at a time per key, at most so many answers kept, failures never.
import type { Clock, Millis } from '../../host/clock.ts'

export interface Lasting<V> {
  readonly value: V
  readonly ttlMs: Millis
}

export interface TtlCache<V> {
  /** The answer that still holds, or the one that `ask` gives now. Rejects as `ask` does. */
  get(key: string, ask: () => Promise<Lasting<V>>): Promise<V>
  readonly size: number
}

/** @param limit how many answers are kept; beyond it the oldest go first */
export const createTtlCache = <V>({
  clock,
  limit,
}: {
  readonly clock: Pick<Clock, 'monotonic'>
  readonly limit: number
}): TtlCache<V> => {
  const kept = new Map<string, { readonly value: V; readonly until: Millis }>()
  const asked = new Map<string, Promise<V>>()
  const keep = (key: string, { value, ttlMs }: Lasting<V>): V => {
    kept.delete(key)
    for (const [oldest] of kept) {
      if (kept.size < limit) break
      kept.delete(oldest)
    }
    kept.set(key, { value, until: clock.monotonic() + ttlMs })
    return value
  }
  return {
    get: (key, ask) => {
      const found = kept.get(key)
      if (found !== undefined && clock.monotonic() < found.until) return Promise.resolve(found.value)
      kept.delete(key)
      const underWay = asked.get(key)
      if (underWay !== undefined) return underWay
      const answer = ask()
        .then(it => keep(key, it))
        .finally(() => asked.delete(key))
      asked.set(key, answer)
      return answer
    },
    get size() {
      return kept.size
    },
  }
}
