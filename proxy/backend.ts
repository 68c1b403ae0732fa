// What every way of programming the kernel offers: take changes, take everything, leave nothing. Types only.
// A backend prints what the model decided and remembers what the kernel has taken; it never lists the kernel to apply a change.
import type { IPFamily } from '../api/service-types.ts'
import type { FrontendChange } from './claims.ts'
import type { Inspector } from './inspect-types.ts'
import type { Frontend } from './model.ts'

/** What one sync cost; pinned in tests, shown in status. */
export interface ApplyCount {
  readonly transactions: number
  /** Elements and rules added or deleted. */
  readonly operations: number
}

/** Rules of one table: all that stand, and those that the last sync wrote. */
export interface RuleCount {
  readonly total: number
  readonly last: number
}

export interface Backend {
  readonly name: string
  readonly family: IPFamily
  /**
   * Shows what the kernel has, for `nodelet trace` and `nodelet diff`; undefined where that cannot be asked. What a mode calls a piece
   * is its own: an element of a map (`service-ips`, its key, its verdict), or a rule of a chain (the chain, what it matches, its target).
   * `look` reads the book for what was written of one frontend and asks the kernel for just that; `diff` lists everything of ours and
   * holds it against the whole book. Neither writes, nor holds up a sync.
   */
  readonly inspector?: Inspector
  /** Rules by the name of their table, for metrics; empty before the first sync. Only where a mode's rules grow with the Services. */
  readonly rules?: () => Readonly<Record<string, RuleCount>>
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
