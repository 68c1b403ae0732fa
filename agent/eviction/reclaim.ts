// What the node can give back before pods have to go: containers of pods that have ended. Images are agent/housekeeping.ts's.
// A pod of the folder keeps its ended containers: they alone tell the next daemon that it has run.
// Follows the kubelet's DeleteAllUnusedContainers; surplus containers of pods that go on are removed all the time.
import type { Cri } from '../../api/cri/cri.ts'
import { except } from '../../host/fault.ts'
import { isStatic } from '../sources/mirror-marks.ts'
import type { PodWorker } from '../worker.ts'

/** Removes them. @returns how many containers and sandboxes there were. @throws Fault when the runtime refuses one */
export const removeEndedContainers = async (
  runtime: Pick<Cri, 'removeContainer' | 'removePodSandbox'>,
  workers: readonly Pick<PodWorker, 'phase' | 'pod' | 'seen'>[],
): Promise<number> => {
  let count = 0
  for (const { phase, pod, seen } of workers) {
    if (phase !== 'terminated' || isStatic(pod)) continue
    for (const { id } of seen.containers) await except(runtime.removeContainer(id), 'not-found')
    for (const { id } of seen.sandboxes) await except(runtime.removePodSandbox(id), 'not-found')
    count += seen.containers.length + seen.sandboxes.length
  }
  return count
}
