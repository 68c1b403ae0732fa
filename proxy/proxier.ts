// The one loop of the proxy: changes are taken, judged by the model, and given to a backend per family; then stale flows go.
// Holds no policy and knows no kernel. Its rules: nothing before both sources have synced; the first change acts at once and what comes
// meanwhile goes together; a backend that failed gets everything anew; one family's trouble does not hold up the other.
import type { EndpointSlice, IPFamily, Service } from '../api/service-types.ts'
import type { Source } from '../api/source.ts'
import type { Clock, Millis } from '../host/clock.ts'
import type { Conntrack } from '../host/conntrack.ts'
import type { Log } from '../host/log.ts'
import type { Slices } from '../host/loop.ts'
import type { ApplyCount, Backend, RuleCount } from './backend.ts'
import { createChanges, type PendingChanges, type ServiceChange } from './changes.ts'
import { createCleaner } from './cleaner.ts'
import { createDesired } from './desired.ts'
import type { Frontend, NodeView } from './model.ts'
import { createPacer } from './pacer.ts'
import { createProgress, type FamilyProgress } from './progress.ts'
import { createWriter, type Written } from './writer.ts'

export interface SyncReport {
  /** Everything was written, of one family at least. */
  readonly full: boolean
  /** Services that had changed. */
  readonly services: number
  readonly frontends: number
  readonly counts: ApplyCount
  /** From the first change that waited to the kernel's last answer, in milliseconds. */
  readonly latencyMs: number
  readonly durationMs: number
}

/** One round of the loop, whether or not the kernel took it. */
export interface Round {
  /** Services that had changed. */
  readonly changes: readonly ServiceChange[]
  readonly written: readonly Written[]
  /** Families that the kernel holds all of now. */
  readonly standing: readonly IPFamily[]
  /** How long removing stale flows took. */
  readonly cleanedMs: number
}

/** Ports of Services whose policy keeps traffic on this node, where nobody is, though somebody is elsewhere. */
export interface Stranded {
  readonly internal: number
  readonly external: number
}

export interface FamilyStatus extends FamilyProgress {
  readonly failures: number
  /** Of them those that wrote changes and not everything. */
  readonly partialFailures: number
  readonly staleFlowsRemoved: number
  /** Rules by table; empty in modes that do not count them. */
  readonly rules: Readonly<Record<string, RuleCount>>
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
  readonly pending: PendingChanges
  readonly perFamily: Readonly<Partial<Record<IPFamily, FamilyStatus>>>
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
  /** Looks at every frontend of the family. */
  stranded(family: IPFamily): Stranded
}

export interface ProxierDeps {
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  readonly node: NodeView
  readonly backends: readonly Backend[]
  readonly conntrack: Conntrack
  /** Addresses that serve node ports, asked for when flows to them may be stale; without it the node's own. */
  readonly nodeAddresses?: () => readonly string[]
  readonly clock: Clock
  readonly log: Log
  readonly slices: Slices
  /** Of one Service, where the mode has a limit; one that has more is told of and not routed. */
  readonly mostPorts?: number
  /** The shortest time between two syncs; default 2 ms. */
  readonly minGapMs?: number
  readonly onSynced?: (report: SyncReport) => void
  /** Called after a round that had something to do. */
  readonly onRound?: (round: Round) => void
}

const total = (written: readonly Written[]): ApplyCount => ({
  transactions: written.reduce((sum, { count }) => sum + count.transactions, 0),
  operations: written.reduce((sum, { count }) => sum + count.operations, 0),
})

const toStranded = (frontends: Iterable<Frontend>): Stranded => {
  const ports = { internal: new Set<string>(), external: new Set<string>() }
  // Refused quietly: others could answer (model.ts).
  for (const { kind, service, portName, lane } of frontends)
    if (lane.to.length === 0 && lane.otherwise === 'drop')
      ports[kind === 'cluster-ip' ? 'internal' : 'external'].add(`${service} ${portName}`)
  return { internal: ports.internal.size, external: ports.external.size }
}

/** Starts at once; writes as soon as both sources are synced. */
export const createProxier = (deps: ProxierDeps): Proxier => {
  const { backends, clock, log, slices, minGapMs = 2 } = deps
  const families = backends.map(({ family }) => family)
  const desired = createDesired({ families, log, mostPorts: deps.mostPorts ?? Number.POSITIVE_INFINITY })
  const cleaner = createCleaner({
    conntrack: deps.conntrack,
    nodeAddresses: () => deps.nodeAddresses?.() ?? node.ips,
    clock,
    log,
  })
  const progress = createProgress(families, clock)
  let node = deps.node
  let waiters: (() => void)[] = []
  let stopped = false
  let syncs = 0
  let lastSync: Millis | undefined

  const sync = async (since: number) => {
    const began = clock.monotonic()
    const answering = waiters
    waiters = []
    progress.begin()
    const taken = changes.take()
    for (const change of taken) {
      cleaner.note(desired.judge(change, node))
      await slices.pause()
    }
    const written = (await Promise.all(writers.map(writer => writer.write()))).filter(one => one !== undefined)
    const standing = writers.filter(({ due }) => due === undefined).map(({ family }) => family)
    const cleaning = clock.monotonic()
    await cleaner.clean(standing, () => families.flatMap(family => [...desired.frontends(family)]))
    const cleanedMs = clock.monotonic() - cleaning
    syncs += 1
    progress.end(standing)
    if (taken.length > 0 || written.length > 0) deps.onRound?.({ changes: taken, written, standing, cleanedMs })
    if (standing.length < writers.length) {
      waiters.push(...answering)
      return
    }
    lastSync = clock.now()
    for (const done of answering) done()
    if (written.length > 0) report(taken.length, written, since, began)
  }
  const report = (services: number, written: readonly Written[], since: number, began: number) => {
    const now = clock.monotonic()
    const full = written.some(one => one.full)
    const counts = total(written)
    deps.onSynced?.({ full, services, frontends: desired.size, counts, latencyMs: now - since, durationMs: now - began })
  }
  const pacer = createPacer({ clock, minGapMs, run: sync })
  // Nothing runs before both sources have told everything.
  const soon = () => {
    if (changes.isSynced) pacer.soon()
  }
  const onPending = () => {
    progress.queued()
    pacer.soon()
  }
  const writers = backends.map(backend => createWriter({ backend, desired, clock, log, onRetry: soon }))
  const changes = createChanges({ services: deps.services, endpointSlices: deps.endpointSlices, onPending })

  return {
    stop: async () => {
      stopped = true
      changes.stop()
      await pacer.stop()
      for (const done of waiters) done()
      waiters = []
    },
    resync: (reason, family) => {
      for (const writer of writers) if (family === undefined || writer.family === family) writer.demand(reason)
      cleaner.doubt(family)
      progress.queued(family)
      soon()
    },
    setNode: next => {
      node = next
      for (const writer of writers) writer.demand('the node has changed')
      progress.queued()
      changes.touchAll()
      soon()
    },
    settled: () =>
      new Promise(resolve => {
        if (stopped) return resolve()
        waiters.push(resolve)
        soon()
      }),
    status: () => ({
      synced: lastSync !== undefined,
      lastSync,
      services: desired.services,
      frontends: desired.size,
      syncs,
      fullSyncs: writers.reduce((sum, writer) => sum + writer.fullSyncs, 0),
      failures: writers.reduce((sum, writer) => sum + writer.failures, 0),
      lastFailure: writers.map(writer => writer.lastFailure).findLast(text => text !== undefined),
      staleFlowsRemoved: families.reduce((sum, family) => sum + cleaner.removed(family), 0),
      pending: changes.pending(),
      perFamily: Object.fromEntries(
        writers.map(({ family, failures, partialFailures, rules }): [IPFamily, FamilyStatus] => [
          family,
          { ...progress.of(family), failures, partialFailures, rules, staleFlowsRemoved: cleaner.removed(family) },
        ]),
      ),
      due: Object.fromEntries(writers.flatMap(({ family, due }) => (due === undefined ? [] : [[family, due]]))),
    }),
    stranded: family => toStranded(desired.frontends(family)),
  }
}
