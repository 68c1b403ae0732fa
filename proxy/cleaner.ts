// Removes tracked flows that a change of Services has made wrong, once the new rules stand. flows.ts says which; this file asks the
// kernel and counts. The first time nothing is known of what was before, nor after rules were missing for a while, and every flow to a
// Service is looked at; what could not be removed is tried again with the next change, but not while conntrack has just failed.
import type { IPFamily } from '../api/service-types.ts'
import type { Clock } from '../host/clock.ts'
import type { Conntrack, Flow } from '../host/conntrack.ts'
import type { Log } from '../host/log.ts'
import type { FrontendChange } from './claims.ts'
import { begunInVain, type FlowRule, staleFlows, toFlowRule, toReconcileRule } from './flows.ts'
import { type Frontend, frontendKey } from './model.ts'

export interface Cleaner {
  /** Takes note of what will be written. */
  note(changes: readonly FrontendChange[]): void
  /** Rules were missing for a while: flows may have begun that nothing sent on. */
  doubt(family?: IPFamily): void
  /** Removes what is wrong now, of families whose rules stand; failures are logged once and tried again later. */
  clean(standing: readonly IPFamily[], frontends: () => Iterable<Frontend>): Promise<void>
  /** How many flows were removed since the start. */
  removed(family: IPFamily): number
}

export interface CleanerDeps {
  readonly conntrack: Conntrack
  /** Addresses of this node that serve node ports. */
  readonly nodeAddresses: () => readonly string[]
  readonly clock: Pick<Clock, 'monotonic'>
  readonly log: Log
}

type Kind = Pick<FlowRule, 'family' | 'protocol'>

const restMs = 10_000
// Beyond it, looking at everything once is less than remembering what to look at.
const mostRules = 10_000

const reconcileRules = (frontends: Iterable<Frontend>): Map<string, FlowRule> =>
  new Map(
    Iterator.from(frontends).flatMap(frontend => {
      const rule = toReconcileRule(frontend)
      return rule === undefined ? [] : [[frontendKey(rule), rule] as const]
    }),
  )

/** Nothing is noted before the first cleaning, which looks at everything. */
export const createCleaner = ({ conntrack, nodeAddresses, clock, log }: CleanerDeps): Cleaner => {
  let pending: Map<string, FlowRule> | undefined
  /** Families whose clients of TCP may have begun while nothing sent them on. */
  const doubted = new Set<IPFamily>(['IPv4', 'IPv6'])
  const removed = new Map<IPFamily, number>()
  let failedAt: number | undefined

  const drop = async ({ family, protocol }: Kind, flows: readonly Flow[], what: string): Promise<void> => {
    await conntrack.remove(flows)
    removed.set(family, (removed.get(family) ?? 0) + flows.length)
    if (flows.length > 0) log.debug({ family, protocol, flows: flows.length }, `removed flows ${what}`)
  }
  const cleanBegun = async (family: IPFamily, frontends: () => Iterable<Frontend>): Promise<void> => {
    const unanswered = await conntrack.list(family, 'TCP', { unanswered: true })
    await drop({ family, protocol: 'TCP' }, begunInVain(unanswered, frontends), 'that nothing sent on')
  }
  const cleanKind = async ({ family, protocol }: Kind, rules: readonly FlowRule[]): Promise<void> => {
    const stale = staleFlows(await conntrack.list(family, protocol), rules, new Set(nodeAddresses()))
    await drop({ family, protocol }, stale, 'to endpoints that are gone')
  }
  const fail = (error: unknown, kind: Kind) => {
    const say = failedAt === undefined ? log.warn : log.debug
    say.call(log, { err: error, ...kind }, 'stale flows could not be removed; clients may go on to endpoints that are gone')
    failedAt = clock.monotonic()
  }
  return {
    removed: family => removed.get(family) ?? 0,
    note: changes => {
      for (const change of changes) {
        const rule = pending && toFlowRule(change, pending.get(change.key))
        if (rule === undefined) pending?.delete(change.key)
        else pending?.set(change.key, rule)
      }
      if (pending !== undefined && pending.size > mostRules) pending = undefined
    },
    doubt: family => {
      pending = undefined
      for (const one of family === undefined ? (['IPv4', 'IPv6'] as const) : [family]) doubted.add(one)
    },
    clean: async (standing, frontends) => {
      pending ??= reconcileRules(frontends())
      const rules = pending
      const begun = standing.filter(family => doubted.has(family))
      if (rules.size + begun.length === 0 || (failedAt !== undefined && clock.monotonic() - failedAt < restMs)) return
      // A flow may only go when a new one cannot take the old way.
      const ripe = [...rules.values()].filter(({ family }) => standing.includes(family))
      let failed = false
      const attempt = async (kind: Kind, work: () => Promise<void>) => {
        try {
          await work()
        } catch (error) {
          fail(error, kind)
          failed = true
        }
      }
      for (const family of begun)
        await attempt({ family, protocol: 'TCP' }, async () => {
          await cleanBegun(family, frontends)
          doubted.delete(family)
        })
      for (const [, kind] of Map.groupBy(ripe, ({ family, protocol }) => `${family} ${protocol}`)) {
        const { family, protocol } = kind[0]!
        await attempt({ family, protocol }, async () => {
          await cleanKind({ family, protocol }, kind)
          for (const rule of kind) rules.delete(frontendKey(rule))
        })
      }
      if (!failed && ripe.length + begun.length > 0) failedAt = undefined
    },
  }
}
