// One look at everything that uses something: the node, its system cgroups, pods and containers, each with what it has used and
// how much it uses now. Asks the kernel only; the runtime is asked for containers that have no cgroup where it should be.
import type { Cri } from '../../api/cri/cri.ts'
import type { ContainerStats as CriStats } from '../../api/cri/stats.ts'
import type { Pod } from '../../api/types.ts'
import type { CgroupReader } from '../../host/cgroup-read.ts'
import type { CgroupUsage, CpuUse, MemoryUse } from '../../host/cgroup-usage.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { createSlices } from '../../host/loop.ts'
import type { HostFigures } from './host-figures.ts'
import { type PodPlace, podPlaces, type RunningContainer } from './pod-cgroups.ts'
import { createRates } from './rates.ts'

export interface Measured extends CgroupUsage {
  readonly at: Millis
  /** Billionths of a core; undefined until there are two readings. */
  readonly nanoCores: number | undefined
}

export interface ContainerSample extends RunningContainer {
  readonly use: Measured | undefined
}

export interface PodSample extends PodPlace {
  readonly containers: readonly ContainerSample[]
  /** Of the pod's cgroup or, where it has none, of its containers together. */
  readonly use: Measured | undefined
}

export interface NodeSample {
  readonly at: Millis
  readonly node: Measured
  /** `pods`, `kubelet`, `runtime`, …: those that are known. */
  readonly system: readonly { readonly name: string; readonly use: Measured }[]
  readonly pods: readonly PodSample[]
}

export interface SamplerDeps {
  readonly reader: CgroupReader
  readonly host: Pick<HostFigures, 'complete'>
  readonly pods: () => readonly Pod[]
  readonly parentOf: (pod: Pod) => string
  /** Cgroups beside the pods by the names they have in the summary. */
  readonly systemCgroups: Readonly<Record<string, string | undefined>>
  readonly cri: Pick<Cri, 'listContainerStats'>
  readonly clock: Clock
}

export interface Sampler {
  sample(): Promise<NodeSample>
}

/** True when a rate is missing that a second look would give. */
export const lacksRates = ({ node, system, pods }: NodeSample): boolean =>
  [node, ...system.map(it => it.use), ...pods.flatMap(pod => [pod.use, ...pod.containers.map(it => it.use)])].some(
    use => use?.cpu !== undefined && use.nanoCores === undefined,
  )

const noPsi = { cpu: undefined, memory: undefined, io: undefined }

/** The runtime's own figures in the form of a cgroup's. */
const fromRuntime = ({ cpu, memory, swap }: CriStats): CgroupUsage => {
  const usageNs = cpu?.usageCoreNanoSeconds?.value
  const workingSetBytes = memory?.workingSetBytes?.value
  const faults = (count: number | undefined) => ({ own: count ?? 0, all: count ?? 0 })
  return {
    cpu: usageNs === undefined ? undefined : { usageNs, userNs: 0, systemNs: 0 },
    memory:
      workingSetBytes === undefined
        ? undefined
        : {
            workingSetBytes,
            usageBytes: memory?.usageBytes?.value ?? workingSetBytes,
            rssBytes: memory?.rssBytes?.value ?? 0,
            cacheBytes: 0,
            mappedFileBytes: 0,
            swapBytes: swap?.swapUsageBytes?.value ?? 0,
            activeFileBytes: 0,
            inactiveFileBytes: 0,
            pageFaults: faults(memory?.pageFaults?.value),
            majorPageFaults: faults(memory?.majorPageFaults?.value),
            limitBytes: undefined,
            swapLimitBytes: undefined,
          },
    psi: noPsi,
  }
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number => items.reduce((total, item) => total + of(item), 0)
const present = <T>(items: readonly (T | undefined)[]): readonly T[] => items.filter(it => it !== undefined)

/** What the containers of a pod have used together. */
const together = (uses: readonly CgroupUsage[]): CgroupUsage | undefined => {
  if (uses.length === 0) return undefined
  const cpus = present(uses.map(it => it.cpu))
  const memories = present(uses.map(it => it.memory))
  const bytes = (key: { [K in keyof MemoryUse]: MemoryUse[K] extends number ? K : never }[keyof MemoryUse]) =>
    sum(memories, it => it[key])
  const faults = (key: 'pageFaults' | 'majorPageFaults') => ({ own: 0, all: sum(memories, it => it[key].all) })
  const cpu = (key: keyof CpuUse) => sum(cpus, it => it[key])
  return {
    cpu: cpus.length === 0 ? undefined : { usageNs: cpu('usageNs'), userNs: cpu('userNs'), systemNs: cpu('systemNs') },
    memory:
      memories.length === 0
        ? undefined
        : {
            usageBytes: bytes('usageBytes'),
            workingSetBytes: bytes('workingSetBytes'),
            rssBytes: bytes('rssBytes'),
            cacheBytes: bytes('cacheBytes'),
            mappedFileBytes: bytes('mappedFileBytes'),
            swapBytes: bytes('swapBytes'),
            activeFileBytes: bytes('activeFileBytes'),
            inactiveFileBytes: bytes('inactiveFileBytes'),
            pageFaults: faults('pageFaults'),
            majorPageFaults: faults('majorPageFaults'),
            limitBytes: undefined,
            swapLimitBytes: undefined,
          },
    psi: noPsi,
  }
}

// A runtime that does not answer must not keep the figures of everything else away.
const runtimePatienceMs = 2000

export const createSampler = ({ reader, host, pods, parentOf, systemCgroups, cri, clock }: SamplerDeps): Sampler => {
  const rates = createRates()

  const measure = (key: string, usage: CgroupUsage): Measured | undefined => {
    if (usage.cpu === undefined && usage.memory === undefined) return undefined
    const nanoCores = usage.cpu && rates.take(key, clock.monotonic(), usage.cpu.usageNs)
    return { ...usage, at: clock.now(), nanoCores }
  }

  const askRuntime = async (places: readonly PodPlace[]): Promise<ReadonlyMap<string, CriStats>> => {
    if (places.every(({ containers }) => containers.every(it => it.path !== undefined))) return new Map()
    const found = await cri.listContainerStats({}, { timeoutMs: runtimePatienceMs }).catch(() => [])
    return new Map(found.map(it => [it.attributes.id, it]))
  }

  const sampleContainer = (container: RunningContainer, told: CriStats | undefined): ContainerSample => {
    const { path, id } = container
    const usage = path === undefined ? told && fromRuntime(told) : reader.usage(path)
    return { ...container, use: usage && measure(id, usage) }
  }

  const samplePod = (place: PodPlace, told: ReadonlyMap<string, CriStats>): PodSample => {
    const containers = place.containers.map(it => sampleContainer(it, told.get(it.id)))
    const usage = place.path === undefined ? together(present(containers.map(it => it.use))) : reader.usage(place.path)
    return { ...place, containers, use: usage && measure(`pod ${place.pod.metadata.uid}`, usage) }
  }

  const sample = async (): Promise<NodeSample> => {
    const slices = createSlices(clock)
    const began = clock.monotonic()
    const at = clock.now()
    const root = host.complete(reader.usage('/'))
    const node = measure('/', root) ?? { ...root, at, nanoCores: undefined }
    const system = Object.entries(systemCgroups).flatMap(([name, path]) => {
      const use = path === undefined ? undefined : measure(`system ${name}`, reader.usage(path))
      return use === undefined ? [] : [{ name, use }]
    })
    const places = podPlaces(pods(), reader, parentOf)
    const told = await askRuntime(places)
    const sampled: PodSample[] = []
    for (const place of places) {
      sampled.push(samplePod(place, told))
      await slices.pause()
    }
    rates.prune(began)
    return { at, node, system, pods: sampled }
  }

  let running: Promise<NodeSample> | undefined
  return {
    // two that ask at one time get one answer
    sample: () => {
      running ??= sample().finally(() => {
        running = undefined
      })
      return running
    },
  }
}
