// Tells what somebody else took away: one line of the log and one count for all that goes at about the same time, however many tables
// it was in and however many reports came of it. Repairs nothing; whoever notices does that at once, and does not wait for the line.
import type { Clock, Timer } from '../host/clock.ts'
import type { Log } from '../host/log.ts'
import type { ForeignChange } from '../host/nftmonitor.ts'

export interface Vanished {
  /**
   * @param where a table or family, as the line is to name it
   * @param gone the pieces that are not there any more
   * @returns which time it is that something goes, from 1
   */
  note(where: string, gone: readonly string[]): number
  /** What was noted is told. */
  stop(): void
}

/** What goes of one part among all that vanishes. */
export interface Losses {
  note(where: string, gone: readonly string[]): void
  /** How often somebody else took something of the part away. */
  readonly count: number
}

/** Notes what a monitor saw go; that reports were lost says nothing of what is gone. */
export const noteChange = (
  to: { note(where: string, gone: readonly string[]): unknown },
  { table, gone }: ForeignChange,
): void => {
  const known = gone.filter(what => what !== 'unknown').map(what => `${table} ${what}`)
  if (known.length > 0) to.note(table, known)
}

export const createLosses = (vanished: Pick<Vanished, 'note'>): Losses => {
  let count = 0
  let last = 0
  return {
    note: (where, gone) => {
      const time = vanished.note(where, gone)
      if (time !== last) count += 1
      last = time
    },
    get count() {
      return count
    },
  }
}

/** A ruleset that is flushed goes table by table, and a long one is reported for some time. */
const defaults = { quietMs: 300, longestMs: 2_000 } as const
/** A line names what vanished, but not a thousand elements. */
const named = 20

export interface VanishedDeps {
  readonly clock: Clock
  readonly log: Log
  /** How long nothing may go any more before the line comes, and the longest that it waits when it goes on. */
  readonly quietMs?: number
  readonly longestMs?: number
}

export const createVanished = (deps: VanishedDeps): Vanished => {
  const { clock, log, quietMs, longestMs } = { ...defaults, ...deps }
  const places = new Set<string>()
  const pieces = new Set<string>()
  let times = 0
  let first = 0
  let timer: Timer | undefined

  const tell = () => {
    timer = undefined
    const about = { where: [...places].join(', '), gone: [...pieces].slice(0, named), pieces: pieces.size }
    log.warn(about, 'somebody else removed rules; they are written anew')
    places.clear()
    pieces.clear()
  }
  return {
    note: (where, gone) => {
      const now = clock.monotonic()
      if (timer === undefined) {
        times += 1
        first = now
      }
      timer?.cancel()
      timer = clock.after(Math.min(quietMs, Math.max(0, first + longestMs - now)), tell)
      places.add(where)
      for (const piece of gone) pieces.add(piece)
      return times
    },
    stop: () => {
      if (timer === undefined) return
      timer.cancel()
      tell()
    },
  }
}
