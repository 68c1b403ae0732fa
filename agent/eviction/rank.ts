// Who has to go first when the node runs short of something. Pure.
// Follows rankMemoryPressure, rankPIDPressure and rankDiskPressureFunc in pkg/kubelet/eviction/helpers.go of 1.36: those above their
// requests before the others, then by priority, then by how far they are above. A pod of which nothing is known goes first.
import type { Pod } from '../../api/types.ts'
import { podRequests, toAmounts } from '../qos.ts'
import type { Kept } from './disks.ts'
import type { Starved } from './thresholds.ts'

export interface Files {
  readonly bytes: number
  readonly inodes: number
}

export interface ContainerUse {
  /** The working set; undefined when it is not known. */
  readonly memoryBytes?: number | undefined
  readonly layer?: Files | undefined
  readonly logs?: Files | undefined
}

/** What a pod uses now. Only what the shortage at hand is about has to be known. */
export interface PodUse {
  readonly memoryBytes?: number | undefined
  readonly processes?: number
  readonly containers: ReadonlyMap<string, ContainerUse>
  readonly volumes?: Files
}

/** By the pods' uids. */
export type Uses = ReadonlyMap<string, PodUse>

export interface Shortage {
  readonly starved: Starved
  /** Where the shortage is one of a disk: what pods have on it. */
  readonly kept: readonly Kept[]
}

/** A pod's request as eviction counts it: overhead adds to a request and makes none. */
const requestOf = (pod: Pod, starved: Starved): number => {
  if (starved !== 'memory' && starved !== 'ephemeral-storage') return 0
  const request = podRequests(pod, { overhead: false })[starved] ?? 0
  return request === 0 ? 0 : request + (toAmounts(pod.spec.overhead)[starved] ?? 0)
}

const filesOf = ({ containers, volumes }: PodUse, kept: readonly Kept[], of: keyof Files): number => {
  let sum = kept.includes('volumes') ? (volumes?.[of] ?? 0) : 0
  for (const { layer, logs } of containers.values()) {
    if (kept.includes('layers')) sum += layer?.[of] ?? 0
    if (kept.includes('logs')) sum += logs?.[of] ?? 0
  }
  return sum
}

/** How much of what is short the pod uses. */
export const useOf = (use: PodUse, { starved, kept }: Shortage): number => {
  switch (starved) {
    case 'memory':
      return use.memoryBytes ?? 0
    case 'pids':
      return use.processes ?? 0
    case 'ephemeral-storage':
      return filesOf(use, kept, 'bytes')
    case 'inodes':
      return filesOf(use, kept, 'inodes')
  }
}

interface Standing {
  readonly pod: Pod
  readonly priority: number
  /** Above its requests; undefined when nothing is known of it. */
  readonly above: number | undefined
}

const trueFirst = (a: boolean, b: boolean): number => Number(b) - Number(a)

const compare = (a: Standing, b: Standing, { starved }: Shortage): number => {
  const byPriority = a.priority - b.priority
  const byAmount = (b.above ?? 0) - (a.above ?? 0)
  const unknownFirst = trueFirst(a.above === undefined, b.above === undefined)
  // Nobody requests process ids: whoever is worth least goes first.
  if (starved === 'pids') return byPriority || unknownFirst || byAmount
  const greedyFirst = trueFirst((a.above ?? 0) > 0, (b.above ?? 0) > 0)
  return unknownFirst || greedyFirst || byPriority || byAmount
}

/** The pods in the order in which they have to go. */
export const rank = (pods: readonly Pod[], uses: Uses, shortage: Shortage): readonly Pod[] => {
  const standings = pods.map((pod): Standing => {
    const use = uses.get(pod.metadata.uid ?? '')
    const above = use && useOf(use, shortage) - requestOf(pod, shortage.starved)
    return { pod, priority: pod.spec.priority ?? 0, above }
  })
  return standings.sort((a, b) => compare(a, b, shortage)).map(it => it.pod)
}
