// Requests and limits as the kernel takes them: shares, quota, bytes, oom_score_adj, for containers, pods and QoS classes. Pure.
// It decides figures only: host/cgroup.ts writes them for pods, the runtime for containers.
// Follows k8s.io: Resource Management for Pods and Containers; Node-pressure eviction (oom_score_adj); Memory QoS; Swap.

import type { HugepageLimit, LinuxContainerResources } from '../api/cri/types.ts'
import { sidecarsOf } from '../api/pod.ts'
import type { Container, Pod } from '../api/types.ts'
import type { CgroupLimits } from '../host/cgroup-files.ts'
import {
  type Amounts,
  aggregateContainerRequests,
  containerLimits,
  containerRequests,
  hasPodLevelResources,
  isCriticalPod,
  isLimited,
  podLevelLimits,
  podLevelRequests,
  podLimits,
  podRequests,
  qosClass,
  toAmounts,
} from './qos.ts'

/** What of the machine and the configuration decides the figures. */
export interface ResourceContext {
  readonly cgroupVersion: 1 | 2
  readonly memoryBytes: number
  /** 0 without swap. */
  readonly swapBytes: number
  /** Whether the kernel limits swap per cgroup. */
  readonly hasSwapController: boolean
  /** The huge page sizes of this machine as cgroup files name them: `2MB`, `1GB`. */
  readonly hugePageSizes: readonly string[]
  /** KubeletConfiguration cpuCFSQuota; false sets no quota anywhere. */
  readonly cpuCfsQuota: boolean
  /** KubeletConfiguration cpuCFSQuotaPeriod in microseconds; 100000 is the default. */
  readonly cpuCfsQuotaPeriodUs: number
  /** Feature gate MemoryQoS, and KubeletConfiguration memoryThrottlingFactor and memoryReservationPolicy beside it. */
  readonly memoryQos?: { readonly throttlingFactor: number; readonly reserve: boolean; readonly allocatableBytes: number }
  /** KubeletConfiguration singleProcessOOMKill; false kills a container as a whole (v2 only). */
  readonly singleProcessOomKill: boolean
  readonly swapBehavior: 'NoSwap' | 'LimitedSwap'
}

const minShares = 2
const maxShares = 262_144
const minQuotaUs = 1_000
const pageBytes = 4_096
/** Effectively no limit, and still a number that the kernel takes. */
const unboundedBytes = 2 ** 62

/** cpu.shares of an amount of cpu: 1024 a core, never under the kernel's least. */
export const toShares = (milliCpu: number): number =>
  Math.min(Math.max(Math.trunc((milliCpu * 1024) / 1000), minShares), maxShares)

/** CFS quota in microseconds per period of an amount of cpu; 0 (none) for none, at least 1 ms otherwise. */
export const toQuotaUs = (milliCpu: number, periodUs: number): number =>
  milliCpu === 0 ? 0 : Math.max(Math.trunc((milliCpu * periodUs) / 1000), minQuotaUs)

/** `hugepages-2Mi` as the cgroup files call it: `2MB`. Undefined for anything else. */
export const hugePageSizeOf = (resource: string): string | undefined => {
  const match = /^hugepages-(\d+)([KMGTP])i$/.exec(resource)
  return match === null ? undefined : `${match[1]}${match[2]}B`
}

const hugePageAmounts = (amounts: Amounts): Record<string, number> =>
  Object.fromEntries(
    Object.entries(amounts).flatMap(([name, amount]) => {
      const size = hugePageSizeOf(name)
      return size === undefined ? [] : [[size, amount] as const]
    }),
  )

const hugePageLimits = (pod: Pod, container: Container, sizes: readonly string[]): readonly HugepageLimit[] => {
  const wanted = { ...hugePageAmounts(podLevelLimits(pod)), ...hugePageAmounts(containerLimits(container)) }
  return sizes.map(pageSize => ({ pageSize, limit: wanted[pageSize] ?? 0 }))
}

const guaranteedScore = -997
const bestEffortScore = 1000

/** Pod-level memory that no container claimed, shared out evenly. */
const unclaimedShare = (pod: Pod): number => {
  const whole = podLevelRequests(pod)['memory'] ?? 0
  if (whole === 0) return 0
  const claimed = aggregateContainerRequests(pod)['memory'] ?? 0
  return Math.trunc((whole - claimed) / (pod.spec.containers.length + (pod.spec.initContainers?.length ?? 0)))
}

/**
 * oom_score_adj of a container: the more of the node's memory it asked for, the later it is killed.
 * A sidecar is never killed before the containers that it serves.
 * @param memoryBytes the node's memory
 */
export const oomScoreAdj = (pod: Pod, container: Container, memoryBytes: number): number => {
  if (isCriticalPod(pod) && pod.spec.priorityClassName === 'system-node-critical') return guaranteedScore
  const qos = qosClass(pod)
  if (qos === 'Guaranteed') return guaranteedScore
  if (qos === 'BestEffort') return bestEffortScore
  const share = unclaimedShare(pod)
  const scoreOf = (request: number) => 1000 - Math.trunc((1000 * (request + share)) / memoryBytes)
  let score = scoreOf(containerRequests(container)['memory'] ?? 0)
  if (sidecarsOf(pod).some(({ name }) => name === container.name)) {
    const least = Math.min(...pod.spec.containers.map(it => containerRequests(it)['memory'] ?? 0))
    score = Math.min(score, scoreOf(least))
  }
  // between Guaranteed (at least 3 above it in effect) and BestEffort, always
  return Math.min(Math.max(score, 1000 + guaranteedScore), bestEffortScore - 1)
}

const basicResources = (
  context: ResourceContext,
  milliCpuRequest: number | undefined,
  milliCpuLimit: number,
  memoryLimit: number,
): LinuxContainerResources => ({
  cpuShares: toShares(milliCpuRequest ?? milliCpuLimit),
  ...(memoryLimit > 0 && { memoryLimitInBytes: memoryLimit }),
  ...(context.cpuCfsQuota && {
    cpuQuota: toQuotaUs(milliCpuLimit, context.cpuCfsQuotaPeriodUs),
    cpuPeriod: context.cpuCfsQuotaPeriodUs,
  }),
  ...(context.cgroupVersion === 2 && !context.singleProcessOomKill && { unified: { 'memory.oom.group': '1' } }),
})

const swapResources = (
  pod: Pod,
  container: Container,
  context: ResourceContext,
  memoryLimit: number,
): Pick<LinuxContainerResources, 'memorySwapLimitInBytes' | 'unified'> => {
  if (!context.hasSwapController) return {}
  if (context.cgroupVersion === 1) return memoryLimit > 0 ? { memorySwapLimitInBytes: memoryLimit } : {}
  const request = containerRequests(container)['memory'] ?? 0
  const limit = containerLimits(container)['memory'] ?? 0
  const mayswap =
    context.swapBehavior === 'LimitedSwap' &&
    !isCriticalPod(pod) &&
    qosClass(pod) === 'Burstable' &&
    request !== limit &&
    request <= context.memoryBytes
  const bytes = mayswap ? Math.trunc((request / context.memoryBytes) * context.swapBytes) : 0
  return { unified: { 'memory.swap.max': String(bytes) } }
}

/** memory.min or memory.low, and memory.high, of a container where the gate MemoryQoS is on and the host has cgroup v2. */
const memoryQosFiles = (pod: Pod, container: Container, context: ResourceContext): Record<string, string> => {
  if (context.memoryQos === undefined || context.cgroupVersion === 1) return {}
  const { throttlingFactor, reserve, allocatableBytes } = context.memoryQos
  const request = containerRequests(container)['memory'] ?? 0
  const limit = containerLimits(container)['memory'] ?? 0
  const protection: Record<string, string> =
    request > 0 && reserve
      ? { [qosClass(pod) === 'Guaranteed' ? 'memory.min' : 'memory.low']: String(request) }
      : { 'memory.min': '0', 'memory.low': '0' }
  if (request === limit) return protection
  const ceiling = limit > 0 ? limit : allocatableBytes
  const high = Math.floor((request + (ceiling - request) * throttlingFactor) / pageBytes) * pageBytes
  return high > request ? { ...protection, 'memory.high': String(high) } : protection
}

/** The resources of one container as the runtime takes them. */
export const containerResources = (pod: Pod, container: Container, context: ResourceContext): LinuxContainerResources => {
  const requests = containerRequests(container)
  const whole = hasPodLevelResources(pod) ? podLevelLimits(pod) : {}
  const limitOf = (name: string) => containerLimits(container)[name] || whole[name] || 0
  const basic = basicResources(context, requests['cpu'], limitOf('cpu'), limitOf('memory'))
  const { unified: swapFiles, ...swap } = swapResources(pod, container, context, limitOf('memory'))
  const unified = { ...basic.unified, ...swapFiles, ...memoryQosFiles(pod, container, context) }
  return {
    ...basic,
    ...swap,
    oomScoreAdj: oomScoreAdj(pod, container, context.memoryBytes),
    hugepageLimits: hugePageLimits(pod, container, context.hugePageSizes),
    ...(Object.keys(unified).length > 0 && { unified }),
  }
}

/** What the sandbox is told of its pod: the sum without overhead, and the overhead. For runtimes that size a VM by it. */
export const sandboxResources = (
  pod: Pod,
  context: ResourceContext,
): { readonly resources: LinuxContainerResources; readonly overhead: LinuxContainerResources } => {
  const requests = podRequests(pod, { overhead: false })
  const limits = podLimits(pod, { overhead: false })
  const overhead = toAmounts(pod.spec.overhead)
  const cpu = overhead['cpu'] ?? 0
  return {
    resources: basicResources(context, requests['cpu'], limits['cpu'] ?? 0, limits['memory'] ?? 0),
    overhead: pod.spec.overhead === undefined ? {} : basicResources(context, cpu, cpu, overhead['memory'] ?? 0),
  }
}

/** Settings of pod cgroups beside a pod's own. */
export type PodCgroupContext = Pick<
  ResourceContext,
  'cgroupVersion' | 'hugePageSizes' | 'cpuCfsQuota' | 'cpuCfsQuotaPeriodUs' | 'memoryQos'
> & {
  /** KubeletConfiguration podPidsLimit; not positive for none. */
  readonly podPidsLimit: number
}

/**
 * The figures of a pod's cgroup: shares of the sum, quota and memory only where everything in it is limited, so that a
 * container without a limit is not squeezed by its neighbours' limits.
 */
export const podCgroupLimits = (pod: Pod, context: PodCgroupContext): CgroupLimits => {
  const requests = podRequests(pod)
  const limits = podLimits(pod)
  const qos = qosClass(pod)
  const periodUs = context.cpuCfsQuotaPeriodUs
  const quota = {
    cpuQuotaUs: context.cpuCfsQuota ? toQuotaUs(limits['cpu'] ?? 0, periodUs) : -1,
    cpuPeriodUs: periodUs,
  }
  const wanted = hugePageAmounts(requests)
  const reserves = context.memoryQos?.reserve === true && context.cgroupVersion === 2
  const memoryRequest = requests['memory'] ?? 0
  return {
    cpuShares: qos === 'BestEffort' ? minShares : toShares(requests['cpu'] ?? 0),
    ...(qos !== 'BestEffort' && isLimited(pod, 'cpu') && quota),
    ...(qos !== 'BestEffort' && isLimited(pod, 'memory') && { memoryBytes: limits['memory'] ?? 0 }),
    ...(context.podPidsLimit > 0 && { pidsMax: context.podPidsLimit }),
    hugePageBytes: Object.fromEntries(context.hugePageSizes.map(size => [size, wanted[size] ?? 0])),
    ...(reserves &&
      memoryRequest > 0 && {
        unified: { [qos === 'Guaranteed' ? 'memory.min' : 'memory.low']: String(memoryRequest) },
      }),
  }
}

/**
 * The figures of the two QoS cgroups. Burstable weighs what its pods requested together, BestEffort as little as the
 * kernel allows; neither limits huge pages, since its pods do.
 */
export const qosCgroupLimits = (
  activePods: readonly Pod[],
  hugePageSizes: readonly string[],
): { readonly burstable: CgroupLimits; readonly besteffort: CgroupLimits } => {
  const hugePageBytes = Object.fromEntries(hugePageSizes.map(size => [size, unboundedBytes]))
  const milliCpu = activePods
    .filter(pod => qosClass(pod) === 'Burstable')
    .reduce((sum, pod) => sum + (podRequests(pod)['cpu'] ?? 0), 0)
  return {
    burstable: { cpuShares: toShares(milliCpu), hugePageBytes },
    besteffort: { cpuShares: minShares, hugePageBytes },
  }
}
