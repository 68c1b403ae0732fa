// The one loop of the proxy: changes are taken, judged by the model, and given to a backend per family; then stale flows go.
// Holds no policy and knows no kernel. Its rules: nothing before both sources have synced; the first change acts at once and what comes
// meanwhile goes together; a backend that failed gets everything anew; one family's trouble does not hold up the other.
import type { Source } from '../api/source.ts'
import type { EndpointSlice, IPFamily, Service } from '../api/types.ts'
import type { Clock, Millis, Timer } from '../host/clock.ts'
import type { Conntrack } from '../host/conntrack.ts'
import { describe } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import type { Slices } from '../host/loop.ts'
import type { ApplyCount, Backend } from './backend.ts'
import { createChanges, type ServiceChange } from './changes.ts'
import { createClaims, type FrontendChange } from './claims.ts'
import { type FlowRule, staleFlows, toFlowRule, toReconcileRule } from './flows.ts'
import { type NodeView, toFrontends } from './model.ts'

export interface SyncReport {
  /** Families that were written as a whole. */
  readonly full: readonly IPFamily[]
  /** Services that had changed. */
  readonly services: number
  readonly frontends: number
  readonly counts: ApplyCount
  /** From the first change that waited to the kernel's last answer, in milliseconds. */
  readonly latencyMs: number
  readonly durationMs: number
}

export interface ProxierStatus {
  /** Everything there was at the start is in the kernel. */
  readonly synced: boolean
  readonly lastSync: Millis | undefined
  readonly services: number
  readonly frontends: number
  readonly syncs: number
  readonly fullSyncs: number
  readonly failures: number
  readonly lastFailure: string | undefined
  readonly staleFlowsRemoved: number
  /** Why a full sync is due, per family; empty when none is. */
  readonly due: Readonly<Partial<Record<IPFamily, string>>>
}

export interface Proxier {
  /** Stops for good; resolves when nothing is being written any more. The kernel keeps what it has. */
  stop(): Promise<void>
  /** Writes everything anew as soon as possible: of one family, or of both. */
  resync(reason: string, family?: IPFamily): void
  /** What the node is judged by has changed: everything is decided and written anew. */
  setNode(node: NodeView): void
  /** Resolves when all changes of this moment are in the kernel. */
  settled(): Promise<void>
  status(): ProxierStatus
}

export interface ProxierDeps {
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  readonly node: NodeView
  readonly backends: readonly Backend[]
  readonly conntrack: Conntrack
  readonly clock: Clock
  readonly log: Log
  readonly slices: Slices
  /** The shortest time between two syncs; default 2 ms. */
  readonly minGapMs?: number
  readonly onSynced?: (report: SyncReport) => void
}

const retryMs = { first: 100, longest: 30_000 }

/** Starts at once; writes as soon as both sources are synced. */
export const createProxier = (deps: ProxierDeps): Proxier => {
  const { backends, clock, log, slices } = deps
  const minGapMs = deps.minGapMs ?? 2
  const claims = createClaims()
  const due = new Map<IPFamily, string>(backends.map(({ family }) => [family, 'start']))
  const pending = new Map<IPFamily, Map<string, FrontendChange>>(backends.map(({ family }) => [family, new Map()]))
  let flowRules: FlowRule[] = []
  let reconciled = false
  let node = deps.node
  let timer: Timer | undefined
  let timerAt = Number.POSITIVE_INFINITY
  let running: Promise<void> | undefined
  let again = false
  let stopped = false
  let waitingSince: number | undefined
  let lastEnd = Number.NEGATIVE_INFINITY
  // A family that failed is left alone until then, however much changes meanwhile.
  const resting = new Map<IPFamily, { readonly until: number; readonly pause: number }>()
  let waiters: (() => void)[] = []
  const tally = { syncs: 0, fullSyncs: 0, failures: 0, removed: 0 }
  let lastSync: Millis | undefined
  let lastFailure: string | undefined

  const wake = (ms: number) => {
    if (stopped) return
    waitingSince ??= clock.monotonic()
    if (running !== undefined) {
      again = true
      return
    }
    const at = clock.monotonic() + ms
    if (at >= timerAt) return
    timer?.cancel()
    timerAt = at
    timer = clock.after(ms, () => {
      timer = undefined
      timerAt = Number.POSITIVE_INFINITY
      running = sync().finally(() => {
        running = undefined
        if (!again) return
        again = false
        wake(minGapMs)
      })
    })
  }
  const soon = () => wake(Math.max(0, lastEnd + minGapMs - clock.monotonic()))

  const changes = createChanges({ services: deps.services, endpointSlices: deps.endpointSlices, onPending: soon })

  // Several changes of one address before it is written: what the kernel holds is the first `before`.
  const note = (family: IPFamily, change: FrontendChange) => {
    const map = pending.get(family)!
    const first = map.get(change.key)
    map.set(change.key, first === undefined ? change : { ...change, before: first.before })
    const rule = reconciled ? toFlowRule(change) : undefined
    if (rule !== undefined) flowRules.push(rule)
  }
  const judge = ({ key, after }: ServiceChange) => {
    const { service } = after
    const frontends =
      service === undefined ? [] : backends.flatMap(({ family }) => toFrontends(service, after.slices, family, node))
    const result = claims.set(key, frontends)
    for (const conflict of result.conflicts) log.warn(conflict, 'two Services claim one address and port; the older one has it')
    for (const change of result.changes) note((change.after ?? change.before)!.family, change)
  }

  const write = async (backend: Backend): Promise<ApplyCount | undefined> => {
    const { family } = backend
    const reason = due.get(family)
    const mine = pending.get(family)!
    pending.set(family, new Map())
    const rest = resting.get(family)
    if (reason !== undefined && rest !== undefined && clock.monotonic() < rest.until) return undefined
    try {
      if (reason === undefined) return mine.size === 0 ? undefined : await backend.apply([...mine.values()])
      due.delete(family)
      if (reason !== 'start') log.info({ family, reason }, 'writing all Services anew')
      tally.fullSyncs += 1
      const count = await backend.full(claims.effective().filter(frontend => frontend.family === family))
      resting.delete(family)
      return count
    } catch (error) {
      const pause = Math.min((rest?.pause ?? retryMs.first / 2) * 2, retryMs.longest)
      resting.set(family, { until: clock.monotonic() + pause, pause })
      clock.after(pause, () => wake(0))
      tally.failures += 1
      lastFailure = describe(error)
      due.set(family, 'a change was refused')
      log.error({ err: error, family }, 'Services could not be written; everything is written anew')
      return undefined
    }
  }

  const cleanFlows = async () => {
    if (due.size > 0 && !reconciled) return
    const all = reconciled ? flowRules : [...claims.effective()].flatMap(frontend => toReconcileRule(frontend) ?? [])
    // A flow may only go when a new one cannot take the old way: rules of a family that is not written yet wait.
    const rules = all.filter(({ family }) => !due.has(family))
    flowRules = all.filter(({ family }) => due.has(family))
    reconciled = true
    const nodeIPs = new Set(node.ips)
    for (const [family, protocol] of new Map(
      rules.map(rule => [`${rule.family} ${rule.protocol}`, [rule.family, rule.protocol] as const]),
    ).values())
      try {
        const stale = staleFlows(await deps.conntrack.list(family, protocol), rules, nodeIPs)
        await deps.conntrack.remove(stale)
        tally.removed += stale.length
        if (stale.length > 0) log.debug({ family, protocol, flows: stale.length }, 'removed flows to endpoints that are gone')
      } catch (error) {
        log.warn({ err: error, family, protocol }, 'stale flows could not be removed')
      }
  }

  const sync = async () => {
    const began = clock.monotonic()
    const since = waitingSince ?? began
    waitingSince = undefined
    const wasWaiting = waiters
    waiters = []
    const taken = changes.take()
    for (const change of taken) {
      judge(change)
      await slices.pause()
    }
    if (!changes.isSynced) return void waiters.push(...wasWaiting)
    const full = [...due.keys()]
    const counts = (await Promise.all(backends.map(write))).filter(count => count !== undefined)
    await cleanFlows()
    lastEnd = clock.monotonic()
    tally.syncs += 1
    if (due.size > 0) {
      waiters.push(...wasWaiting)
      return
    }
    lastSync = clock.now()
    for (const done of wasWaiting) done()
    if (counts.length === 0 && full.length === 0) return
    deps.onSynced?.({
      full,
      services: taken.length,
      frontends: claims.size,
      counts: {
        transactions: counts.reduce((sum, count) => sum + count.transactions, 0),
        operations: counts.reduce((sum, count) => sum + count.operations, 0),
      },
      latencyMs: lastEnd - since,
      durationMs: lastEnd - began,
    })
  }
  return {
    stop: async () => {
      stopped = true
      timer?.cancel()
      changes.stop()
      await running
      for (const done of waiters) done()
      waiters = []
    },
    resync: (reason, family) => {
      for (const backend of backends) if (family === undefined || backend.family === family) due.set(backend.family, reason)
      if (changes.isSynced) soon()
    },
    setNode: next => {
      node = next
      for (const { family } of backends) due.set(family, 'the node has changed')
      changes.touchAll()
      if (changes.isSynced) soon()
    },
    settled: () =>
      new Promise(resolve => {
        if (stopped) return resolve()
        waiters.push(resolve)
        if (changes.isSynced) soon()
      }),
    status: () => ({
      synced: lastSync !== undefined,
      lastSync,
      services: [...claims.services()].length,
      frontends: claims.size,
      syncs: tally.syncs,
      fullSyncs: tally.fullSyncs,
      failures: tally.failures,
      lastFailure,
      staleFlowsRemoved: tally.removed,
      due: Object.fromEntries(due),
    }),
  }
}
