// What every way of programming the kernel offers: take changes, take everything, leave nothing. Types only.
// A backend prints what the model decided and remembers what the kernel has taken; it never lists the kernel to apply a change.
import type { IPFamily } from '../api/types.ts'
import type { FrontendChange } from './claims.ts'
import type { Frontend } from './model.ts'

/** What one sync cost; pinned in tests, shown in status. */
export interface ApplyCount {
  readonly transactions: number
  /** Elements and rules added or deleted. */
  readonly operations: number
}

export interface Backend {
  readonly name: string
  readonly family: IPFamily
  /**
   * Brings the kernel from what was applied last to these changes. Needs a `full` that succeeded before it.
   * @throws Fault `kernel-refused`; what the kernel holds is then as before, and `full` must come next
   */
  apply(changes: readonly FrontendChange[]): Promise<ApplyCount>
  /**
   * Replaces all there is with this, without a gap; the first one also takes over from an earlier daemon.
   * @throws Fault `kernel-refused`
   */
  full(frontends: Iterable<Frontend>): Promise<ApplyCount>
}
