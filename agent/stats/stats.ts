// Figures of this node as others read them: /stats/summary, /metrics/resource and /metrics/cadvisor. Owns when to look: at a
// request, and every ten seconds only while somebody asks, so that a node nobody watches spends nothing.
import { readFileSync } from 'node:fs'
import type { Cri } from '../../api/cri/cri.ts'
import type { Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import { toCgroupLayout } from '../../host/cgroup-layout.ts'
import { type CgroupDriver, cgroupPath, toCgroupName } from '../../host/cgroup-name.ts'
import { type CgroupReader, createCgroupReader } from '../../host/cgroup-read.ts'
import type { Clock, Timer } from '../../host/clock.ts'
import { toExposition } from '../../host/exposition.ts'
import type { Machine } from '../../host/machine.ts'
import { readNetwork } from '../../host/net-dev.ts'
import { createCadvisor } from './cadvisor.ts'
import { createHostFigures, type HostFigures, ownCgroup } from './host-figures.ts'
import { toResourceFamilies } from './resource-metrics.ts'
import { createSampler, lacksRates, type NodeSample, type PodSample } from './sample.ts'
import { createSlowFigures } from './slow.ts'
import { createStorage, type NodeStorage, type Storage } from './storage.ts'
import { type PodExtras, toSummary } from './summary.ts'
import type { Summary } from './wire.ts'

export interface StatsDeps {
  readonly nodeName: string
  /** KubeletConfiguration's rootDir (or --root-dir) and podLogsDir. */
  readonly rootDir: string
  readonly podLogsDir: string
  /** KubeletConfiguration's cgroupRoot, and the driver that is in use. */
  readonly cgroupRoot: string
  readonly cgroupDriver: CgroupDriver
  /** KubeletConfiguration's kubeletCgroups and the like, by path; that of this process when `kubelet` is not given. */
  readonly systemCgroups?: { readonly kubelet?: string; readonly runtime?: string; readonly misc?: string }
  readonly version: string
  readonly machine: Machine
  /** Pods with their live status. */
  readonly pods: Pick<Source<Pod>, 'list'>
  /** PodCgroups.parentOf. */
  readonly parentOf: (pod: Pod) => string
  readonly cri: Pick<Cri, 'listContainerStats' | 'imageFsInfo' | 'listContainers' | 'listPodSandbox' | 'status'>
  readonly clock: Clock
  /** Volumes.claimFolder. */
  readonly claimFolder?: (pod: Pod, volume: string) => string | undefined
  /** In place of this machine's. */
  readonly reader?: CgroupReader
  readonly host?: HostFigures
}

export interface Stats {
  /** @param only `only_cpu_and_memory`: neither disks nor networks are looked at, and the runtime is not asked */
  summary(only?: boolean): Promise<Summary>
  /** What is used now, unformatted; for whoever decides by it (eviction). */
  sample(): Promise<NodeSample>
  resourceMetrics(): Promise<string>
  cadvisorMetrics(): Promise<string>
  /** Ends the looking. */
  close(): void
}

const backgroundMs = 10_000
/** How long after a request the next one is expected. */
const watchedMs = 60_000
/** Between two readings for a first rate: long enough to tell something, short enough to wait for. */
const firstSpanMs = 200

/** A pod whose uid no cgroup can be named after has none. */
const safely =
  (parentOf: (pod: Pod) => string) =>
  (pod: Pod): string => {
    try {
      return parentOf(pod)
    } catch {
      return ''
    }
  }

const systemCgroupsOf = ({ systemCgroups, cgroupRoot, cgroupDriver }: StatsDeps) => {
  const podsCgroup = cgroupPath([...toCgroupName(cgroupRoot), 'kubepods'], cgroupDriver)
  const kubelet = systemCgroups?.kubelet ?? ownCgroup(readFileSync('/proc/self/cgroup', 'utf8'))
  return { podsCgroup, systemCgroups: { ...systemCgroups, kubelet, pods: podsCgroup } }
}

/** Samples with rates: the first one waits a moment for its second reading, those that follow soon find an earlier one. */
const createRatedSampling = (sample: () => Promise<NodeSample>, clock: Clock) => {
  let timer: Timer | undefined
  let askedAt = Number.NEGATIVE_INFINITY
  const tick = () => {
    timer = undefined
    if (clock.monotonic() - askedAt > watchedMs) return
    timer = clock.after(backgroundMs, tick)
    sample().catch(() => undefined)
  }
  return {
    sample: async (): Promise<NodeSample> => {
      askedAt = clock.monotonic()
      timer ??= clock.after(backgroundMs, tick)
      const first = await sample()
      if (!lacksRates(first)) return first
      await clock.sleep(firstSpanMs)
      return sample()
    },
    close: () => timer?.cancel(),
  }
}

/** What the summary tells of a pod beside processor and memory. */
const createExtras =
  (reader: CgroupReader, storage: Storage) =>
  async (it: PodSample, node: NodeStorage): Promise<PodExtras> => {
    const ids = new Map(it.containers.map(({ name, id }) => [name, id]))
    const groups = [it.sandboxPath, ...it.containers.map(container => container.path)].filter(path => path !== undefined)
    const processes = groups.flatMap(path => reader.processes(path))
    // every process of the pod is in its network; the sandbox's, which is the first, lives as long as the pod
    const [pid] = processes
    return {
      storage: await storage.pod(it.pod, ids, node),
      network: pid === undefined ? undefined : readNetwork(pid),
      processes: processes.length,
    }
  }

export const createStats = (deps: StatsDeps): Stats => {
  const { nodeName, rootDir, podLogsDir, cri, clock, machine } = deps
  const reader = deps.reader ?? createCgroupReader(toCgroupLayout(readFileSync('/proc/self/mountinfo', 'utf8')))
  const host = deps.host ?? createHostFigures(reader.version)
  const parentOf = safely(deps.parentOf)
  const pods = () => deps.pods.list()
  const { podsCgroup, systemCgroups } = systemCgroupsOf(deps)
  const folders = createSlowFigures({ clock })
  const runtimeFigures = createSlowFigures({ clock })
  const storage = createStorage({
    ...{ rootDir, podLogsDir, cri, folders, runtimeFigures, clock },
    ...(deps.claimFolder && { claimFolder: deps.claimFolder }),
  })
  const { sample } = createSampler({ reader, host, pods, parentOf, systemCgroups, cri, clock })
  const cadvisor = createCadvisor({
    ...{ reader, host, machine, pods, parentOf, podsCgroup, systemCgroups, cri, storage, clock },
    version: deps.version,
    sandboxImage: () => runtimeFigures.get('sandbox image', () => readSandboxImage(cri)).then(it => it ?? ''),
  })

  const rated = createRatedSampling(sample, clock)
  const extrasOf = createExtras(reader, storage)

  const summary = async (only = false): Promise<Summary> => {
    const found = await rated.sample()
    const common = { nodeName, bootedAt: host.bootedAt, sample: found }
    if (only) return toSummary(common)
    const nodeStorage = await storage.node()
    const extras = await Promise.all(
      found.pods.map(async it => [it.pod.metadata.uid ?? '', await extrasOf(it, nodeStorage)] as const),
    )
    folders.prune()
    const node = {
      storage: nodeStorage,
      network: readNetwork('self'),
      processes: host.processes(),
      processLimit: machine.pidLimit,
    }
    return toSummary({ ...common, node, pods: new Map(extras) })
  }

  return {
    summary,
    sample: rated.sample,
    resourceMetrics: async () => toExposition(toResourceFamilies(await sample().catch(() => undefined))),
    cadvisorMetrics: async () => toExposition(await cadvisor.families()),
    close: rated.close,
  }
}

const readSandboxImage = async (cri: Pick<Cri, 'status'>): Promise<string> => {
  const { info } = await cri.status(true, { timeoutMs: 2000 })
  const config = JSON.parse(info['config'] ?? '{}') as {
    sandboxImage?: string
    pinnedImages?: { sandbox?: string }
  }
  return config.sandboxImage ?? config.pinnedImages?.sandbox ?? ''
}
