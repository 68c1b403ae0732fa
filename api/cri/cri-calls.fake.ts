// The call log of the runtime in memory (cri.fake.ts), and failures on order: the next call of a method fails, or hangs
// until the test lets go, or the whole runtime is away.
import type { Clock, Millis } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import type { CallOptions, Cri } from './cri.ts'

export type CriMethod = Exclude<keyof Cri, 'close'>

export interface FakeCall {
  readonly method: CriMethod
  readonly args: readonly unknown[]
  readonly at: Millis
}

export interface FakeCalls {
  /** Every call so far, in order; clear it with `calls.length = 0`. */
  readonly calls: FakeCall[]
  count(method: CriMethod): number
  /** The next `times` calls of a method fail. */
  fail(method: CriMethod, fault: Fault, times?: number): void
  /** Calls of a method wait until the returned function is called, or their signal aborts. */
  hang(method: CriMethod): () => void
  /** While true, every call fails with `runtime-away`. */
  setAway(away: boolean): void
}

const isOptions = (value: unknown): value is CallOptions => typeof value === 'object' && value !== null && 'signal' in value

/** The log, and `record`, which puts it in front of an implementation. */
export const createFakeCalls = (clock: Clock): FakeCalls & { record(cri: Cri): Cri } => {
  const calls: FakeCall[] = []
  const failures = new Map<CriMethod, { readonly fault: Fault; left: number }>()
  const hanging = new Map<CriMethod, Promise<void>>()
  const state = { away: false }

  const gate = async (method: CriMethod, args: readonly unknown[]) => {
    calls.push({ method, args, at: clock.now() })
    if (state.away) throw new Fault('runtime-away', 'the fake runtime is away')
    const failure = failures.get(method)
    if (failure !== undefined && failure.left > 0) {
      failure.left -= 1
      throw failure.fault
    }
    const signal = args.find(isOptions)?.signal
    signal?.throwIfAborted()
    const held = hanging.get(method)
    if (held === undefined) return
    const aborted = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
    })
    await Promise.race([held, aborted])
  }

  const record = (cri: Cri): Cri => {
    const recorded = Object.entries(cri).map(([name, run]: [string, (...args: unknown[]) => unknown]) => [
      name,
      name === 'close' ? run : async (...args: unknown[]) => gate(name as CriMethod, args).then(() => run(...args)),
    ])
    return Object.fromEntries(recorded) as Cri
  }

  return {
    calls,
    record,
    count: method => calls.filter(call => call.method === method).length,
    fail: (method, fault, times = 1) => void failures.set(method, { fault, left: times }),
    hang: method => {
      const { promise, resolve } = Promise.withResolvers<void>()
      hanging.set(method, promise)
      return () => {
        hanging.delete(method)
        resolve()
      }
    },
    setAway: away => {
      state.away = away
    },
  }
}
