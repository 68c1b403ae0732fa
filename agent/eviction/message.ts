// Why a pod was evicted, in the kubelet's words, which people search for and tools read (they do end with a space). Pure.
// Follows evictionMessage in pkg/kubelet/eviction/helpers.go of 1.36.
import type { Quantity } from '../../api/meta.ts'
import { formatQuantity, toBytes } from '../../api/quantity.ts'
import type { Container, Pod } from '../../api/types.ts'
import { hasPodLevelResources } from '../qos.ts'
import type { ContainerUse, PodUse } from './rank.ts'
import { amountOf, type Observations, type Starved, signals, type Threshold } from './thresholds.ts'

export interface EvictionWords {
  readonly message: string
  /** Of the Event. */
  readonly annotations: Readonly<Record<string, string>>
}

export interface EvictionCase {
  readonly pod: Pod
  readonly starved: Starved
  /** Those that are due, the most urgent first. */
  readonly due: readonly Threshold[]
  readonly observations: Observations
  /** Undefined when nothing is known of the pod. */
  readonly use: PodUse | undefined
}

/** Bytes with a binary suffix where one fits, as the API writes them. */
const formatBytes = (bytes: number): string => {
  if (Math.abs(bytes) < 1024) return formatQuantity(bytes)
  return bytes % 1024 === 0 ? formatQuantity(`${bytes / 1024}Ki`) : String(bytes)
}

/** What was asked for and what there was, of the first threshold that is about this shortage. */
const figures = ({ starved, due, observations }: EvictionCase): string => {
  for (const { signal, value } of due) {
    const observed = observations.get(signal)
    if (signals[signal].starved !== starved || observed === undefined) continue
    const wanted = value.endsWith('%') ? formatBytes(amountOf(value, observed.capacity)) : formatQuantity(value)
    const isCount = starved === 'inodes' || starved === 'pids'
    const available = isCount ? formatQuantity(observed.available) : formatBytes(observed.available)
    return `Threshold quantity: ${wanted}, available: ${available}. `
  }
  return ''
}

const consumption = (who: string, used: number, request: Quantity, starved: Starved): string =>
  `${who} was using ${formatBytes(used)}, request is ${formatQuantity(request)}, has larger consumption of ${starved}. `

const containerUse = (use: ContainerUse | undefined, starved: Starved): number | undefined => {
  if (starved === 'memory') return use?.memoryBytes
  if (starved !== 'ephemeral-storage' || use?.layer === undefined || use.logs === undefined) return undefined
  return use.layer.bytes + use.logs.bytes
}

const offenders = ({ pod, starved, use }: EvictionCase) =>
  [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].flatMap((container: Container) => {
    const request = container.resources?.requests?.[starved] ?? '0'
    const used = containerUse(use?.containers.get(container.name), starved)
    return used === undefined || used <= toBytes(request) ? [] : [{ name: container.name, used, request }]
  })

/** The message of the pod's status and of its Event, and what the Event says for programs. */
export const evictionWords = (given: EvictionCase): EvictionWords => {
  const { pod, starved, use } = given
  const low = `The node was low on resource: ${starved}. ${figures(given)}`
  if (use === undefined) return { message: low, annotations: {} }
  const podRequest = starved === 'memory' && hasPodLevelResources(pod) ? pod.spec.resources?.requests?.['memory'] : undefined
  const podUsed = use.memoryBytes ?? 0
  const found = offenders(given)
  return {
    message: [
      low,
      podRequest === undefined ? '' : consumption(`Pod ${pod.metadata.name}`, podUsed, podRequest, starved),
      ...found.map(it => consumption(`Container ${it.name}`, it.used, it.request, starved)),
    ].join(''),
    annotations: {
      ...(podRequest !== undefined && { offending_pod: pod.metadata.name, offending_pod_usage: formatBytes(podUsed) }),
      offending_containers: found.map(it => it.name).join(','),
      offending_containers_usage: found.map(it => formatBytes(it.used)).join(','),
      starved_resource: starved,
    },
  }
}
