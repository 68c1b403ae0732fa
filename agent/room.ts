// Who gets room on this node: pods that ask to start, those that must give way to one that the node needs, and resizes of running ones.
// Keeps who waits for whose end; decides by agent/admit.ts, preempt.ts and resize.ts, and starts or ends nothing itself.

import { fullName } from '../api/pod.ts'
import type { Pod } from '../api/types.ts'
import type { Log } from '../host/log.ts'
import type { Admission } from './admit.ts'
import type { OnPodEvent } from './pod-event.ts'
import { preemptionDisruption, preemptionMessage, victimsFor } from './preempt.ts'
import { asksForResize, grantedBefore, type ResizeState, withGranted } from './resize.ts'
import type { Verdict } from './status.ts'

export interface RoomDeps {
  readonly admit: (pod: Pod, active: readonly Pod[]) => Admission
  /** Pods that are admitted and have not ended. */
  readonly active: () => readonly Pod[]
  readonly onEvent: OnPodEvent
  readonly log: Log
}

export type RoomAnswer =
  /** It may start, with these resources. */
  | { readonly is: 'granted'; readonly pod: Pod }
  /** It may ask again when these have ended. */
  | { readonly is: 'waiting'; readonly victims: readonly Pod[]; readonly verdict: Verdict }
  | { readonly is: 'refused'; readonly verdict: Verdict }

export interface Room {
  /** Whether a pod may start. Who waits is kept until all of its victims have ended. */
  ask(pod: Pod): RoomAnswer
  /** A pod has ended: those that waited for it alone. */
  ended(uid: string): readonly Pod[]
  isWaiting(uid: string): boolean
  /** A newer version of a pod that waits. */
  renew(pod: Pod): void
  forget(uid: string): void
  /** A running pod with the resources that it may have from now on: what it asks for where there is room, else what it has. */
  resize(running: Pod, state: ResizeState, pod: Pod): { readonly pod: Pod; readonly state: ResizeState }
}

const preempted: Verdict = {
  phase: 'Failed',
  reason: 'Preempting',
  message: preemptionMessage,
  disruption: preemptionDisruption,
}

export const createRoom = ({ admit, active, onEvent, log }: RoomDeps): Room => {
  const waiting = new Map<string, { readonly pod: Pod; readonly victims: Set<string> }>()

  const ask = (pod: Pod): RoomAnswer => {
    // What it was granted before is what it takes up; what else it asks for is weighed like any resize.
    const granted = grantedBefore(pod)
    const others = active()
    const answer = admit(granted, others)
    if (answer.ok) return { is: 'granted', pod: granted }
    const { reason, message, short } = answer
    const victims = short && victimsFor(pod, others, short)
    if (victims === undefined) return { is: 'refused', verdict: { phase: 'Failed', reason, message } }
    waiting.set(pod.metadata.uid ?? '', { pod, victims: new Set(victims.map(it => it.metadata.uid ?? '')) })
    for (const victim of victims) {
      log.warn({ pod: fullName(victim), for: fullName(pod) }, 'a pod gives way to one that the node needs')
      onEvent(victim, 'Warning', preempted.reason, preempted.message)
    }
    return { is: 'waiting', victims, verdict: preempted }
  }

  const ended = (ended: string): readonly Pod[] => {
    const free = [...waiting.values()].filter(({ victims }) => victims.delete(ended) && victims.size === 0).map(it => it.pod)
    for (const { metadata } of free) waiting.delete(metadata.uid ?? '')
    return free
  }

  const resize: Room['resize'] = (running, state, pod) => {
    const { pending, inProgress } = state
    if (!asksForResize(pod, running)) return { pod, state: pending === undefined ? state : { ...(inProgress && { inProgress }) } }
    const { generation = 0 } = pod.metadata
    const answer = admit(pod, active())
    if (answer.ok) {
      onEvent(pod, 'Normal', 'ResizeStarted', 'Pod resize started')
      return { pod, state: { inProgress: { generation } } }
    }
    const { message } = answer
    // A node that runs short of something now may have room later, whatever else it would say of the pod.
    const reason = answer.reason === 'Evicted' || admit(pod, []).ok ? 'Deferred' : 'Infeasible'
    const kept = withGranted(pod, running)
    const isSame = pending?.reason === reason && pending.generation === generation
    if (isSame && pending.message === message) return { pod: kept, state }
    if (!isSame) onEvent(pod, 'Warning', `Resize${reason}`, `Pod resize ${reason}: ${message}`)
    return { pod: kept, state: { ...state, pending: { reason, message, generation } } }
  }

  return {
    ask,
    ended,
    isWaiting: uid => waiting.has(uid),
    renew: pod => {
      const entry = waiting.get(pod.metadata.uid ?? '')
      if (entry !== undefined) waiting.set(pod.metadata.uid ?? '', { ...entry, pod })
    },
    forget: uid => void waiting.delete(uid),
    resize,
  }
}
