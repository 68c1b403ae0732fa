// What a pod asks for: its QoS class and its effective requests and limits. Pure.
// Amounts are plain numbers by resource name: cpu in thousandths of a core, everything else in whole units (bytes, pieces).
// Follows k8s.io: Pod QoS Classes; Resource usage by init containers (a pod's request is what it needs at its hungriest
// moment, sidecars counted from their own start on); Pod-level resources; Pod overhead.
import type { ResourceList } from '../api/meta.ts'
import { isSidecar, templateContainers } from '../api/pod.ts'
import type { QosClass } from '../api/pod-status.ts'
import { toBytes, toMilli } from '../api/quantity.ts'
import type { Container, Pod } from '../api/types.ts'

/** Millicores under `cpu`, bytes or pieces under every other name. */
export type Amounts = Readonly<Record<string, number>>

type Sum = Record<string, number>

/** A resource list as numbers. */
export const toAmounts = (list: ResourceList | undefined): Amounts =>
  Object.fromEntries(
    Object.entries(list ?? {}).map(([name, quantity]) => [name, name === 'cpu' ? toMilli(quantity) : toBytes(quantity)]),
  )

const isHugePages = (name: string): boolean => name.startsWith('hugepages-')

/** The resources that a pod-level request or limit may name. */
const isPodLevel = (name: string): boolean => name === 'cpu' || name === 'memory' || isHugePages(name)

// Requests that follow from limits are filled in before a pod gets here: by the apiserver, or by api/defaults.ts.
export const containerRequests = (container: Container): Amounts => toAmounts(container.resources?.requests)

export const containerLimits = (container: Container): Amounts => toAmounts(container.resources?.limits)

const add = (sum: Sum, more: Amounts): void => {
  for (const [name, amount] of Object.entries(more)) sum[name] = (sum[name] ?? 0) + amount
}

const raise = (sum: Sum, other: Amounts): void => {
  for (const [name, amount] of Object.entries(other)) sum[name] = Math.max(sum[name] ?? 0, amount)
}

/** What the pod's containers need at its hungriest moment: while it runs, or while one of its init containers does. */
const aggregate = (pod: Pod, of: (container: Container) => Amounts): Sum => {
  const running: Sum = {}
  for (const container of pod.spec.containers) add(running, of(container))
  const sidecars: Sum = {}
  const starting: Sum = {}
  for (const init of pod.spec.initContainers ?? []) {
    if (isSidecar(init)) {
      add(running, of(init))
      add(sidecars, of(init))
      raise(starting, sidecars)
    } else {
      const both = { ...sidecars }
      add(both, of(init))
      raise(starting, both)
    }
  }
  raise(running, starting)
  return running
}

/** The sum over containers alone, without what the pod level says and without overhead. */
export const aggregateContainerRequests = (pod: Pod): Amounts => aggregate(pod, containerRequests)

const onlyPodLevel = (amounts: Amounts): Amounts =>
  Object.fromEntries(Object.entries(amounts).filter(([name]) => isPodLevel(name)))

/** Limits that the pod as a whole names. */
export const podLevelLimits = (pod: Pod): Amounts => onlyPodLevel(toAmounts(pod.spec.resources?.limits))

/** Requests that the pod as a whole names. */
export const podLevelRequests = (pod: Pod): Amounts => onlyPodLevel(toAmounts(pod.spec.resources?.requests))

/** True when the pod as a whole names a request or limit that counts. */
export const hasPodLevelResources = (pod: Pod): boolean =>
  Object.keys(podLevelRequests(pod)).length + Object.keys(podLevelLimits(pod)).length > 0

/** The pod's effective requests, its overhead included unless asked otherwise. */
export const podRequests = (pod: Pod, { overhead = true } = {}): Amounts => {
  const sum = aggregate(pod, containerRequests)
  Object.assign(sum, podLevelRequests(pod))
  if (overhead) add(sum, toAmounts(pod.spec.overhead))
  return sum
}

/** The pod's effective limits; overhead adds to those that are there and makes none. */
export const podLimits = (pod: Pod, { overhead = true } = {}): Amounts => {
  const sum = aggregate(pod, containerLimits)
  Object.assign(sum, podLevelLimits(pod))
  if (!overhead) return sum
  for (const [name, amount] of Object.entries(toAmounts(pod.spec.overhead))) {
    if (sum[name] !== undefined && sum[name] > 0) sum[name] += amount
  }
  return sum
}

/**
 * True when every container (init containers with the sidecars before them) has a limit of this resource, or the pod as
 * a whole has one: only then may the pod's cgroup be limited to the sum.
 */
export const isLimited = (pod: Pod, resource: 'cpu' | 'memory'): boolean => {
  if ((podLevelLimits(pod)[resource] ?? 0) > 0) return true
  let sidecars = 0
  const inits = (pod.spec.initContainers ?? []).map(init => {
    const own = containerLimits(init)[resource] ?? 0
    if (isSidecar(init)) sidecars += own
    return isSidecar(init) ? sidecars : own + sidecars
  })
  return [...pod.spec.containers.map(container => containerLimits(container)[resource] ?? 0), ...inits].every(limit => limit > 0)
}

const computeNames = ['cpu', 'memory'] as const

const positive = (lists: readonly Amounts[]): Sum => {
  const sum: Sum = {}
  for (const list of lists) {
    for (const name of computeNames) if ((list[name] ?? 0) > 0) sum[name] = (sum[name] ?? 0) + (list[name] ?? 0)
  }
  return sum
}

/**
 * The pod's QoS class: what its status says (it never changes in a pod's life), else computed from the spec.
 * Guaranteed when cpu and memory are limited everywhere and requested in the same amounts; BestEffort when nothing is named.
 */
export const qosClass = (pod: Pod): QosClass => {
  if (pod.status?.qosClass !== undefined) return pod.status.qosClass
  const levels =
    pod.spec.resources === undefined
      ? templateContainers(pod).map(it => [containerRequests(it), containerLimits(it)] as const)
      : [[podLevelRequests(pod), podLevelLimits(pod)] as const]
  const requests = positive(levels.map(([asked]) => asked))
  const limits = positive(levels.map(([, limited]) => limited))
  const named = computeNames.filter(name => requests[name] !== undefined || limits[name] !== undefined)
  if (named.length === 0) return 'BestEffort'
  const limitedEverywhere = levels.every(([, limited]) => computeNames.every(name => (limited[name] ?? 0) > 0))
  return limitedEverywhere && named.every(name => requests[name] === limits[name]) ? 'Guaranteed' : 'Burstable'
}

/** From here on pods are critical for the cluster, or for their node. */
export const systemCriticalPriority = 2_000_000_000

/** A pod that the node itself needs: from a manifest file, a mirror of one, or of a system priority. */
export const isCriticalPod = (pod: Pod): boolean => {
  const source = pod.metadata.annotations?.['kubernetes.io/config.source']
  return (
    (source !== undefined && source !== 'api') ||
    pod.metadata.annotations?.['kubernetes.io/config.mirror'] !== undefined ||
    (pod.spec.priority ?? 0) >= systemCriticalPriority
  )
}
