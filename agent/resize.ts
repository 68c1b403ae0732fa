// In-place resize of cpu and memory: what a node has granted a pod, what a running container still lacks of it, and what its status says.
// Pure. What was granted is read back from the pod's own status after a restart, what is in force from the runtime: no checkpoint.
// Follows k8s.io: Resize CPU and Memory Resources assigned to Containers, and the kubelet's computePodResizeAction of 1.36.
import type { LinuxContainerResources } from '../api/cri/types.ts'
import type { ResourceList, ResourceRequirements } from '../api/meta.ts'
import { templateContainers } from '../api/pod.ts'
import type { PodCondition } from '../api/pod-status.ts'
import { formatQuantity } from '../api/quantity.ts'
import type { Container, Pod } from '../api/types.ts'
import { containerLimits, containerRequests } from './qos.ts'
import type { ContainerSeen } from './seen.ts'

/** Where a pod's resize stands: asked and not granted, granted and not yet in force, or both (a second one was asked meanwhile). */
export interface ResizeState {
  readonly pending?: { readonly reason: 'Deferred' | 'Infeasible'; readonly message: string; readonly generation: number }
  readonly inProgress?: { readonly generation: number; readonly error?: string }
}

export type ResizeAction = 'none' | 'update' | 'restart'

type Actual = NonNullable<ContainerSeen['resources']>

const resourcesOf = (pod: Pod): unknown => [
  templateContainers(pod).map(it => [it.name, containerRequests(it), containerLimits(it)]),
  pod.spec.resources ?? {},
]

/** Whether the pod asks for other resources than it has been granted. */
export const asksForResize = (pod: Pod, granted: Pod): boolean =>
  JSON.stringify(resourcesOf(pod)) !== JSON.stringify(resourcesOf(granted))

const replaceIn = (containers: readonly Container[], of: (it: Container) => ResourceRequirements | undefined) =>
  containers.map(it => {
    const { resources: _, ...rest } = it
    const resources = of(it)
    return resources === undefined ? rest : { ...rest, resources }
  })

const withResources = (pod: Pod, of: (it: Container) => ResourceRequirements | undefined): Pod => ({
  ...pod,
  spec: {
    ...pod.spec,
    containers: replaceIn(pod.spec.containers, of),
    ...(pod.spec.initContainers && { initContainers: replaceIn(pod.spec.initContainers, of) }),
  },
})

/** The pod as it is now, but with the resources that it was granted before. */
export const withGranted = (pod: Pod, granted: Pod): Pod => {
  const before = new Map(templateContainers(granted).map(it => [it.name, it.resources]))
  const { resources: _, ...spec } = pod.spec
  const { resources } = granted.spec
  return withResources({ ...pod, spec: { ...spec, ...(resources && { resources }) } }, it =>
    before.has(it.name) ? before.get(it.name) : it.resources,
  )
}

/** What an earlier daemon had granted the pod, as its status tells it; the pod itself when that is what it asks for. */
export const grantedBefore = (pod: Pod): Pod => {
  if ((pod.metadata.generation ?? 1) <= 1) return pod
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])]
  const granted = withResources(pod, it => {
    const status = statuses.find(({ name }) => name === it.name)
    if (status?.allocatedResources === undefined) return it.resources
    const limits = status.resources?.limits
    return { ...it.resources, requests: status.allocatedResources, ...(limits && { limits }) }
  })
  return asksForResize(pod, granted) ? granted : pod
}

/** What has to be done so that a running container has what it was granted. A runtime that tells no figures is told them: once, by its owner. */
export const resizeAction = (container: Container, current: ContainerSeen, wanted: LinuxContainerResources): ResizeAction => {
  const { resources: actual } = current
  if (current.state !== 'running') return 'none'
  if (actual === undefined) return 'update'
  const cpu = (wanted.cpuShares ?? 0) !== actual.cpuShares || (wanted.cpuQuota ?? 0) !== actual.cpuQuota
  const memory = (wanted.memoryLimitInBytes ?? 0) !== actual.memoryLimitInBytes
  const restarts = (resource: string) =>
    container.resizePolicy?.some(it => it.resourceName === resource && it.restartPolicy === 'RestartContainer') === true
  if ((cpu && restarts('cpu')) || (memory && restarts('memory'))) return 'restart'
  return cpu || memory ? 'update' : 'none'
}

const milli = (amount: number): string => (amount % 1000 === 0 ? String(amount / 1000) : `${amount}m`)
const bytes = (amount: number): string => formatQuantity(amount % 1024 === 0 ? `${amount / 1024}Ki` : String(amount))
const leastQuotaMilli = 10
const leastShares = 2

/** The resources that are in force for a running container: as granted, where the runtime does not say otherwise. */
export const resourcesInForce = ({ resources }: Container, actual: Actual | undefined): ResourceRequirements | undefined => {
  if (resources === undefined || actual === undefined) return resources
  const { cpuPeriod, cpuQuota, cpuShares, memoryLimitInBytes } = actual
  const limitMilli = cpuPeriod > 0 ? Math.round((cpuQuota * 1000) / cpuPeriod) : 0
  const requestMilli = Math.round((cpuShares * 1000) / 1024)
  const granted = {
    requests: containerRequests({ name: '', image: '', resources }),
    limits: containerLimits({ name: '', image: '', resources }),
  }
  // Shares and quota are coarser than millicores: what is the same in the kernel's figures is said as it was granted.
  const isCpu = (given: number | undefined, found: number) => given === undefined || Math.abs(given - found) <= 1
  const limits: Record<string, string> = {}
  if (cpuQuota > 0 && limitMilli > leastQuotaMilli && !isCpu(granted.limits['cpu'], limitMilli)) limits['cpu'] = milli(limitMilli)
  if (memoryLimitInBytes > 0 && granted.limits['memory'] !== undefined && granted.limits['memory'] !== memoryLimitInBytes)
    limits['memory'] = bytes(memoryLimitInBytes)
  const requests: Record<string, string> = {}
  if (cpuShares > leastShares && !isCpu(granted.requests['cpu'], requestMilli)) requests['cpu'] = milli(requestMilli)
  const over = (list: ResourceList | undefined, found: ResourceList) => (list === undefined ? undefined : { ...list, ...found })
  const [nowLimits, nowRequests] = [over(resources.limits, limits), over(resources.requests, requests)]
  return { ...resources, ...(nowLimits && { limits: nowLimits }), ...(nowRequests && { requests: nowRequests }) }
}

type Told = Pick<PodCondition, 'type' | 'status' | 'reason' | 'message' | 'observedGeneration'>

/** The conditions that tell of a resize; none when there is none. */
export const resizeConditions = ({ pending, inProgress }: ResizeState): readonly Told[] => {
  const told: Told[] = []
  if (pending !== undefined) {
    const { reason, message, generation } = pending
    told.push({ type: 'PodResizePending', status: 'True', reason, message, observedGeneration: generation })
  }
  if (inProgress !== undefined) {
    const { generation, error } = inProgress
    const why = error === undefined ? {} : { reason: 'Error', message: error }
    told.push({ type: 'PodResizeInProgress', status: 'True', ...why, observedGeneration: generation })
  }
  return told
}
