// Waiting for what is not there yet: the runtime, a kernel module, a port. Tries again for ever and says so once.
import type { Clock, Timer } from '../host/clock.ts'
import { describe } from '../host/fault.ts'
import type { Log } from '../host/log.ts'

export interface PatienceDeps {
  readonly clock: Clock
  readonly log: Log
}

export interface Patient<T> {
  /** The first attempt is over, whatever came of it. */
  readonly tried: Promise<void>
  /** What it has brought about; undefined while it is tried. */
  readonly result: T | undefined
  /** Why the last attempt failed, until one succeeds. */
  readonly failure: unknown
  /** Stops trying; what it brought about, if anything. */
  giveUp(): T | undefined
}

const tryAgainMs = 5_000

/** What does not work at once may later: a module that is loaded, a port that becomes free. Says when it begins to work. */
export const keepTrying = <T>(what: string, work: () => Promise<T>, { clock, log }: PatienceDeps): Patient<T> => {
  let result: T | undefined
  let timer: Timer | undefined
  let failure: unknown
  let failures = 0
  const attempt = async (): Promise<void> => {
    try {
      result = await work()
      failure = undefined
      if (failures > 0) log.info({ failures }, `over now: ${what}`)
    } catch (error) {
      failures += 1
      failure = error
      const say = failures === 1 ? log.error : log.debug
      say.call(log, { err: error }, `${what}; trying again: ${describe(error)}`)
      timer = clock.after(tryAgainMs, () => void attempt())
    }
  }
  return {
    tried: attempt(),
    get result() {
      return result
    },
    get failure() {
      return failure
    },
    giveUp: (): T | undefined => {
      timer?.cancel()
      return result
    },
  }
}

/** Asks until the runtime is there; says once that it is not. */
export const whenRuntimeAnswers = async <T>(ask: () => Promise<T>, { clock, log }: PatienceDeps): Promise<T> => {
  for (let said = false; ; said = true) {
    try {
      return await ask()
    } catch (error) {
      if (!said) log.error({ err: error }, `the container runtime does not answer; trying again: ${describe(error)}`)
      await clock.sleep(500)
    }
  }
}
