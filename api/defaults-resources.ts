// Defaults of requests and limits: a request that is not given is the limit; what a pod as a whole asks for follows its containers.
// Pure. Follows k8s.io: Manage Resources for Containers; Pod-level Resources (KEP-2837); Sidecar Containers (resource sharing).
import type { Quantity, ResourceList, ResourceRequirements } from './meta.ts'
import { isSidecar } from './pod.ts'
import { compareQuantities, isQuantity, parseQuantity, sumQuantities } from './quantity.ts'
import type { Container, PodSpec } from './types.ts'

const thousandths = 1_000_000n

// The apiserver stores no amount finer than a thousandth.
const roundUpToMilli = (quantity: Quantity): Quantity => {
  if (!isQuantity(quantity)) return quantity
  const { nano } = parseQuantity(quantity)
  return nano % thousandths === 0n ? quantity : `${nano / thousandths + (nano > 0n ? 1n : 0n)}m`
}

const roundList = (list: ResourceList): ResourceList =>
  Object.fromEntries(Object.entries(list).map(([name, quantity]) => [name, roundUpToMilli(quantity)]))

/** Requests of a container: those given, else its limits. */
export const defaultContainerResources = (resources: ResourceRequirements): ResourceRequirements => {
  if (resources.limits === undefined)
    return { ...resources, ...(resources.requests && { requests: roundList(resources.requests) }) }
  const limits = roundList(resources.limits)
  return { ...resources, limits, requests: { ...limits, ...roundList(resources.requests ?? {}) } }
}

const addLists = (a: ResourceList, b: ResourceList): ResourceList => {
  const sum: Record<string, Quantity> = { ...a }
  for (const [name, quantity] of Object.entries(b)) sum[name] = name in sum ? sumQuantities([sum[name]!, quantity]) : quantity
  return sum
}

const largerLists = (a: ResourceList, b: ResourceList): ResourceList => {
  const larger: Record<string, Quantity> = { ...a }
  for (const [name, quantity] of Object.entries(b)) {
    if (!(name in larger) || compareQuantities(larger[name]!, quantity) < 0) larger[name] = quantity
  }
  return larger
}

/**
 * What the containers of a pod need together at the worst moment of its life: all app containers and sidecars at once,
 * or one init container beside the sidecars that were started before it.
 */
export const sumOfContainers = (spec: PodSpec, which: 'requests' | 'limits'): ResourceList => {
  const listOf = (container: Container): ResourceList => container.resources?.[which] ?? {}
  let sidecars: ResourceList = {}
  let starting: ResourceList = {}
  for (const container of spec.initContainers ?? []) {
    const together = addLists(sidecars, listOf(container))
    if (isSidecar(container)) sidecars = together
    starting = largerLists(starting, together)
  }
  const running = spec.containers.map(listOf).reduce(addLists, sidecars)
  return largerLists(running, starting)
}

const isHugePages = (name: string): boolean => name.startsWith('hugepages-')
const isPodLevel = (name: string): boolean => name === 'cpu' || name === 'memory' || isHugePages(name)

/** Pod-level requests and limits with what follows from the containers, which have their own defaults already. */
export const defaultPodResources = (spec: PodSpec, resources: ResourceRequirements): ResourceRequirements => {
  const given = { requests: roundList(resources.requests ?? {}), limits: roundList(resources.limits ?? {}) }
  if (Object.keys(given.limits).length + Object.keys(given.requests).length === 0) return resources
  const ofContainers = Object.entries(sumOfContainers(spec, 'limits'))
  const hugePages = Object.fromEntries(ofContainers.filter(([name]) => isHugePages(name) && !(name in given.requests)))
  const limits: ResourceList = { ...hugePages, ...given.limits }
  if (Object.keys(limits).length === 0) return { ...resources, requests: given.requests }
  const asked = Object.entries(sumOfContainers(spec, 'requests')).filter(([name]) => isPodLevel(name) && !isHugePages(name))
  const fromLimits = Object.fromEntries(Object.entries(limits).filter(([name]) => isPodLevel(name)))
  return { ...resources, limits, requests: { ...fromLimits, ...Object.fromEntries(asked), ...given.requests } }
}
