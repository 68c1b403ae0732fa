// Whether a pod holds more of the node's disk than it may: an emptyDir's sizeLimit, the limits of ephemeral-storage of the pod and
// of its containers. Pure; what is held is measured by storage-watch.ts, and the pod ended by its worker.
// Follows the kubelet's local storage eviction, its order and its messages (which do end with a space).
import type { Quantity } from '../api/meta.ts'
import { formatQuantity, sumQuantities, toBytes } from '../api/quantity.ts'
import type { Pod } from '../api/types.ts'
import { isCriticalPod, podLimits } from './qos.ts'

export interface LocalUsage {
  /** Bytes by the name of the emptyDir. */
  readonly emptyDirs: ReadonlyMap<string, number>
  /** Bytes of logs and, where it is on the same disk, of the writable layer, by the name of the container. */
  readonly containers: ReadonlyMap<string, number>
  /** What else the pod has on the disk: files of ConfigMaps, its hosts file. */
  readonly otherBytes: number
}

const storage = 'ephemeral-storage'

const isLimit = (quantity: Quantity | undefined): quantity is Quantity => quantity !== undefined && toBytes(quantity) > 0

const hasContainerLimits = (pod: Pod): boolean =>
  podLimits(pod)[storage] !== undefined || pod.spec.containers.some(it => isLimit(it.resources?.limits?.[storage]))

/** What has to be measured of a pod to know whether it keeps within its limits. */
export const toMeasure = (pod: Pod): { readonly emptyDirs: readonly string[]; readonly whole: boolean } => {
  const emptyDirs = (pod.spec.volumes ?? []).filter(it => it.emptyDir !== undefined)
  // nothing may be taken away from a pod that the node itself needs
  if (isCriticalPod(pod)) return { emptyDirs: [], whole: false }
  const whole = hasContainerLimits(pod)
  return { emptyDirs: emptyDirs.filter(it => whole || isLimit(it.emptyDir?.sizeLimit)).map(({ name }) => name), whole }
}

const fullEmptyDir = (pod: Pod, { emptyDirs }: LocalUsage): string | undefined => {
  for (const { name, emptyDir } of pod.spec.volumes ?? []) {
    const limit = emptyDir?.sizeLimit
    if (isLimit(limit) && (emptyDirs.get(name) ?? 0) > toBytes(limit))
      return `Usage of EmptyDir volume ${JSON.stringify(name)} exceeds the limit "${formatQuantity(limit)}". `
  }
  return undefined
}

const inMemory = (pod: Pod): ReadonlySet<string> =>
  new Set((pod.spec.volumes ?? []).filter(it => (it.emptyDir?.medium ?? '') !== '').map(({ name }) => name))

const sum = (values: Iterable<number>): number => [...values].reduce((total, value) => total + value, 0)

const fullPod = (pod: Pod, { emptyDirs, containers, otherBytes }: LocalUsage): string | undefined => {
  const limit = podLimits(pod)[storage]
  if (limit === undefined) return undefined
  const memory = inMemory(pod)
  const onDisk = [...emptyDirs].filter(([name]) => !memory.has(name)).map(([, bytes]) => bytes)
  const total = sum(onDisk) + sum(containers.values()) + otherBytes
  if (total <= limit) return undefined
  return `Pod ephemeral local storage usage exceeds the total limit of containers ${shownLimit(pod, limit)}. `
}

/** In the units that the containers use, where theirs make up the limit. */
const shownLimit = (pod: Pod, limit: number): string => {
  const total = sumQuantities(pod.spec.containers.map(it => it.resources?.limits?.[storage]).filter(isLimit))
  return formatQuantity(toBytes(total) === limit ? total : limit)
}

const fullContainer = (pod: Pod, { containers }: LocalUsage): string | undefined => {
  for (const { name, resources } of pod.spec.containers) {
    const limit = resources?.limits?.[storage]
    if (isLimit(limit) && (containers.get(name) ?? 0) > toBytes(limit))
      return `Container ${name} exceeded its local ephemeral storage limit "${formatQuantity(limit)}". `
  }
  return undefined
}

/** Which limit a pod has exceeded. */
export interface Excess {
  /** Of the metrics. */
  readonly signal: 'emptydirfs.limit' | 'ephemeralpodfs.limit' | 'ephemeralcontainerfs.limit'
  /** In the kubelet's words. */
  readonly message: string
}

const checks = {
  'emptydirfs.limit': fullEmptyDir,
  'ephemeralpodfs.limit': fullPod,
  'ephemeralcontainerfs.limit': fullContainer,
} as const

/** Why a pod is to be evicted; undefined while it keeps within its limits. */
export const exceeded = (pod: Pod, usage: LocalUsage): Excess | undefined => {
  for (const signal of Object.keys(checks) as Excess['signal'][]) {
    const message = checks[signal](pod, usage)
    if (message !== undefined) return { signal, message }
  }
  return undefined
}
