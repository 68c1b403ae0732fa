// One probe at work: its timer, its attempt under way and its counter. One timer at most, one attempt at a time.
// Knows nothing of other probes: whether it may run now is asked of its owner, probes/table.ts. Rules are in probes/probe.ts.
import type { Clock, Millis, Timer } from '../host/clock.ts'
import {
  type Answer,
  type Counter,
  count,
  earlyAttempt,
  firstAttempt,
  nextAttempt,
  type ProbeResult,
  type ProbeTiming,
} from './probe.ts'

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

const isGood = ({ outcome }: Answer): boolean => outcome === 'success' || outcome === 'warning'

export const createRun = ({ clock, timing, startedAt, ask, held, onAnswer, ...deps }: RunDeps): ProbeRun => {
  const ending = new AbortController()
  let counter = deps.counter
  let timer: Timer | undefined
  let asking = false
  let turns = 0

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
    const isFirst = turns++ === 0
    const answer = await askOnce(() => true)
    if (!mayRun() || answer === undefined) return
    if (isFirst && answer.outcome === 'failure') scheduleEarly(0, due)
    else schedule(nextAttempt(timing, due, clock.now()))
  }

  /** Attempts between the first and the second, which is due as if there were none. */
  const scheduleEarly = (early: number, firstDue: Millis) => {
    const next = nextAttempt(timing, firstDue, clock.now())
    const due = earlyAttempt(deps.counter.kind, early, next, clock.now())
    if (due === undefined) return schedule(next)
    timer = clock.after(due - clock.now(), async () => {
      timer = undefined
      const answer = mayRun() ? await askOnce(isGood) : undefined
      if (!mayRun() || answer === undefined) return
      if (isGood(answer)) schedule(nextAttempt(timing, firstDue, clock.now()))
      else scheduleEarly(early + 1, firstDue)
    })
  }

  /** Asks, and counts the answer when it `counts`. @returns undefined when the probe was ended meanwhile */
  const askOnce = async (counts: (answer: Answer) => boolean): Promise<Answer | undefined> => {
    const askedAt = clock.now()
    asking = true
    const answer = await ask(ending.signal)
    asking = false
    if (ending.signal.aborted) return undefined
    if (counts(answer)) {
      const before = counter.result
      counter = count(counter, timing, answer.outcome)
      onAnswer(answer, counter.result, counter.result !== before, askedAt)
    }
    return answer
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
