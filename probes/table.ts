// Every probe of the node: which containers are probed, when, and what their probes say now. One timer per probe, no tick.
// Decides nothing about pods: a result that flips is told in the event-loop turn of its answer, others act on it.
// Follows k8s.io: Pod Lifecycle, "Container probes"; a restart of the daemon keeps the results it is handed back.
import type { Container } from '../api/types.ts'
import type { Clock, Millis } from '../host/clock.ts'
import type { Log } from '../host/log.ts'
import { type Attempt, createAttempt } from './attempt.ts'
import type { ExecSync } from './exec.ts'
import { type Answer, type ProbeKind, type ProbeResult, probeKinds, probeOf, toCounter, toTiming } from './probe.ts'
import { createRun, type ProbeRun } from './run.ts'

/** A running container whose probes are to run. */
export interface ProbeTarget {
  readonly podUid: string
  readonly namespace: string
  readonly podName: string
  readonly podIPs: readonly string[]
  readonly container: Container
  readonly containerId: string
  readonly startedAt: Millis
  /** The pod is going away: readiness goes on, liveness and startup count as passed. */
  readonly terminating?: boolean
}

export interface SavedResult {
  readonly containerId: string
  readonly kind: ProbeKind
  readonly result: ProbeResult
}

/** One attempt, for events, metrics and the timeline. */
export interface ProbeReport {
  readonly target: ProbeTarget
  readonly kind: ProbeKind
  readonly answer: Answer
  readonly startedAt: Millis
  readonly endedAt: Millis
}

export interface ProberDeps {
  readonly cri: ExecSync
  readonly clock: Clock
  readonly log: Log
  /** A result flipped; called in the same event-loop turn as the answer came. */
  readonly onResult: (podUid: string, container: string, kind: ProbeKind, result: ProbeResult, message: string) => void
  /** Every attempt, also those that flip nothing. Before `onResult`. */
  readonly onAttempt?: (report: ProbeReport) => void
  /** Until then, containers that ran before this prober are probed spread over their period instead of all at once. */
  readonly jitterUntil: Millis
  /** 0 to 1; for the spread. */
  readonly random?: () => number
  /** How to ask; tests put their own answers here. */
  readonly attempt?: Attempt
}

export interface Prober {
  /** The running containers of a pod as they are now; those that are not named any more stop being probed. */
  sync(podUid: string, targets: readonly ProbeTarget[]): void
  /** Stops all probes of a pod and drops their results. */
  forget(podUid: string): void
  /**
   * What a container's probe says now; `success` when the container has no such probe (or needs to pass none, since its pod
   * terminates), `unknown` when the container is not known.
   */
  results(containerId: string, kind: ProbeKind): ProbeResult
  /**
   * Hands back the results of an earlier run: they hold from now on, until the container is synced and answers for itself.
   * Takes the place of what was handed back before and nobody has claimed.
   */
  restore(saved: readonly SavedResult[]): void
  /** What `restore` of a later run wants: also what was handed back and not claimed yet, or a quick second restart would lose it. */
  snapshot(): readonly SavedResult[]
  /** Stops everything. */
  close(): void
}

const keyOf = (containerId: string, kind: ProbeKind): string => `${kind}/${containerId}`

const partsOf = (key: string): { readonly kind: ProbeKind; readonly containerId: string } => {
  const slash = key.indexOf('/')
  return { kind: key.slice(0, slash) as ProbeKind, containerId: key.slice(slash + 1) }
}

interface Tracked {
  target: ProbeTarget
  readonly runs: Map<ProbeKind, ProbeRun>
}

export const createProber = (deps: ProberDeps): Prober => {
  const pods = new Map<string, Map<string, Tracked>>()
  const byContainer = new Map<string, Tracked>()
  const saved = new Map<string, ProbeResult>()
  const track = createTrack(deps, saved)

  const drop = ({ target, runs }: Tracked) => {
    for (const run of runs.values()) run.stop()
    byContainer.delete(target.containerId)
  }

  const sync: Prober['sync'] = (podUid, targets) => {
    const before = pods.get(podUid) ?? new Map<string, Tracked>()
    const after = new Map<string, Tracked>()
    for (const target of targets) {
      const tracked = before.get(target.containerId) ?? track(target)
      tracked.target = target
      if (target.terminating === true) passQuietly(tracked)
      after.set(target.containerId, tracked)
      byContainer.set(target.containerId, tracked)
    }
    for (const [id, tracked] of before) if (!after.has(id)) drop(tracked)
    if (after.size > 0) pods.set(podUid, after)
    else pods.delete(podUid)
  }

  return {
    sync,
    forget: podUid => sync(podUid, []),
    results: (containerId, kind) => {
      const tracked = byContainer.get(containerId)
      if (tracked === undefined) return saved.get(keyOf(containerId, kind)) ?? 'unknown'
      return tracked.runs.get(kind)?.result ?? 'success'
    },
    restore: results => {
      saved.clear()
      for (const { containerId, kind, result } of results) saved.set(keyOf(containerId, kind), result)
    },
    snapshot: () => [
      ...[...byContainer].flatMap(([containerId, { runs }]) =>
        [...runs].map(([kind, { result }]) => ({ containerId, kind, result })),
      ),
      ...[...saved].map(([key, result]) => ({ ...partsOf(key), result })),
    ],
    close: () => {
      for (const podUid of [...pods.keys()]) sync(podUid, [])
    },
  }
}

/** A pod that goes away has passed its startup and liveness probes, so that readiness goes on and nothing is restarted. */
const passQuietly = ({ runs }: Tracked) => {
  for (const kind of ['liveness', 'startup'] as const) {
    runs.get(kind)?.stop()
    runs.delete(kind)
  }
  runs.get('readiness')?.begin()
}

// An adopted container whose result nobody remembered counts as not ready until it is asked, so it is asked soon.
const longestBlindSpread = 1000

const createTrack = (deps: ProberDeps, saved: Map<string, ProbeResult>) => {
  const { clock } = deps
  const attempt = deps.attempt ?? createAttempt(deps)
  const random = deps.random ?? Math.random
  const bornAt = clock.now()

  const spread = (target: ProbeTarget, periodMs: number, remembered: boolean): number => {
    if (target.startedAt >= bornAt || clock.now() >= deps.jitterUntil) return 0
    return random() * (remembered ? periodMs : Math.min(periodMs, longestBlindSpread))
  }

  const tell = (tracked: Tracked, kind: ProbeKind, answer: Answer, result: ProbeResult, flipped: boolean, startedAt: Millis) => {
    const { target, runs } = tracked
    const { podUid, namespace, podName, container } = target
    deps.log.debug({ pod: `${namespace}/${podName}`, container: container.name, kind, ...answer }, 'probe answered')
    deps.onAttempt?.({ target, kind, answer, startedAt, endedAt: clock.now() })
    if (flipped) deps.onResult(podUid, container.name, kind, result, answer.message)
    if (kind === 'startup' && result === 'success') for (const run of runs.values()) run.begin()
  }

  return (target: ProbeTarget): Tracked => {
    const tracked: Tracked = { target, runs: new Map() }
    const held = () => (tracked.runs.get('startup')?.result ?? 'success') !== 'success'
    const waits: [ProbeRun, number][] = []
    for (const kind of probeKinds) {
      const probe = probeOf(target.container, kind)
      if (probe === undefined || (target.terminating === true && kind !== 'readiness')) continue
      const key = keyOf(target.containerId, kind)
      const remembered = saved.get(key)
      saved.delete(key)
      const timing = toTiming(probe)
      const run = createRun({
        clock,
        timing,
        counter: toCounter(kind, remembered),
        startedAt: target.startedAt,
        ask: signal => attempt(probe, tracked.target, signal),
        held: () => kind !== 'startup' && held(),
        onAnswer: (...told) => tell(tracked, kind, ...told),
      })
      tracked.runs.set(kind, run)
      waits.push([run, spread(target, timing.periodMs, remembered !== undefined)])
    }
    for (const [run, spreadMs] of waits) run.begin(spreadMs)
    return tracked
  }
}
