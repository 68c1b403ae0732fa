// Crash back-off of one container: 10 s doubling to 5 min, forgotten after a run of twice the longest pause.
// Pure; the longest pause is the node's to set (crashLoopBackOff.maxContainerRestartPeriod). Follows flowcontrol.Backoff as the kubelet
// uses it (IsInBackOffSince, then Next). A daemon that restarts has no memory of the pauses so far, so they are seeded from the
// restart count that the runtime keeps.
import type { Millis } from '../host/clock.ts'

export const firstPauseMs = 10_000
export const longestPauseMs = 300_000

export interface BackOff {
  readonly pauseMs: number
  readonly updatedAt: Millis
}

/** The container's last end, as far as it matters here. */
export interface Ended {
  readonly restartCount: number
  readonly startedAt: Millis
  readonly finishedAt: Millis
  readonly exitCode?: number
  readonly reason?: string
}

/** containerd's words for a container that was gone when it came back: the machine went down under it, which is no crash of its own. */
const wentWithTheMachine = ({ exitCode, reason }: Ended): boolean => exitCode === 255 && reason === 'Unknown'

const hasExpired = (at: Millis, backOff: BackOff, longestMs: number): boolean => at - backOff.updatedAt > 2 * longestMs

/**
 * What is known of a container's pauses when only the runtime remembers it: nothing for a container that never restarted, or that ended
 * with its machine.
 */
export const seed = (ended: Ended, longestMs = longestPauseMs): BackOff | undefined =>
  ended.restartCount === 0 || wentWithTheMachine(ended)
    ? undefined
    : { pauseMs: Math.min(firstPauseMs * 2 ** (ended.restartCount - 1), longestMs), updatedAt: ended.startedAt }

/** When the container may start again: undefined for at once. */
export const waitsUntil = (
  backOff: BackOff | undefined,
  ended: Ended,
  now: Millis,
  longestMs = longestPauseMs,
): Millis | undefined => {
  if (backOff === undefined || hasExpired(ended.finishedAt, backOff, longestMs)) return undefined
  const until = ended.finishedAt + backOff.pauseMs
  return now < until ? until : undefined
}

/** The state after a restart that happens now. */
export const next = (backOff: BackOff | undefined, now: Millis, longestMs = longestPauseMs): BackOff =>
  backOff === undefined || hasExpired(now, backOff, longestMs)
    ? { pauseMs: Math.min(firstPauseMs, longestMs), updatedAt: now }
    : { pauseMs: Math.min(backOff.pauseMs * 2, longestMs), updatedAt: now }
