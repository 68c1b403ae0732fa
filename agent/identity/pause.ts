// How long to wait before a certificate is asked for again. Pure.
// Follows client-go's rotation for what may pass (2 s doubling to 32 s); a refusal is a person's or a policy's word, so it is not asked
// for again as often.
import { type Fault, isFault } from '../../host/fault.ts'

/** The `reason` of the fault when a request came to its end without a certificate: asking under the same name cannot help. */
export const refusedReason = 'CertificateRefused'

/** True when a request was denied, could not be signed, was deleted, or found nobody to approve it. */
export const isRefusal = (error: unknown): error is Fault => isFault(error, 'certificate') && error.reason === refusedReason

/** Milliseconds before the next attempt. @param failures how many there were in a row, the last one included */
export const pauseAfter = (error: unknown, failures: number): number => {
  const [first, longest] = isRefusal(error) ? [60_000, 600_000] : [2000, 32_000]
  const retryAfterMs = isFault(error) ? (error.retryAfterMs ?? 0) : 0
  return Math.max(retryAfterMs, Math.min(first * 2 ** Math.max(failures - 1, 0), longest))
}
