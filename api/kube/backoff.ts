// How long to wait before the next try: doubling pauses with jitter, short again after a success.
// Knows neither what is tried nor the time. Numbers are client-go's reflector's.

export interface Backoff {
  /** Milliseconds to wait now; the next answer is twice as long. */
  next(): number
  reset(): void
}

const firstMs = 800
const longestMs = 30_000

/** @param random as Math.random; up to half as much again is added, so that many nodes do not come back at once */
export const createBackoff = (random: () => number): Backoff => {
  let pauseMs = firstMs
  return {
    next: () => {
      const waitMs = pauseMs * (1 + random() / 2)
      pauseMs = Math.min(pauseMs * 2, longestMs)
      return waitMs
    },
    reset: () => {
      pauseMs = firstMs
    },
  }
}
