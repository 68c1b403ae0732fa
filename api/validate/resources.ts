// Rules for requests and limits of containers and pods. Pure. Follows k8s.io: Manage Resources for Containers; Pod-level Resources.
import { sumOfContainers } from '../defaults-resources.ts'
import type { Quantity, ResourceList, ResourceRequirements } from '../meta.ts'
import { compareQuantities, parseQuantity } from '../quantity.ts'
import type { PodSpec } from '../types.ts'
import { qualifiedName } from './names.ts'
import { join, type Report } from './problem.ts'

const plainNames = ['cpu', 'memory', 'ephemeral-storage']
const isHugePages = (name: string): boolean => name.startsWith('hugepages-')
const isPlain = (name: string): boolean => plainNames.includes(name) || isHugePages(name)
const hasCpuOrMemory = (list: ResourceList | undefined): boolean => list !== undefined && ('cpu' in list || 'memory' in list)
const unit = 1_000_000_000n

const checkAmount = (report: Report, path: string, name: string, amount: Quantity): void => {
  const { nano } = parseQuantity(amount)
  if (nano < 0n) report(path, amount, 'want an amount of at least 0')
  // cpu alone can be shared in parts
  if (!plainNames.includes(name) && nano % unit !== 0n) report(path, amount, `want a whole number: ${name} cannot be divided`)
  if (!isHugePages(name)) return
  const pageSize = parseQuantity(name.slice('hugepages-'.length)).nano
  if (pageSize > 0n && nano % pageSize !== 0n)
    report(path, amount, `want a multiple of the page size ${name.slice('hugepages-'.length)}`)
}

const checkName = (report: Report, path: string, name: string, podLevel: boolean): boolean => {
  if (podLevel && name !== 'cpu' && name !== 'memory' && !isHugePages(name)) {
    report(path, undefined, 'want cpu, memory or hugepages-<size> for a whole pod')
    return false
  }
  if (isHugePages(name) && !/^hugepages-\d+(Ki|Mi|Gi)$/.test(name)) {
    report(path, undefined, 'want hugepages-<size> such as hugepages-2Mi')
    return false
  }
  if (isPlain(name) || (qualifiedName.ok(name) && name.includes('/'))) return true
  report(
    path,
    undefined,
    'want cpu, memory, ephemeral-storage, hugepages-<size> or an extended resource such as example.com/device',
  )
  return false
}

const checkAgainstLimit = (report: Report, path: string, name: string, request: Quantity, limit: Quantity | undefined): void => {
  const shareable = plainNames.includes(name)
  if (limit === undefined) {
    if (!shareable) report(path, request, `want a limit of ${name} too, of the same amount`)
    return
  }
  const apart = compareQuantities(request, limit)
  if (!shareable && apart !== 0) report(path, request, `want the same amount as the limit of ${limit}`)
  else if (apart > 0) report(path, request, `want at most the limit of ${limit}`)
}

/** Reports what is wrong with requests and limits; `path` is that of `resources`. */
export const checkResources = (report: Report, path: string, resources: ResourceRequirements, podLevel = false): void => {
  const { requests, limits } = resources
  for (const [name, amount] of Object.entries(limits ?? {})) {
    const at = join(`${path}.limits`, name)
    if (checkName(report, at, name, podLevel)) checkAmount(report, at, name, amount)
  }
  for (const [name, amount] of Object.entries(requests ?? {})) {
    const at = join(`${path}.requests`, name)
    if (!checkName(report, at, name, podLevel)) continue
    checkAmount(report, at, name, amount)
    checkAgainstLimit(report, at, name, amount, limits?.[name])
  }
  const huge = [...Object.keys(limits ?? {}), ...Object.keys(requests ?? {})].some(isHugePages)
  if (huge && !hasCpuOrMemory(limits) && !hasCpuOrMemory(requests))
    report(path, undefined, 'huge pages need a request or limit of cpu or memory')
  if (resources.claims !== undefined) report(`${path}.claims`, undefined, 'resource claims need a control plane')
}

/** Reports where a pod's own requests and limits do not fit those of its containers. */
export const checkPodResources = (report: Report, spec: PodSpec): void => {
  if (spec.resources === undefined) return
  checkResources(report, 'spec.resources', spec.resources, true)
  const { requests = {}, limits = {} } = spec.resources
  for (const [name, sum] of Object.entries(sumOfContainers(spec, 'requests'))) {
    const amount = requests[name]
    if (amount !== undefined && compareQuantities(sum, amount) > 0) {
      report(join('spec.resources.requests', name), amount, `want at least the ${sum} that the containers ask for together`)
    }
  }
  for (const [index, container] of spec.containers.entries()) {
    for (const [name, limit] of Object.entries(container.resources?.limits ?? {})) {
      const most = limits[name]
      if (most === undefined || compareQuantities(limit, most) <= 0) continue
      report(join(`spec.containers[${index}].resources.limits`, name), limit, `want at most the pod's limit of ${most}`)
    }
  }
}
