// One probe at work: its timer, its attempt under way and its counter. One timer at most, one attempt at a time.
// Knows nothing of other probes: whether it may run now is asked of its owner, probes/table.ts. Rules are in probes/probe.ts.
import type { Clock, Millis, Timer } from '../host/clock.ts'
import { type Answer, type Counter, count, firstAttempt, nextAttempt, type ProbeResult, type ProbeTiming } from './probe.ts'

export interface RunDeps {
  readonly clock: Clock
  readonly timing: ProbeTiming
  readonly counter: Counter
  /** When the container started. */
  readonly startedAt: Millis
  /** Asks once. Must not reject. */
  readonly ask: (signal: AbortSignal) => Promise<Answer>
  /** Whether another probe of the container holds this one back. */
  readonly held: () => boolean
  /** Called with every answer, in the turn in which it came; `flipped` when it changed the result. */
  readonly onAnswer: (answer: Answer, result: ProbeResult, flipped: boolean, askedAt: Millis) => void
}

export interface ProbeRun {
  readonly result: ProbeResult
  /** Starts asking when it may and does not already; the first attempt waits `spreadMs` at least. */
  begin(spreadMs?: number): void
  /** Ends it for good; an answer still under way is not told. */
  stop(): void
}

export const createRun = ({ clock, timing, startedAt, ask, held, onAnswer, ...deps }: RunDeps): ProbeRun => {
  const ending = new AbortController()
  let counter = deps.counter
  let timer: Timer | undefined
  let asking = false

  const mayRun = () => !ending.signal.aborted && !counter.resting && !held()

  const schedule = (due: Millis) => {
    timer?.cancel()
    timer = clock.after(due - clock.now(), () => void attempt(due))
  }

  const attempt = async (due: Millis) => {
    timer = undefined
    if (!mayRun()) return
    // A timer holds at most 24 days; a longer initial delay wakes early.
    if (clock.now() < due) return schedule(due)
    const askedAt = clock.now()
    asking = true
    const answer = await ask(ending.signal)
    asking = false
    if (ending.signal.aborted) return
    const before = counter.result
    counter = count(counter, timing, answer.outcome)
    onAnswer(answer, counter.result, counter.result !== before, askedAt)
    if (mayRun()) schedule(nextAttempt(timing, due, clock.now()))
  }

  return {
    get result() {
      return counter.result
    },
    begin: (spreadMs = 0) => {
      if (timer === undefined && !asking && mayRun()) schedule(firstAttempt(timing, startedAt, clock.now(), spreadMs))
    },
    stop: () => {
      timer?.cancel()
      timer = undefined
      ending.abort()
    },
  }
}
