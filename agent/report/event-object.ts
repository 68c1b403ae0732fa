// Events as the API has them: what one is about, its first form and its name. Pure.
// Follows core/v1 Event and the reports of client-go's recorder: the older of the two Event APIs, which the kubelet still writes.
import type { KubeObject } from '../../api/meta.ts'
import type { Pod } from '../../api/types.ts'
import type { Millis } from '../../host/clock.ts'
import { rfc3339 } from '../status.ts'

export type EventType = 'Normal' | 'Warning'

/** What an Event is about. */
export interface InvolvedObject {
  readonly kind: string
  readonly name: string
  readonly namespace?: string
  readonly uid?: string
  readonly apiVersion?: string
  readonly resourceVersion?: string
  /** `spec.containers{web}`. */
  readonly fieldPath?: string
}

export interface EventSource {
  readonly component: string
  readonly host: string
}

export interface EventObject extends KubeObject {
  readonly involvedObject: InvolvedObject
  readonly type: EventType
  readonly reason: string
  readonly message: string
  readonly source: EventSource
  readonly firstTimestamp: string
  readonly lastTimestamp: string
  readonly count: number
  readonly reportingComponent: string
  readonly reportingInstance: string
}

/** The node itself. Its name stands for its uid, as in the kubelet's Events before 1.36: `kubectl describe node` searches for that. */
export const nodeReference = (name: string): InvolvedObject => ({ kind: 'Node', apiVersion: 'v1', name, uid: name })

const fieldPathOf = ({ spec }: Pod, container: string): string | undefined => {
  for (const list of ['containers', 'initContainers', 'ephemeralContainers'] as const) {
    if (spec[list]?.some(it => it.name === container)) return `spec.${list}{${container}}`
  }
  return undefined
}

/**
 * A pod, or one of its containers.
 * @param container its name; one that the pod does not have stands for the whole pod
 */
export const podReference = (pod: Pod, container?: string): InvolvedObject => {
  const { name, namespace, uid, resourceVersion } = pod.metadata
  const fieldPath = container === undefined ? undefined : fieldPathOf(pod, container)
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    name,
    ...(namespace !== undefined && { namespace }),
    ...(uid !== undefined && { uid }),
    ...(resourceVersion !== undefined && { resourceVersion }),
    ...(fieldPath !== undefined && { fieldPath }),
  }
}

const longestName = 253

/**
 * A name that no other Event has: the object's, and the time in nanoseconds as hexadecimal digits.
 * @param serial tells apart what happened within one millisecond
 */
export const eventName = (object: string, now: Millis, serial: number): string => {
  const nanos = BigInt(Math.trunc(now)) * 1_000_000n + BigInt(serial % 1_000_000)
  const suffix = `.${nanos.toString(16)}`
  return `${object.slice(0, longestName - suffix.length).replace(/[-.]+$/, '')}${suffix}`
}

export interface Happening {
  readonly about: InvolvedObject
  readonly type: EventType
  readonly reason: string
  readonly message: string
  readonly source: EventSource
  readonly annotations?: Readonly<Record<string, string>>
}

/** The Event of something that happened once. */
export const toEvent = (
  { about, type, reason, message, source, annotations }: Happening,
  now: Millis,
  serial: number,
): EventObject => ({
  apiVersion: 'v1',
  kind: 'Event',
  metadata: {
    name: eventName(about.name, now, serial),
    // What is in no namespace has its Events in this one.
    namespace: about.namespace ?? 'default',
    ...(annotations && { annotations }),
  },
  involvedObject: about,
  type,
  reason,
  message,
  source,
  firstTimestamp: rfc3339(now),
  lastTimestamp: rfc3339(now),
  count: 1,
  reportingComponent: source.component,
  reportingInstance: source.host,
})
