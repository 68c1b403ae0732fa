// What each pod uses of the thing that the node runs short of: loaded and measured only then. Memory and processes are the kernel's
// figures; files are walked, with more patience than for statistics, since a pod's life depends on them. Reads only.
import type { Cri } from '../../api/cri/cri.ts'
import type { Pod } from '../../api/types.ts'
import type { CgroupReader } from '../../host/cgroup-read.ts'
import type { Clock } from '../../host/clock.ts'
import type { HostFigures } from '../stats/host-figures.ts'
import { createSampler, type PodSample } from '../stats/sample.ts'
import { createSlowFigures } from '../stats/slow.ts'
import { createStorage, type NodeStorage, type PodStorage, type Storage } from '../stats/storage.ts'
import { isOnDisk } from '../stats/volume-kinds.ts'
import type { FsStats } from '../stats/wire.ts'
import type { ContainerUse, Files, PodUse, Uses } from './rank.ts'
import type { Starved } from './thresholds.ts'

export interface PodUsesDeps {
  /** Pods with their live status. */
  readonly pods: () => readonly Pod[]
  readonly parentOf: (pod: Pod) => string
  readonly reader: CgroupReader
  readonly host: Pick<HostFigures, 'complete'>
  readonly rootDir: string
  readonly podLogsDir: string
  readonly cri: Pick<Cri, 'imageFsInfo' | 'listContainerStats'>
  readonly clock: Clock
}

const walkingMs = 30_000

const toFiles = (stats: FsStats | undefined): Files | undefined =>
  stats && { bytes: stats.usedBytes ?? 0, inodes: stats.inodesUsed ?? 0 }

/** Volumes that are the pod's own and on a disk of the node. */
const ownVolumes = (pod: Pod, { volumes }: PodStorage): Files => {
  const own = new Set((pod.spec.volumes ?? []).filter(isOnDisk).map(it => it.name))
  const sum = { bytes: 0, inodes: 0 }
  for (const stats of volumes.filter(it => own.has(it.name))) {
    sum.bytes += stats.usedBytes ?? 0
    sum.inodes += stats.inodesUsed ?? 0
  }
  return sum
}

const withFiles = async ({ pod, containers }: PodSample, storage: Storage, node: NodeStorage): Promise<PodUse> => {
  const found = await storage.pod(pod, new Map(containers.map(it => [it.name, it.id])), node)
  const uses = [...found.containers].map(([name, { rootfs, logs }]): [string, ContainerUse] => [
    name,
    { layer: toFiles(rootfs), logs: toFiles(logs) },
  ])
  return { containers: new Map(uses), volumes: ownVolumes(pod, found) }
}

const withMemory = ({ containers, use }: PodSample): PodUse => ({
  memoryBytes: use?.memory?.workingSetBytes,
  containers: new Map(containers.map(it => [it.name, { memoryBytes: it.use?.memory?.workingSetBytes }])),
})

const withProcesses = ({ containers, sandboxPath }: PodSample, reader: Pick<CgroupReader, 'processes'>): PodUse => {
  const groups = [sandboxPath, ...containers.map(it => it.path)].filter(path => path !== undefined)
  return { processes: groups.reduce((sum, path) => sum + reader.processes(path).length, 0), containers: new Map() }
}

/** What the pods that run something use now. */
export const measurePods = async (deps: PodUsesDeps, starved: Starved): Promise<Uses> => {
  const { reader, cri, clock } = deps
  const sample = await createSampler({ ...deps, systemCgroups: {} }).sample()
  const measure = async (): Promise<(pod: PodSample) => PodUse | Promise<PodUse>> => {
    if (starved === 'memory') return withMemory
    if (starved === 'pids') return pod => withProcesses(pod, reader)
    const figures = () => createSlowFigures({ clock, patienceMs: walkingMs })
    const storage = createStorage({ ...deps, cri, folders: figures(), runtimeFigures: figures(), clock })
    const node = await storage.node()
    return pod => withFiles(pod, storage, node)
  }
  const of = await measure()
  const uses = new Map<string, PodUse>()
  for (const pod of sample.pods) uses.set(pod.pod.metadata.uid ?? '', await of(pod))
  return uses
}
