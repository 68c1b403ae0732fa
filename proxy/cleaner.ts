// Removes tracked flows that a change of Services has made wrong, once the new rules stand. flows.ts says which; this file asks the
// kernel and counts. The first time nothing is known of what was before, and every flow to a Service is looked at.
import type { IPFamily } from '../api/types.ts'
import type { Conntrack } from '../host/conntrack.ts'
import type { Log } from '../host/log.ts'
import type { FrontendChange } from './claims.ts'
import { type FlowRule, staleFlows, toFlowRule, toReconcileRule } from './flows.ts'
import type { Frontend } from './model.ts'

export interface Cleaner {
  /** Takes note of what will be written. */
  note(changes: readonly FrontendChange[]): void
  /** Removes what is wrong now, of families whose rules stand; failures are logged and not repeated. */
  clean(standing: readonly IPFamily[], frontends: () => Iterable<Frontend>, nodeIPs: readonly string[]): Promise<void>
  /** How many flows were removed since the start. */
  removed(family: IPFamily): number
}

/** Nothing is noted before the first cleaning, which looks at everything. */
export const createCleaner = ({ conntrack, log }: { conntrack: Conntrack; log: Log }): Cleaner => {
  let rules: readonly FlowRule[] | undefined
  const removed = new Map<IPFamily, number>()
  return {
    removed: family => removed.get(family) ?? 0,
    note: changes => {
      if (rules === undefined) return
      const more = changes.flatMap(change => toFlowRule(change) ?? [])
      if (more.length > 0) rules = [...rules, ...more]
    },
    clean: async (standing, frontends, nodeIPs) => {
      const all = rules ?? [...frontends()].flatMap(frontend => toReconcileRule(frontend) ?? [])
      // A flow may only go when a new one cannot take the old way.
      const ripe = all.filter(({ family }) => standing.includes(family))
      rules = all.filter(({ family }) => !standing.includes(family))
      const kinds = new Map(ripe.map(({ family, protocol }) => [`${family} ${protocol}`, { family, protocol }]))
      for (const { family, protocol } of kinds.values())
        try {
          const stale = staleFlows(await conntrack.list(family, protocol), ripe, new Set(nodeIPs))
          await conntrack.remove(stale)
          removed.set(family, (removed.get(family) ?? 0) + stale.length)
          if (stale.length > 0) log.debug({ family, protocol, flows: stale.length }, 'removed flows to endpoints that are gone')
        } catch (error) {
          log.warn({ err: error, family, protocol }, 'stale flows could not be removed')
        }
    },
  }
}
