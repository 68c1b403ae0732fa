// Keeps the Node at the apiserver true: registers it, then writes its status when something changed, and now and then all the same.
// Thin: what is written is decided in node-object.ts, what is told to people in node-happenings.ts. Never makes the Node a second time.
// Follows the kubelet's syncNodeStatus: looks every nodeStatusUpdateFrequency, writes at least every nodeStatusReportFrequency
// (spread by half of it), looks every 100 ms until the node is ready for the first time, tries five times.
import { type KubeApi, nodes } from '../../api/kube/api.ts'
import type { Source } from '../../api/source.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { describe, isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import type { NodeObject } from '../node.ts'
import { rfc3339 } from '../status.ts'
import { nodeReference } from './event-object.ts'
import type { EventRecorder } from './events.ts'
import { conditionHappenings, type NodeHappening, rebootHappening, schedulableHappening } from './node-happenings.ts'
import { type NodeFindings, nextStatus, type Registration, statusPatch } from './node-object.ts'
import { registerNode } from './node-registration.ts'

export interface NodeReporterDeps {
  readonly api: Pick<KubeApi, 'get' | 'create' | 'patch'>
  readonly name: string
  /** The Nodes that a watch of this one Node shows. */
  readonly source: Source<NodeObject>
  readonly findings: (node: NodeObject | undefined) => Promise<NodeFindings>
  readonly registration: Registration
  /** KubeletConfiguration registerNode: without it somebody else makes the Node. */
  readonly registerNode: boolean
  /** nodeStatusUpdateFrequency. */
  readonly updateMs: Millis
  /** nodeStatusReportFrequency. */
  readonly reportMs: Millis
  readonly recorder: Pick<EventRecorder, 'record'>
  readonly clock: Clock
  readonly log: Log
  /** 0 to 1. */
  readonly random?: () => number
}

export interface NodeReporter {
  /** Reports until the signal aborts; resolves then. */
  run(signal: AbortSignal): Promise<void>
  /** Something may have changed: looks at once. */
  nudge(): void
  /** The Node as it was written or seen last; undefined before it is registered and after somebody deleted it. */
  node(): NodeObject | undefined
}

const tries = 5
const fastMs = 100
const fastForMs = 120_000
const jitter = 0.04

const isReady = (status: NodeObject['status'] | undefined): boolean =>
  status?.conditions?.some(it => it.type === 'Ready' && it.status === 'True') ?? false

const isOlder = (a: NodeObject, b: NodeObject): boolean => {
  const [one, other] = [a.metadata.resourceVersion, b.metadata.resourceVersion]
  return (
    a.metadata.uid === b.metadata.uid && /^\d+$/.test(one ?? '') && /^\d+$/.test(other ?? '') && BigInt(one!) < BigInt(other!)
  )
}

/** Pauses that a nudge ends; one that comes between two of them ends the next. */
const createPauses = (clock: Clock) => {
  let isNudged = false
  let wake: (() => void) | undefined
  return {
    nudge: (): void => {
      isNudged = true
      wake?.()
    },
    takeNudge: (): boolean => {
      const was = isNudged
      isNudged = false
      return was
    },
    pause: (ms: Millis, signal: AbortSignal): Promise<void> =>
      new Promise(resolve => {
        if (isNudged || signal.aborted) return resolve()
        const done = () => {
          timer.cancel()
          signal.removeEventListener('abort', done)
          wake = undefined
          resolve()
        }
        const timer = clock.after(ms, done)
        signal.addEventListener('abort', done, { once: true })
        wake = done
      }),
  }
}

export const createNodeReporter = (deps: NodeReporterDeps): NodeReporter => {
  const { api, name, source, clock, log, recorder, random = Math.random } = deps
  let node: NodeObject | undefined
  let reportedAt: Millis | undefined
  let spreadMs = 0
  let wasUnschedulable = false
  let saidReboot = false
  let isAway = false
  const { nudge, takeNudge, pause } = createPauses(clock)
  const tell = (happening: NodeHappening | undefined) => {
    if (happening) recorder.record(nodeReference(name), happening.type, happening.reason, happening.message)
  }

  const learn = (next: NodeObject) => {
    node = next
    tell(schedulableHappening(wasUnschedulable, next))
    wasUnschedulable = next.spec?.unschedulable === true
  }
  const lose = () => {
    if (node === undefined) return
    node = undefined
    const message = `Node ${name} was deleted while its agent runs: it is registered again at the next start of the agent`
    log.warn({ node: name }, message)
    recorder.record(nodeReference(name), 'Warning', 'NodeDeleted', message)
  }
  const written = (before: NodeObject | undefined, after: NodeObject) => {
    for (const it of conditionHappenings(name, before?.status?.conditions ?? [], after.status.conditions)) tell(it)
    const rebooted = saidReboot ? undefined : rebootHappening(name, before?.status, after.status)
    saidReboot ||= rebooted !== undefined
    tell(rebooted)
    reportedAt = clock.monotonic()
    learn(after)
    if (isAway) log.info({ node: name }, "the node's status is reported again")
    isAway = false
  }

  const follow = () =>
    source.subscribe({
      changed: (_, after) => {
        if (after !== undefined && after.metadata.name !== name) return
        if (after === undefined) return lose()
        // One that came back was made by somebody else: registering is not ours a second time, reporting is.
        if (node === undefined ? !isRegistered : isOlder(after, node)) return
        const isNews = after.metadata.resourceVersion !== node?.metadata.resourceVersion
        learn(after)
        if (isNews) nudge()
      },
    })
  let isRegistered = !deps.registerNode

  const isDue = (): boolean => reportedAt === undefined || clock.monotonic() - reportedAt >= deps.reportMs + spreadMs

  /** Writes what differs. @param onlyReady writes only what makes the node ready, as long as it is looked at often */
  const report = async (onlyReady: boolean, signal: AbortSignal): Promise<void> => {
    const before = node
    if (before === undefined) return
    const findings = await deps.findings(before)
    const status = nextStatus(before, findings, deps.registration, rfc3339(clock.now()))
    const { isChanged, patch } = statusPatch(before, status, findings)
    if (!isChanged && !isDue()) return
    if (onlyReady && !isReady(status) && !isDue()) return
    spreadMs = isChanged || reportedAt === undefined ? deps.reportMs * (random() - 0.5) : 0
    const target = { resource: nodes, name, subresource: 'status' }
    written(before, await api.patch<NodeObject>(target, patch, 'strategic', { signal, timeoutMs: deps.updateMs }))
  }

  const tryReport = async (onlyReady: boolean, signal: AbortSignal): Promise<void> => {
    for (let attempt = 1; attempt <= tries; attempt++) {
      try {
        if (attempt > 1) node = await api.get<NodeObject>({ resource: nodes, name }, { signal, timeoutMs: deps.updateMs })
        return await report(onlyReady, signal)
      } catch (error) {
        if (signal.aborted) return
        if (isFault(error, 'not-found')) return lose()
        if (attempt < tries && isFault(error, 'api-conflict')) continue
        if (attempt === tries || isFault(error, 'api-away')) {
          const say = isAway ? log.debug : log.error
          say.call(log, { node: name, err: error }, `the node's status cannot be reported; trying again: ${describe(error)}`)
          isAway = true
          return
        }
      }
    }
  }

  const register = async (signal: AbortSignal): Promise<void> => {
    const registered = await registerNode(deps, signal)
    isRegistered = true
    written(registered.before, registered.node)
    // The watch may have been faster than the answer: a podCIDR that was given meanwhile is not told again.
    const seen = source.get('', name)
    if (seen !== undefined && isOlder(registered.node, seen)) {
      learn(seen)
      nudge()
    }
  }

  return {
    nudge,
    node: () => node,
    run: async signal => {
      recorder.record(nodeReference(name), 'Normal', 'Starting', 'Starting kubelet.')
      const unfollow = follow()
      try {
        if (deps.registerNode) await register(signal)
        const fastUntil = clock.monotonic() + fastForMs
        let regularAt = clock.monotonic()
        while (!signal.aborted) {
          const isStarting = !isReady(node?.status) && clock.monotonic() < fastUntil
          const isRegular = (takeNudge() && !isStarting) || clock.monotonic() >= regularAt
          await tryReport(!isRegular, signal)
          if (isRegular) regularAt = clock.monotonic() + deps.updateMs * (1 + jitter * random())
          await pause(isStarting ? fastMs : regularAt - clock.monotonic(), signal)
        }
      } catch (error) {
        if (!signal.aborted) throw error
      } finally {
        unfollow()
      }
    },
  }
}
