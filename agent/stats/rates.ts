// How much processor is used now: the difference of two counters that were read one after the other. Keeps the earlier reading.
// No clock and no timer: whoever samples says when.

/** Longer ago than this, the earlier reading tells of another time than now. */
const longestSpanMs = 60_000
/** Shorter spans than this tell more of the moment than of the use; an earlier rate is better. */
const goodSpanMs = 1000
/** Shorter spans than this tell nothing. */
const shortestSpanMs = 50

interface Reading {
  readonly at: number
  readonly usageNs: number
  readonly nanoCores: number | undefined
  /** When it was last asked for. */
  askedAt: number
}

export interface Rates {
  /**
   * Takes a reading of a counter.
   * @param at milliseconds of a clock that does not jump
   * @returns billionths of a core, or undefined when there is no earlier reading to compare with
   */
  take(key: string, at: number, usageNs: number): number | undefined
  /** Forgets what has not been asked for since. */
  prune(since: number): void
}

export const createRates = (): Rates => {
  const readings = new Map<string, Reading>()
  return {
    take: (key, at, usageNs) => {
      const before = readings.get(key)
      const span = at - (before?.at ?? Number.NEGATIVE_INFINITY)
      // a counter that went back belongs to another cgroup of the same name
      if (before === undefined || span > longestSpanMs || usageNs < before.usageNs) {
        readings.set(key, { at, usageNs, nanoCores: undefined, askedAt: at })
        return undefined
      }
      before.askedAt = at
      if (span < (before.nanoCores === undefined ? shortestSpanMs : goodSpanMs)) return before.nanoCores
      const nanoCores = Math.round(((usageNs - before.usageNs) * 1000) / span)
      readings.set(key, { at, usageNs, nanoCores, askedAt: at })
      return nanoCores
    },
    prune: since => {
      for (const [key, { askedAt }] of readings) if (askedAt < since) readings.delete(key)
    },
  }
}
