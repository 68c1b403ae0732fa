// What the runtime shows of one pod, in our own words: values only, no CRI types beyond this seam (agent/observe.ts fills it).
// The runtime is the database: everything that must outlive this daemon is read back from here.
import type { ContainerUser } from '../api/pod-status.ts'
import type { Millis } from '../host/clock.ts'

export interface SandboxSeen {
  readonly id: string
  readonly attempt: number
  readonly ready: boolean
  readonly createdAt: Millis
  /** When the daemon that made it first saw the pod; what another agent made may not say. */
  readonly podSeenAt?: Millis
  readonly hostNetwork: boolean
  /** Pod addresses, the primary first; empty for host network and for sandboxes that are not ready. */
  readonly ips: readonly string[]
}

export type ContainerStateSeen = 'created' | 'running' | 'exited' | 'unknown'

export interface ContainerSeen {
  readonly id: string
  readonly name: string
  readonly sandboxId: string
  readonly state: ContainerStateSeen
  readonly createdAt: Millis
  readonly startedAt: Millis
  readonly finishedAt: Millis
  readonly exitCode: number
  readonly reason: string
  readonly message: string
  readonly image: string
  readonly imageRef: string
  readonly restartCount: number
  /** The spec hash that the container was made from; undefined when it carries none. */
  readonly hash: string | undefined
  readonly logPath: string
  /** Who its first process runs as, where the runtime says so. */
  readonly user?: ContainerUser
  /** The figures that are in force, where the runtime says so; 0 for none. */
  readonly resources?: {
    readonly cpuPeriod: number
    readonly cpuQuota: number
    readonly cpuShares: number
    readonly memoryLimitInBytes: number
  }
}

export interface Seen {
  /** Newest first. */
  readonly sandboxes: readonly SandboxSeen[]
  /** Newest first, all attempts of all containers. */
  readonly containers: readonly ContainerSeen[]
}

export const nothingSeen: Seen = { sandboxes: [], containers: [] }

/** The newest attempt of a container. */
export const latest = (seen: Seen, name: string): ContainerSeen | undefined => seen.containers.find(it => it.name === name)

/** The newest attempt of a container that has ended, the current one included. */
export const latestExited = (seen: Seen, name: string): ContainerSeen | undefined =>
  seen.containers.find(it => it.name === name && it.state === 'exited')

/** The attempt before the newest one. */
export const previous = (seen: Seen, name: string): ContainerSeen | undefined => seen.containers.filter(it => it.name === name)[1]

export const isAlive = (it: ContainerSeen): boolean => it.state === 'running' || it.state === 'unknown'

/** The sandbox that containers may join: the newest, when it alone is ready, of the right kind and addressed. */
export const usableSandbox = (seen: Seen, hostNetwork: boolean): SandboxSeen | undefined => {
  const [newest, ...older] = seen.sandboxes
  if (newest === undefined || !newest.ready || older.some(it => it.ready)) return undefined
  if (newest.hostNetwork !== hostNetwork) return undefined
  return hostNetwork || newest.ips.length > 0 ? newest : undefined
}
