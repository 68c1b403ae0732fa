// What a pod's owner should read of it, as whoever notices it tells: a line of the log, and an Event where there is an apiserver.
import type { Pod } from '../api/types.ts'

export interface EventDetail {
  /** Which container it is about: Events say so in `involvedObject.fieldPath`. */
  readonly container?: string
  readonly annotations?: Readonly<Record<string, string>>
}

/** Reasons and messages are the kubelet's (pkg/kubelet/events of 1.36). */
export type OnPodEvent = (pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string, detail?: EventDetail) => void
