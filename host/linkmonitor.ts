// Notices interfaces that go away: one `ip monitor` child, a line for each. Knows nothing about whose they are and repairs nothing.
// Only removals are told: what comes harms nobody.
import type { Clock, Timer } from './clock.ts'
import type { Exec, Watched } from './exec.ts'
import type { Log } from './log.ts'

export interface LinkMonitor {
  stop(): void
}

export interface LinkMonitorDeps {
  readonly exec: Pick<Exec, 'watch'>
  readonly clock: Clock
  readonly log: Log
}

const restartMs = { first: 200, longest: 10_000 }
// A child that lived this long did not fail by starting.
const settledMs = 5_000

/**
 * Watches until stopped.
 * @param onGone called with an interface's name, or with nothing when removals may have gone unseen
 */
export const watchLinks = (deps: LinkMonitorDeps, onGone: (name: string | undefined) => void): LinkMonitor => {
  const { exec, clock, log } = deps
  let child: Watched | undefined
  let timer: Timer | undefined
  let stopped = false
  let pause = restartMs.first

  const onLine = (line: string) => {
    const name = /^Deleted \d+: ([^:@\s]+)/.exec(line)?.[1]
    if (name !== undefined) onGone(name)
  }
  const start = () => {
    const began = clock.monotonic()
    const watched = exec.watch(['ip', '-o', 'monitor', 'link'], onLine)
    child = watched
    const again = (why: string) => {
      child = undefined
      if (stopped) return
      if (clock.monotonic() - began > settledMs) pause = restartMs.first
      log.warn({ why, againInMs: pause }, 'the watch on interfaces ended; it is started again')
      timer = clock.after(pause, () => {
        start()
        onGone(undefined)
      })
      pause = Math.min(pause * 2, restartMs.longest)
    }
    watched.ended.then(
      result => again(result.stderr.trim() || `exit code ${result.exitCode}`),
      error => again(String(error)),
    )
  }
  start()
  return {
    stop: () => {
      stopped = true
      timer?.cancel()
      child?.stop()
    },
  }
}
