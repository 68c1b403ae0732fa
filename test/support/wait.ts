// Waiting in tests: for a condition that has no event of its own, with a deadline and a message that says what was missing.
import { systemClock } from '../../host/clock.ts'

// How many times longer than usual everything may take: an emulated machine is slower than the one the limits are made for.
export const patience = Number(process.env['NODELET_TEST_PATIENCE'] ?? 1)

/**
 * Asks `check` every 20 ms until it answers something truthy, and returns that. A throw counts as not yet.
 * @param what completes "waited for …"
 */
export const waitFor = async <T>(what: string, check: () => T | Promise<T>, timeoutMs = 10_000): Promise<NonNullable<T>> => {
  const limitMs = timeoutMs * patience
  const deadline = systemClock.monotonic() + limitMs
  for (;;) {
    const seen = await Promise.resolve()
      .then(check)
      .then(
        value => ({ value, error: undefined }),
        (error: unknown) => ({ value: undefined, error }),
      )
    if (seen.value) return seen.value
    if (systemClock.monotonic() > deadline) {
      throw new Error(`waited ${limitMs / 1000} s for ${what}`, seen.error === undefined ? {} : { cause: seen.error })
    }
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
