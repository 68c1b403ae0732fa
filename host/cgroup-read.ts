// Reads the cgroups of this machine: what they use, how they are limited, who is in them. Changes nothing.
// Synchronously: the kernel answers from memory in microseconds, and a hop to the thread pool and back for each of some hundred
// small files would cost several times what reading them does. Whoever reads many cgroups pauses between them.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type CgroupDetail, toCgroupDetail } from './cgroup-detail.ts'
import type { CgroupLayout } from './cgroup-layout.ts'
import { type CgroupUsage, type ReadCgroupFile, toCgroupUsage } from './cgroup-usage.ts'

/** Cgroups of this machine by their path below the mount points, such as `/kubepods/burstable`. */
export interface CgroupReader {
  readonly version: 1 | 2
  /** Both undefined in it when the cgroup is not there. */
  usage(path: string): CgroupUsage
  detail(path: string): CgroupDetail
  /** The names of the cgroups directly below; none when it is not there. */
  children(path: string): readonly string[]
  /** The processes of the cgroup itself, without those below it. */
  processes(path: string): readonly number[]
  /** Since when it is there, in milliseconds; undefined when it is not. */
  madeAt(path: string): number | undefined
}

const attempt = <T>(read: () => T): T | undefined => {
  try {
    return read()
  } catch {
    // a cgroup may end between any two looks at it: what is not there has no figures
    return undefined
  }
}

export const createCgroupReader = (layout: CgroupLayout): CgroupReader => {
  const mountOf = (controller: string): string | undefined =>
    (layout.version === 2 ? layout.trees[0] : layout.trees.find(it => it.controllers.includes(controller)))?.mountPoint
  const mounts = new Map(['cpu', 'cpuacct', 'memory', 'pids', 'blkio', 'io'].map(it => [it, mountOf(it)]))
  const readerOf =
    (path: string): ReadCgroupFile =>
    (controller, file) => {
      const mount = mounts.get(controller)
      return mount === undefined ? undefined : attempt(() => readFileSync(join(mount, path, file), 'utf8'))
    }
  // where the runtimes put every container, whichever controllers they use
  const tree = mounts.get('memory') ?? mounts.get('cpu') ?? layout.trees[0]?.mountPoint ?? '/sys/fs/cgroup'
  return {
    version: layout.version,
    usage: path => toCgroupUsage(layout.version, readerOf(path)),
    detail: path => toCgroupDetail(layout.version, readerOf(path)),
    children: path => {
      const found = attempt(() => readdirSync(join(tree, path), { withFileTypes: true }))
      return (found ?? []).filter(it => it.isDirectory()).map(it => it.name)
    },
    processes: path => {
      const text = attempt(() => readFileSync(join(tree, path, 'cgroup.procs'), 'utf8'))
      return (text ?? '').split('\n').filter(Boolean).map(Number)
    },
    madeAt: path => attempt(() => statSync(join(tree, path)).mtimeMs),
  }
}

/** Undefined where there is no limit, or no such controller. */
export interface CgroupFigures {
  readonly cpuShares: number | undefined
  readonly cpuQuotaUs: number | undefined
  readonly cpuPeriodUs: number | undefined
  readonly memoryBytes: number | undefined
  readonly pidsMax: number | undefined
  readonly cpuUsageNs: number | undefined
  readonly memoryUsageBytes: number | undefined
  /** Use without page cache that can go at once; what the kubelet's eviction counts. */
  readonly memoryWorkingSetBytes: number | undefined
  readonly pids: number | undefined
  /** How often the kernel killed something in it for lack of memory. */
  readonly oomKills: number | undefined
}

/** Limits and use of the cgroup at `path` together; all undefined when it is not there. */
export const readFigures = (reader: Pick<CgroupReader, 'usage' | 'detail'>, path: string): CgroupFigures => {
  const { cpu, memory } = reader.usage(path)
  const { cpuShares, cpuQuotaUs, cpuPeriodUs, threads, threadsMax, oomKills } = reader.detail(path)
  return {
    ...{ cpuShares, cpuQuotaUs, cpuPeriodUs, oomKills },
    memoryBytes: memory?.limitBytes,
    pidsMax: threadsMax,
    cpuUsageNs: cpu?.usageNs,
    memoryUsageBytes: memory?.usageBytes,
    memoryWorkingSetBytes: memory?.workingSetBytes,
    pids: threads,
  }
}
