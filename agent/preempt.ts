// Who gives way when a pod that the node itself needs finds no room: pure. As few pods as can be, the least guaranteed first.
// Follows the kubelet's critical pod admission (pkg/kubelet/preemption/preemption.go of 1.36).
import type { QosClass } from '../api/pod-status.ts'
import type { Pod } from '../api/types.ts'
import { type Amounts, isCriticalPod, podRequests, qosClass } from './qos.ts'

export const preemptionMessage = 'Preempted in order to admit critical pod'

/** What the preempted pod's `DisruptionTarget` condition says. */
export const preemptionDisruption = {
  reason: 'TerminationByKubelet',
  message: 'Pod was preempted by Kubelet to accommodate a critical pod.',
}

const givesWay = (to: Pod, pod: Pod): boolean => {
  if (isCriticalPod(to) && !isCriticalPod(pod)) return true
  const { priority } = to.spec
  return priority !== undefined && pod.spec.priority !== undefined && priority > pod.spec.priority
}

const requestOf = (pod: Pod, resource: string): number => (resource === 'pods' ? 1 : (podRequests(pod)[resource] ?? 0))

/** What is still short once these pods are gone; nothing when it is empty. */
const less = (short: Amounts, pods: readonly Pod[]): Amounts =>
  Object.fromEntries(
    Object.entries(short)
      .map(([name, amount]) => [name, amount - pods.reduce((sum, it) => sum + requestOf(it, name), 0)] as const)
      .filter(([, amount]) => amount > 0),
  )

const isMet = (short: Amounts): boolean => Object.keys(short).length === 0

/** How far a pod's requests are from covering what is short: 0 covers all of it. */
const distance = (short: Amounts, pod: Pod): number =>
  Object.entries(short).reduce((sum, [name, amount]) => {
    const missing = Math.max(amount - requestOf(pod, name), 0) / amount
    return sum + missing * missing
  }, 0)

const bySize = (a: Pod, b: Pod): number =>
  requestOf(a, 'memory') - requestOf(b, 'memory') || requestOf(a, 'cpu') - requestOf(b, 'cpu')

const nearest = (candidates: readonly Pod[], short: Amounts): readonly Pod[] => {
  const chosen: Pod[] = []
  let rest = [...candidates]
  for (let missing = short; !isMet(missing); missing = less(short, chosen)) {
    const [best] = rest.sort((a, b) => distance(missing, a) - distance(missing, b) || bySize(a, b))
    if (best === undefined) return chosen
    chosen.push(best)
    rest = rest.filter(it => it !== best)
  }
  return chosen
}

/**
 * The pods that have to end so that a critical pod fits.
 * @param active pods that are admitted and have not ended
 * @param short what is missing: cpu in millicores, the rest in whole units, `pods` for places
 * @returns undefined when even all that may be preempted would not do, or the pod may preempt nobody
 */
export const victimsFor = (pod: Pod, active: readonly Pod[], short: Amounts): readonly Pod[] | undefined => {
  if (!isCriticalPod(pod)) return undefined
  const candidates = active.filter(it => it.metadata.uid !== pod.metadata.uid && givesWay(pod, it))
  if (!isMet(less(short, candidates))) return undefined
  const of = (qos: QosClass) => candidates.filter(it => qosClass(it) === qos)
  const [guaranteed, burstable, bestEffort] = [of('Guaranteed'), of('Burstable'), of('BestEffort')]
  // Each class gives only what all of the lower ones together cannot.
  const fromGuaranteed = nearest(guaranteed, less(short, [...bestEffort, ...burstable]))
  const fromBurstable = nearest(burstable, less(short, [...bestEffort, ...fromGuaranteed]))
  const fromBestEffort = nearest(bestEffort, less(short, [...fromBurstable, ...fromGuaranteed]))
  return [...fromBestEffort, ...fromBurstable, ...fromGuaranteed]
}
