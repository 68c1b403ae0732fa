// What happened to a container's process, in the words of no particular runtime, and who wants to hear of it.
// Events are hints: some may be lost while the runtime restarts, so `onConnected` is the moment to list everything.
import type { Clock, Millis } from '../host/clock.ts'
import type { Fault } from '../host/fault.ts'
import type { Log } from '../host/log.ts'

/** `containerId` may also be a sandbox's: its pause process is a container too. */
export type TaskEvent =
  | { readonly type: 'create' | 'start'; readonly containerId: string; readonly pid: number }
  | TaskEnd
  | { readonly type: 'oom' | 'paused' | 'resumed'; readonly containerId: string }

export interface TaskEnd {
  readonly type: 'exit' | 'delete'
  readonly containerId: string
  /** The process: the container's own when it equals `containerId`, else one that was executed in it. */
  readonly id: string
  /** 0 where the runtime does not tell. */
  readonly pid: number
  readonly exitStatus: number | undefined
  readonly exitedAt: Millis
}

export interface TaskEventDeps {
  /** `unix:///run/containerd/containerd.sock`, or the bare path. */
  readonly endpoint: string
  readonly clock: Clock
  readonly log: Log
  readonly onEvent: (event: TaskEvent) => void
  /** Every event from now on is delivered; what happened before has to be listed. Called again after each loss. */
  readonly onConnected: () => void
  /** Events may be missing from now on; called once per loss. The watch goes on trying. */
  readonly onLost: (fault: Fault) => void
  /** Ends the watch. */
  readonly signal: AbortSignal
}
