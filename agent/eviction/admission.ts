// Whom a node takes that runs short of something. Pure.
// Follows Admit in pkg/kubelet/eviction/eviction_manager.go of 1.36: critical pods always; with nothing but too little memory also
// those that say what they need, and those that tolerate it.
import type { Pod } from '../../api/types.ts'
import { type Admission, isTolerated } from '../admit.ts'
import { isCriticalPod, qosClass } from '../qos.ts'
import type { PressureCondition } from './thresholds.ts'

const memoryTaint = { key: 'node.kubernetes.io/memory-pressure', effect: 'NoSchedule' }

/** @returns undefined when the node's conditions do not keep the pod out */
export const refusedUnder = (conditions: readonly PressureCondition[], pod: Pod): Admission | undefined => {
  if (conditions.length === 0 || isCriticalPod(pod)) return undefined
  if (conditions.every(it => it === 'MemoryPressure') && (qosClass(pod) !== 'BestEffort' || isTolerated(pod, memoryTaint)))
    return undefined
  return { ok: false, reason: 'Evicted', message: `The node had condition: [${conditions.join(' ')}]. ` }
}
