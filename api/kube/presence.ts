// Whether the apiserver is there, over all calls and watches together: one log line when it goes, one when it is back.
// Decides nothing about single calls; those who wait for it are told when it answers again.
import type { Clock } from '../../host/clock.ts'
import type { Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'

export interface Presence {
  /** What keeps us from the apiserver, or undefined while it answers. */
  problem(): Fault | undefined
  /** A call that began at `since` (monotonic) had no answer. Nothing is lost if another one had an answer meanwhile. */
  failed(fault: Fault, since: number): void
  answered(): void
  onBack(listener: () => void): () => void
}

export const createPresence = ({ clock, log }: { clock: Clock; log: Log }): Presence => {
  const listeners = new Set<() => void>()
  let problem: Fault | undefined
  let lostAt = 0
  let answeredAt = Number.NEGATIVE_INFINITY
  return {
    problem: () => problem,
    failed: (fault, since) => {
      if (since < answeredAt) return
      if (problem === undefined) lostAt = clock.monotonic()
      if (problem?.code !== fault.code) log.warn({ err: fault }, 'the apiserver cannot be asked; trying on')
      problem = fault
    },
    answered: () => {
      answeredAt = clock.monotonic()
      if (problem === undefined) return
      log.info({ awayMs: Math.round(answeredAt - lostAt) }, 'the apiserver answers again')
      problem = undefined
      for (const listener of [...listeners]) listener()
    },
    onBack: listener => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
}
