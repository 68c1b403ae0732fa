// What pods keep on disks: writable layers, logs, volumes, and the file systems that these are on. Sizes of folders are slow
// figures (slow.ts): a minute old at most, and absent until they are known. Reads only.
// Follows k8s.io: Local ephemeral storage (what counts as a pod's own).
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Cri } from '../../api/cri/cri.ts'
import type { FilesystemUsage, ImageFsInfoResponse } from '../../api/cri/stats.ts'
import { namespaceOf } from '../../api/pod.ts'
import type { Pod, Volume } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import { podLogFolder } from '../labels.ts'
import { rfc3339 } from '../status.ts'
import { claimOf } from '../volumes/claims.ts'
import { hostsFile, podDir, volumeDir } from '../volumes/paths.ts'
import { diskUsage } from './disk-usage.ts'
import type { SlowFigures } from './slow.ts'
import { isOnDisk, pluginOf } from './volume-kinds.ts'
import type { FsStats, VolumeStats } from './wire.ts'

export interface NodeStorage {
  readonly rootFs: FsStats | undefined
  readonly imageFs: FsStats | undefined
  readonly containerFs: FsStats | undefined
}

export interface ContainerStorage {
  readonly rootfs: FsStats | undefined
  readonly logs: FsStats | undefined
}

export interface PodStorage {
  readonly containers: ReadonlyMap<string, ContainerStorage>
  readonly volumes: readonly VolumeStats[]
  readonly ephemeral: FsStats | undefined
}

export interface Storage {
  node(): Promise<NodeStorage>
  /** Bytes that each container has written into its own layer, by its id. */
  writableLayers(): Promise<ReadonlyMap<string, FilesystemUsage>>
  /** @param containers the running ones, by name, with their ids */
  pod(pod: Pod, containers: ReadonlyMap<string, string>, node: NodeStorage): Promise<PodStorage>
}

export interface StorageDeps {
  readonly rootDir: string
  readonly podLogsDir: string
  readonly cri: Pick<Cri, 'imageFsInfo' | 'listContainerStats'>
  /** Of folders, and of the runtime: one that has to walk a large folder must not keep the other waiting. */
  readonly folders: SlowFigures
  readonly runtimeFigures: SlowFigures
  readonly clock: Clock
  /** Volumes.claimFolder; a server's file system is not asked for its size: it may not answer. */
  readonly claimFolder?: (pod: Pod, volume: string) => string | undefined
}

type Size = Pick<FsStats, 'usedBytes' | 'inodesUsed'>

const add = (sizes: readonly (Size | undefined)[]): Size => {
  const total = (of: (size: Size) => number | undefined) => sizes.reduce((all, it) => all + ((it && of(it)) ?? 0), 0)
  return { usedBytes: total(it => it.usedBytes), inodesUsed: total(it => it.inodesUsed) }
}

/** The same file system with another use of it. */
const withSize = (fs: FsStats | undefined, size: Size | undefined): FsStats | undefined => {
  if (fs === undefined || size === undefined) return undefined
  const { usedBytes: _used, inodesUsed: _inodes, ...rest } = fs
  return { ...rest, ...size }
}

/** The file system that holds a folder; undefined when there is no such folder. */
const fileSystemOf = async (folder: string, clock: Clock): Promise<FsStats | undefined> => {
  const found = await statfs(folder).catch(() => undefined)
  if (found === undefined) return undefined
  const { bsize, blocks, bfree, bavail, files, ffree } = found
  return {
    time: rfc3339(clock.now()),
    availableBytes: bavail * bsize,
    capacityBytes: blocks * bsize,
    usedBytes: (blocks - bfree) * bsize,
    inodesFree: ffree,
    inodes: files,
    inodesUsed: files - ffree,
  }
}

export const createStorage = ({
  rootDir,
  podLogsDir,
  cri,
  folders,
  runtimeFigures,
  clock,
  claimFolder,
}: StorageDeps): Storage => {
  const fileSystem = (folder: string) => fileSystemOf(folder, clock)

  const sizeOf = async (folder: string): Promise<Size | undefined> => {
    const found = await folders.get(folder, () => diskUsage(folder))
    return found && { usedBytes: found.bytes, inodesUsed: found.inodes }
  }

  const runtimeFs = async (usages: readonly FilesystemUsage[] | undefined): Promise<FsStats | undefined> => {
    const [usage] = usages ?? []
    const mountpoint = usage?.fsId?.mountpoint
    return usage === undefined || mountpoint === undefined ? undefined : withSize(await fileSystem(mountpoint), toSize(usage))
  }

  const writableLayers = async (): Promise<ReadonlyMap<string, FilesystemUsage>> => {
    const found = await runtimeFigures.get('writable layers', () => cri.listContainerStats())
    return new Map(
      (found ?? []).flatMap(it => (it.writableLayer === null ? [] : [[it.attributes.id, it.writableLayer] as const])),
    )
  }

  /** Of what is behind a claim: its file system, whoever else uses it. */
  const claimStats = async (pod: Pod, volume: Volume): Promise<VolumeStats | undefined> => {
    const claim = claimOf(pod, volume)
    const folder = claimFolder?.(pod, volume.name)
    const fs = folder === undefined ? undefined : await fileSystem(folder)
    return fs && claim && { ...fs, name: volume.name, pvcRef: { name: claim.claimName, namespace: namespaceOf(pod) } }
  }

  const volumeStats = async (pod: Pod, volume: Volume): Promise<VolumeStats | undefined> => {
    const plugin = pluginOf(volume)
    if (plugin === undefined) return claimStats(pod, volume)
    const folder = volumeDir(podDir(rootDir, pod.metadata.uid ?? ''), plugin, volume.name)
    const [size, fs] = await Promise.all([sizeOf(folder), fileSystem(folder)])
    const stats = withSize(fs, size)
    return stats && { ...stats, name: volume.name }
  }

  return {
    node: async () => {
      const info = await cri.imageFsInfo({ timeoutMs: 2000 }).catch((): Partial<ImageFsInfoResponse> => ({}))
      const [rootFs, imageFs, containerFs] = await Promise.all([
        fileSystem(rootDir),
        runtimeFs(info.imageFilesystems),
        runtimeFs(info.containerFilesystems),
      ])
      // runtimes before CRI 1.29 keep both on one file system and tell of one
      return { rootFs, imageFs, containerFs: containerFs ?? imageFs }
    },
    writableLayers,
    pod: async (pod, containers, node) => {
      const layers = await writableLayers()
      const logFolder = join(podLogsDir, podLogFolder(pod))
      const ofContainer = async ([name, id]: readonly [string, string]): Promise<readonly [string, ContainerStorage]> => {
        const layer = layers.get(id)
        const logs = withSize(node.rootFs, await sizeOf(join(logFolder, name)))
        return [name, { rootfs: withSize(node.containerFs, layer && toSize(layer)), logs }]
      }
      const [found, volumes, hosts] = await Promise.all([
        Promise.all([...containers].map(ofContainer)),
        Promise.all((pod.spec.volumes ?? []).map(async volume => ({ volume, stats: await volumeStats(pod, volume) }))),
        sizeOf(hostsFile(podDir(rootDir, pod.metadata.uid ?? ''))),
      ])
      const own = volumes.filter(({ volume }) => isOnDisk(volume)).map(it => it.stats)
      const sizes = [...found.flatMap(([, it]) => [it.rootfs, it.logs]), ...own, hosts]
      return {
        containers: new Map(found),
        volumes: volumes.flatMap(({ stats }) => stats ?? []),
        ephemeral: withSize(node.rootFs, add(sizes)),
      }
    },
  }
}

const toSize = ({ usedBytes, inodesUsed }: FilesystemUsage): Size => ({
  ...(usedBytes !== null && { usedBytes: usedBytes.value }),
  ...(inodesUsed !== null && { inodesUsed: inodesUsed.value }),
})
