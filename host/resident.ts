// Keeps a program running that stays and tells lines: whenever it ends it is started again, after a growing pause.
// Knows nothing of what the lines say. What happened between an end and the next start made no line: `onRestart` is told.
import { type Clock, holdProcess, type Timer } from './clock.ts'
import type { Exec, Watched } from './exec.ts'
import type { Log } from './log.ts'

export interface Resident {
  /** Whether the program is there and listened to. */
  readonly isRunning: boolean
  readonly restarts: number
  stop(): void
}

export interface ResidentDeps {
  readonly exec: Pick<Exec, 'watch'>
  readonly clock: Clock
  readonly log: Log
}

export interface ResidentProgram {
  readonly argv: readonly string[]
  /** What it does, for the log: `the watch on interfaces`. */
  readonly what: string
  readonly onLine: (line: string) => void
  readonly onEnd?: () => void
  readonly onRestart: () => void
}

const pauseMs = { first: 200, longest: 10_000 }
// A program that lived this long did not fail by starting.
const settledMs = 5_000

/** Starts it at once. */
export const keepRunning = ({ exec, clock, log }: ResidentDeps, program: ResidentProgram): Resident => {
  let child: Watched | undefined
  let timer: Timer | undefined
  let stopped = false
  let restarts = 0
  let pause = pauseMs.first

  const start = () => {
    const began = clock.monotonic()
    child = exec.watch(program.argv, program.onLine)
    child.ended.then(
      result => again(began, result.stderr.trim() || `exit code ${result.exitCode}`),
      error => again(began, String(error)),
    )
  }
  const again = (began: number, why: string) => {
    child = undefined
    program.onEnd?.()
    if (stopped) return
    if (clock.monotonic() - began > settledMs) pause = pauseMs.first
    log.warn({ why, againInMs: pause }, `${program.what} ended; it is started again`)
    restarts += 1
    timer = clock.after(pause, () => {
      start()
      program.onRestart()
    })
    pause = Math.min(pause * 2, pauseMs.longest)
  }
  start()
  return {
    get isRunning() {
      return child !== undefined
    },
    get restarts() {
      return restarts
    },
    stop: () => {
      stopped = true
      timer?.cancel()
      child?.stop()
    },
  }
}

/** As the program that `start` starts, but only once `after` is settled, or `longestMs` from now. */
export const startAfter = (
  { clock }: Pick<ResidentDeps, 'clock'>,
  after: Promise<unknown>,
  longestMs: number,
  start: () => Resident,
): Resident => {
  let started: Resident | undefined
  let isWaiting = true
  // The program would keep this process from ending; so does the wait for it.
  const held = holdProcess()
  const endWait = () => {
    isWaiting = false
    held.cancel()
    latest.cancel()
  }
  const begin = () => {
    if (!isWaiting) return
    endWait()
    started = start()
  }
  const latest = clock.after(longestMs, begin)
  after.then(begin, begin)
  return {
    get isRunning() {
      return started?.isRunning ?? false
    },
    get restarts() {
      return started?.restarts ?? 0
    },
    stop: () => {
      endWait()
      started?.stop()
    },
  }
}
