// The node's heartbeat: a Lease that is renewed four times in its life, so that the control plane knows within seconds who is gone.
// Never reads the Node's status and never decides about pods. Timers are monotonic: a clock that jumps delays no renewal.
// Follows KEP-589 and the kubelet's lease controller: held version first, read again after a conflict, five tries, then the next turn.
import { type KubeApi, leases, type ObjectRef } from '../../api/kube/api.ts'
import type { KubeObject } from '../../api/meta.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { describe, isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'

export interface Lease extends KubeObject {
  readonly spec?: {
    readonly holderIdentity?: string
    readonly leaseDurationSeconds?: number
    /** With microseconds. */
    readonly renewTime?: string
  }
}

/** The namespace of all nodes' Leases. */
export const leaseNamespace = 'kube-node-lease'

export const leaseRef = (nodeName: string): ObjectRef => ({ resource: leases, namespace: leaseNamespace, name: nodeName })

/** Whether somebody has renewed a Lease within its duration. */
export const isFresh = ({ spec }: Lease, now: Millis): boolean => {
  const renewed = Date.parse(spec?.renewTime ?? '')
  return !Number.isNaN(renewed) && now < renewed + (spec?.leaseDurationSeconds ?? 0) * 1000
}

/** A point in time with microseconds, as a Lease has it. */
const microTime = (at: Millis): string => new Date(Math.trunc(at)).toISOString().replace('Z', '000Z')

export interface LeaseDeps {
  readonly api: Pick<KubeApi, 'get' | 'create' | 'update'>
  readonly nodeName: string
  /** KubeletConfiguration nodeLeaseDurationSeconds. */
  readonly durationSeconds: number
  /** The registered Node, which the Lease belongs to and goes with; undefined as long as there is none. */
  readonly node: () => KubeObject | undefined
  readonly clock: Clock
  readonly log: Log
  /** 0 to 1; keeps many nodes from renewing at once. */
  readonly random?: () => number
}

export interface LeaseKeeper {
  /** Renews until the signal aborts; resolves then. */
  run(signal: AbortSignal): Promise<void>
}

const updateTries = 5
const longestBackoffMs = 7_000
const jitter = 0.04

/** The Lease as it is to be written. */
export const nextLease = (
  base: Lease | undefined,
  { nodeName, durationSeconds }: Pick<LeaseDeps, 'nodeName' | 'durationSeconds'>,
  node: KubeObject | undefined,
  now: Millis,
): Lease => {
  const owner =
    node?.metadata.uid === undefined ? undefined : { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: node.metadata.uid }
  const owners = base?.metadata.ownerReferences ?? []
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: {
      ...(base?.metadata ?? { name: nodeName, namespace: leaseNamespace }),
      ...(owners.length === 0 && owner && { ownerReferences: [owner] }),
    },
    spec: { ...base?.spec, holderIdentity: nodeName, leaseDurationSeconds: durationSeconds, renewTime: microTime(now) },
  }
}

export const createLeaseKeeper = (deps: LeaseDeps): LeaseKeeper => {
  const { api, nodeName, clock, log, random = Math.random } = deps
  const renewMs = deps.durationSeconds * 250
  const ref = leaseRef(nodeName)
  let held: Lease | undefined
  let isAway = false

  const sorry = (error: unknown) => {
    const say = isAway ? log.debug : log.warn
    say.call(log, { err: error }, `the node's Lease cannot be renewed; trying again: ${describe(error)}`)
    isAway = true
  }
  const renewed = (lease: Lease) => {
    held = lease
    if (isAway) log.info({}, "the node's Lease is renewed again")
    isAway = false
  }

  const update = async (signal: AbortSignal): Promise<void> => {
    const lease = nextLease(held, deps, deps.node(), clock.now())
    renewed(await api.update(ref, lease, { signal, timeoutMs: renewMs }))
  }

  /** Finds the Lease, or makes it; one that was made needs no renewal. Without a Node nobody could own it. */
  const ensure = async (signal: AbortSignal): Promise<'found' | 'made' | 'no-node'> => {
    try {
      held = await api.get<Lease>(ref, { signal, timeoutMs: renewMs })
      return 'found'
    } catch (error) {
      if (!isFault(error, 'not-found')) throw error
    }
    held = undefined
    const node = deps.node()
    // A Lease without an owner would stay for ever.
    if (node?.metadata.uid === undefined) return 'no-node'
    const lease = nextLease(undefined, deps, node, clock.now())
    const { resource, namespace = leaseNamespace } = ref
    renewed(await api.create<Lease>({ resource, namespace }, lease, { signal, timeoutMs: renewMs }))
    return 'made'
  }

  const ensureAtLast = async (signal: AbortSignal): Promise<'found' | 'made' | 'no-node'> => {
    for (let pause = 200; ; pause = Math.min(pause * 2, longestBackoffMs)) {
      try {
        return await ensure(signal)
      } catch (error) {
        if (signal.aborted) throw error
        sorry(error)
        await clock.sleep(pause, signal)
      }
    }
  }

  const renew = async (signal: AbortSignal): Promise<void> => {
    if (held === undefined && (deps.node() === undefined || (await ensureAtLast(signal)) !== 'found')) return
    for (let attempt = 0; attempt < updateTries; attempt++) {
      try {
        return await update(signal)
      } catch (error) {
        if (signal.aborted) throw error
        // Both are answers of a healthy server: somebody changed or deleted the Lease.
        if (!isFault(error, 'api-conflict', 'not-found')) sorry(error)
        else if ((await ensureAtLast(signal)) !== 'found') return
      }
    }
  }

  return {
    run: async signal => {
      while (!signal.aborted) {
        try {
          await renew(signal)
          // Soon after the start there may be no Node yet.
          await clock.sleep(held === undefined ? 1_000 : renewMs * (1 + jitter * random()), signal)
        } catch (error) {
          if (!signal.aborted) throw error
        }
      }
    },
  }
}
