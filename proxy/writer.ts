// Writes one family: changes as they come, or everything when that is due: at the start, on demand, and after a failure.
// A failed write is repeated as a full one with growing pauses, however much changes meanwhile.
import type { Clock } from '../host/clock.ts'
import { describe } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import type { ApplyCount, Backend, RuleCount } from './backend.ts'
import type { Desired } from './desired.ts'

export interface Written {
  readonly family: Backend['family']
  readonly full: boolean
  readonly durationMs: number
  readonly count: ApplyCount
}

export interface Writer {
  readonly family: Backend['family']
  /** Why everything must be written; undefined when changes will do. */
  readonly due: string | undefined
  readonly failures: number
  /** Of them those that wrote changes and not everything. */
  readonly partialFailures: number
  readonly fullSyncs: number
  /** Of the backend: rules by table. */
  readonly rules: Readonly<Record<string, RuleCount>>
  readonly lastFailure: string | undefined
  demand(reason: string): void
  /** Writes what is pending; undefined when there was nothing to write, or it failed: then `due` says so. Never throws. */
  write(): Promise<Written | undefined>
}

export interface WriterDeps {
  readonly backend: Backend
  readonly desired: Pick<Desired, 'take' | 'frontends'>
  readonly clock: Clock
  readonly log: Log
  /** Called when the pause after a failure is over. */
  readonly onRetry: () => void
}

const retryMs = { first: 100, longest: 30_000 }

/** The first write is a full one. */
export const createWriter = ({ backend, desired, clock, log, onRetry }: WriterDeps): Writer => {
  const { family } = backend
  let due: string | undefined = 'start'
  let failures = 0
  let partialFailures = 0
  let fullSyncs = 0
  let lastFailure: string | undefined
  // Told by the timer itself: one that fires a moment early by the clock must not find the pause still going on, and never come again.
  let resting = false
  let pause = 0

  const writeAll = async (reason: string): Promise<ApplyCount> => {
    due = undefined
    fullSyncs += 1
    if (reason !== 'start') log.info({ family, reason }, 'writing all Services anew')
    const count = await backend.full(desired.frontends(family))
    pause = 0
    return count
  }
  const fail = (error: unknown) => {
    pause = Math.min(Math.max(pause * 2, retryMs.first), retryMs.longest)
    resting = true
    clock.after(pause, () => {
      resting = false
      onRetry()
    })
    failures += 1
    lastFailure = describe(error)
    due = 'a change was refused'
    log.error({ err: error, family, againInMs: pause }, 'Services could not be written; everything is written anew')
  }
  return {
    family,
    get due() {
      return due
    },
    get failures() {
      return failures
    },
    get partialFailures() {
      return partialFailures
    },
    get fullSyncs() {
      return fullSyncs
    },
    get rules() {
      return backend.rules?.() ?? {}
    },
    get lastFailure() {
      return lastFailure
    },
    demand: reason => {
      due = reason
    },
    write: async () => {
      const changes = desired.take(family)
      const began = clock.monotonic()
      const full = due !== undefined
      if (full ? resting : changes.length === 0) return undefined
      try {
        const count = await (due === undefined ? backend.apply(changes) : writeAll(due))
        return { family, full, count, durationMs: clock.monotonic() - began }
      } catch (error) {
        if (!full) partialFailures += 1
        fail(error)
        return undefined
      }
    },
  }
}
