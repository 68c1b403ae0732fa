// One probe of one container as a pure counter: when to try next, and what an answer makes of the result so far.
// No clock, no I/O: `now` and answers come in. probes/table.ts holds the timers, probes/attempt.ts asks the container.
// Follows k8s.io: Pod Lifecycle, "Container probes": thresholds count answers in a row, a liveness failure or a finished
// startup probe rests until there is a new container, liveness and readiness wait for the startup probe.
import type { Container, Probe } from '../api/types.ts'
import type { Millis } from '../host/clock.ts'

export const probeKinds = ['startup', 'liveness', 'readiness'] as const
export type ProbeKind = (typeof probeKinds)[number]

/** What a probe says of its container; `unknown` is a startup probe that has not decided yet. */
export type ProbeResult = 'success' | 'failure' | 'unknown'

/** One attempt: `warning` counts as success, `error` (the question could not be asked) counts as nothing at all. */
export type Outcome = 'success' | 'warning' | 'failure' | 'error'

export interface Answer {
  readonly outcome: Outcome
  readonly message: string
}

export interface ProbeTiming {
  readonly initialDelayMs: number
  readonly periodMs: number
  readonly timeoutMs: number
  readonly successThreshold: number
  readonly failureThreshold: number
}

export interface Counter {
  readonly kind: ProbeKind
  readonly result: ProbeResult
  /** What the last attempts in a row said, and how many they were. */
  readonly streak: 'success' | 'failure' | undefined
  readonly length: number
  /** Decided for the life of this container: no more attempts. */
  readonly resting: boolean
}

const positive = (value: number | undefined, fallback: number): number => (value !== undefined && value > 0 ? value : fallback)

/** The timing of a probe with the API's defaults: period 10 s, timeout 1 s, one success, three failures. */
export const toTiming = (probe: Probe): ProbeTiming => ({
  initialDelayMs: Math.max(probe.initialDelaySeconds ?? 0, 0) * 1000,
  periodMs: positive(probe.periodSeconds, 10) * 1000,
  timeoutMs: positive(probe.timeoutSeconds, 1) * 1000,
  successThreshold: positive(probe.successThreshold, 1),
  failureThreshold: positive(probe.failureThreshold, 3),
})

const initialResult = { liveness: 'success', readiness: 'failure', startup: 'unknown' } as const satisfies Record<
  ProbeKind,
  ProbeResult
>

/** A counter before its first attempt; `saved` is the result that an earlier run of the daemon had reached. */
export const toCounter = (kind: ProbeKind, saved?: ProbeResult): Counter => ({
  kind,
  result: saved ?? initialResult[kind],
  streak: undefined,
  length: 0,
  resting: saved !== undefined && rests(kind, saved),
})

const rests = (kind: ProbeKind, result: ProbeResult): boolean =>
  result !== 'unknown' && (kind === 'startup' || (kind === 'liveness' && result === 'failure'))

/** The counter after one more attempt; the same object when the attempt counts for nothing. */
export const count = (counter: Counter, timing: ProbeTiming, outcome: Outcome): Counter => {
  if (outcome === 'error' || counter.resting) return counter
  const said = outcome === 'failure' ? 'failure' : 'success'
  const length = counter.streak === said ? counter.length + 1 : 1
  const reached = length >= (said === 'failure' ? timing.failureThreshold : timing.successThreshold)
  const result = reached ? said : counter.result
  return { ...counter, result, streak: said, length, resting: reached && rests(counter.kind, said) }
}

/**
 * When the first attempt is due: as soon as the initial delay is over.
 * @param spread milliseconds to wait beyond that, for containers that the daemon found running at its own start
 */
export const firstAttempt = (timing: ProbeTiming, startedAt: Millis, now: Millis, spread = 0): Millis =>
  Math.max(startedAt + timing.initialDelayMs, now + spread)

/** When the next attempt is due: one period after the last one was, or at once when that one took longer. */
export const nextAttempt = (timing: ProbeTiming, lastDue: Millis, now: Millis): Millis => Math.max(lastDue + timing.periodMs, now)

// A server listens a moment after its process has started: asked at once it refuses, asked a whole period later it was kept waiting.
const firstEarlyMs = 25

/**
 * When to ask out of turn, between the first attempt and the second, a container that was not ready at the first: soon, then less and
 * less often. The kubelet too asks for readiness out of turn, whenever it syncs a pod that is not ready. Only good answers count.
 * @param early how many attempts were out of turn so far
 * @param next when the second attempt is due
 * @returns undefined when it is not worth it any more, or not for this kind: liveness passes until it fails
 */
export const earlyAttempt = (kind: ProbeKind, early: number, next: Millis, now: Millis): Millis | undefined => {
  const due = now + firstEarlyMs * 2 ** early
  return kind !== 'liveness' && due < next ? due : undefined
}

/** The probe of one kind in a container's spec. */
export const probeOf = (container: Container, kind: ProbeKind): Probe | undefined =>
  ({ startup: container.startupProbe, liveness: container.livenessProbe, readiness: container.readinessProbe })[kind]

const kindNames = { startup: 'Startup', liveness: 'Liveness', readiness: 'Readiness' } as const

/** The text of the event about an attempt, as users search for it; undefined for a plain success. */
export const toEventMessage = (kind: ProbeKind, { outcome, message }: Answer): string | undefined => {
  if (outcome === 'failure') return `${kindNames[kind]} probe failed: ${message}`
  if (outcome === 'warning') return `${kindNames[kind]} probe warning: ${message}`
  if (outcome === 'error') return `${kindNames[kind]} probe errored and resulted in unknown state: ${message}`
  return undefined
}
