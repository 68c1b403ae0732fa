// When the loop runs: at once for the first wish, together for what comes meanwhile, never twice at a time. Knows nothing of Services.
import type { Clock, Timer } from '../host/clock.ts'

export interface Pacer {
  /** Runs as soon as the gap since the last run allows, or once more after the one that is going on. */
  soon(): void
  /** No run begins any more; resolves when the one that is going on has ended. */
  stop(): Promise<void>
}

export interface PacerDeps {
  readonly clock: Clock
  /** The shortest time between the end of one run and the next one. */
  readonly minGapMs: number
  /** @param since when the first wish came that this run answers, by the monotonic clock; must not throw */
  readonly run: (since: number) => Promise<void>
}

/** Nothing runs before the first wish. */
export const createPacer = ({ clock, minGapMs, run }: PacerDeps): Pacer => {
  let timer: Timer | undefined
  let running: Promise<void> | undefined
  let since: number | undefined
  let lastEnd = Number.NEGATIVE_INFINITY
  let stopped = false

  const begin = () => {
    timer = undefined
    const wished = since ?? clock.monotonic()
    since = undefined
    running = run(wished).finally(() => {
      running = undefined
      lastEnd = clock.monotonic()
      if (since !== undefined) arm()
    })
  }
  const arm = () => {
    if (stopped || timer !== undefined || running !== undefined) return
    timer = clock.after(Math.max(0, lastEnd + minGapMs - clock.monotonic()), begin)
  }
  return {
    soon: () => {
      since ??= clock.monotonic()
      arm()
    },
    stop: async () => {
      stopped = true
      timer?.cancel()
      await running
    },
  }
}
