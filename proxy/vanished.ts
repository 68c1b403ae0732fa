// Tells what somebody else took away: one line of the log and one count for all that goes at about the same time, however many tables
// it was in and however many reports came of it. Repairs nothing; whoever notices does that at once, and does not wait for the line.
import type { Clock, Timer } from '../host/clock.ts'
import type { Log } from '../host/log.ts'
import type { ForeignChange } from '../host/nftmonitor.ts'

export interface Vanished {
  /**
   * @param where a table or family, as the line is to name it
   * @param gone the pieces that are not there any more
   * @param repaired resolves when they stand again
   * @returns which time it is that something goes, from 1
   */
  note(where: string, gone: readonly string[], repaired?: () => Promise<void>): number
  /** What was noted is told. */
  stop(): void
}

/** What goes of one part among all that vanishes. */
export interface Losses {
  note(where: string, gone: readonly string[]): void
  /** How often somebody else took something of the part away. */
  readonly count: number
}

/** Notes what a monitor saw go; that reports were lost says nothing of what is gone. @returns whether anything was seen */
export const noteChange = (
  to: { note(where: string, gone: readonly string[]): unknown },
  { table, gone }: ForeignChange,
): boolean => {
  const known = gone.filter(what => what !== 'unknown').map(what => `${table} ${what}`)
  if (known.length > 0) to.note(table, known)
  return known.length > 0
}

export const createLosses = (vanished: Pick<Vanished, 'note'>, repaired?: () => Promise<void>): Losses => {
  let count = 0
  let last = 0
  return {
    note: (where, gone) => {
      const time = vanished.note(where, gone, repaired)
      if (time !== last) count += 1
      last = time
    },
    get count() {
      return count
    },
  }
}

/** A ruleset that is flushed goes table by table, and a long one is reported for some time. */
const quietMs = 300
const longestMs = 10_000
/** Repairs that take longer than this keep a small machine so busy that the kernel's reports wait. */
const busyMs = 50
/** A line names what vanished, but not a thousand elements. */
const named = 20

export const createVanished = ({ clock, log }: { readonly clock: Clock; readonly log: Log }): Vanished => {
  const places = new Set<string>()
  const pieces = new Set<string>()
  const repairs = new Set<() => Promise<void>>()
  let times = 0
  let first = 0
  let timer: Timer | undefined

  const tell = () => {
    timer?.cancel()
    timer = undefined
    const about = { where: [...places].join(', '), gone: [...pieces].slice(0, named), pieces: pieces.size }
    log.warn(about, 'somebody else removed rules; they are written anew')
    for (const noted of [places, pieces, repairs]) noted.clear()
  }
  const leftMs = () => Math.max(0, first + longestMs - clock.monotonic())
  const after = (ms: number, act: () => void) => {
    timer?.cancel()
    timer = clock.after(Math.min(ms, leftMs()), act)
    return timer
  }
  /** While something is written anew, reports of what went before may still come. */
  const whenQuiet = () => {
    const began = clock.monotonic()
    const waiting = after(longestMs, tell)
    void Promise.allSettled([...repairs].map(repaired => repaired())).then(() => {
      if (timer !== waiting) return
      if (clock.monotonic() - began < busyMs) tell()
      else after(quietMs, whenQuiet)
    })
  }
  return {
    note: (where, gone, repaired) => {
      if (timer === undefined) {
        times += 1
        first = clock.monotonic()
      }
      after(quietMs, whenQuiet)
      places.add(where)
      for (const piece of gone) pieces.add(piece)
      if (repaired !== undefined) repairs.add(repaired)
      return times
    },
    stop: () => {
      if (timer !== undefined) tell()
    },
  }
}
