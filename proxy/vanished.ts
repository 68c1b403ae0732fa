// Tells what somebody else took away: one line of the log and one count for all that goes at about the same time, however many tables
// it was in and however many reports came of it. Repairs nothing; whoever notices does that at once, and does not wait for the line.
import type { Clock, Timer } from '../host/clock.ts'
import type { Log } from '../host/log.ts'

export interface Vanished {
  /** @param where a table or family, as the line is to name it @param gone the pieces that are not there any more */
  note(where: string, gone: readonly string[]): void
  /** How often somebody else took something of ours away. */
  readonly count: number
  /** What was noted is told. */
  stop(): void
}

/** A ruleset that is flushed goes table by table, and a long one is reported for some time. */
const quietMs = 100
const longestMs = 2_000
/** A line names what vanished, but not a thousand elements. */
const named = 20

/** @param field what the line calls the places */
export const createVanished = ({ clock, log, field }: { clock: Clock; log: Log; field: 'table' | 'family' }): Vanished => {
  const places = new Set<string>()
  const pieces = new Set<string>()
  let count = 0
  let first = 0
  let timer: Timer | undefined

  const tell = () => {
    timer = undefined
    const about = { [field]: [...places].join(', '), gone: [...pieces].slice(0, named), pieces: pieces.size }
    log.warn(about, 'somebody else removed rules; they are written anew')
    places.clear()
    pieces.clear()
  }
  return {
    note: (where, gone) => {
      const now = clock.monotonic()
      if (timer === undefined) {
        count += 1
        first = now
      }
      timer?.cancel()
      timer = clock.after(Math.min(quietMs, Math.max(0, first + longestMs - now)), tell)
      places.add(where)
      for (const piece of gone) pieces.add(piece)
    },
    get count() {
      return count
    },
    stop: () => {
      if (timer === undefined) return
      timer.cancel()
      tell()
    },
  }
}
