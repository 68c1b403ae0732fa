// Limits and use of a cgroup as the kernel shows them, in one shape for version 1 and 2. Reads only.
// Follows the kernel's cgroup-v1 and cgroup-v2 documents.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fromCpuWeight } from './cgroup-files.ts'
import type { CgroupLayout } from './cgroup-layout.ts'

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

// version 1 says "no limit" with the largest multiple of a page
const unlimitedV1 = 2 ** 62

const toFigure = (text: string | undefined): number | undefined => {
  if (text === undefined) return undefined
  const value = Number(text.trim())
  return text.trim() === '' || Number.isNaN(value) ? undefined : value
}

/** One line of a file of `key value` lines. */
const field = (text: string | undefined, key: string): number | undefined =>
  toFigure(
    text
      ?.split('\n')
      .find(line => line.startsWith(`${key} `))
      ?.slice(key.length + 1),
  )

const workingSet = (usage: number | undefined, inactive: number | undefined): number | undefined =>
  usage === undefined ? undefined : Math.max(usage - (inactive ?? 0), 0)

type Read = (controller: string, file: string) => Promise<string | undefined>

const readV1 = async (read: Read): Promise<CgroupFigures> => {
  const [shares, quota, period, limit, pidsMax, cpu, memory, stat, pids, oom] = await Promise.all([
    read('cpu', 'cpu.shares'),
    read('cpu', 'cpu.cfs_quota_us'),
    read('cpu', 'cpu.cfs_period_us'),
    read('memory', 'memory.limit_in_bytes'),
    read('pids', 'pids.max'),
    read('cpuacct', 'cpuacct.usage'),
    read('memory', 'memory.usage_in_bytes'),
    read('memory', 'memory.stat'),
    read('pids', 'pids.current'),
    read('memory', 'memory.oom_control'),
  ])
  const quotaUs = toFigure(quota)
  const memoryBytes = toFigure(limit)
  return {
    cpuShares: toFigure(shares),
    cpuQuotaUs: quotaUs !== undefined && quotaUs > 0 ? quotaUs : undefined,
    cpuPeriodUs: toFigure(period),
    memoryBytes: memoryBytes !== undefined && memoryBytes < unlimitedV1 ? memoryBytes : undefined,
    pidsMax: toFigure(pidsMax),
    cpuUsageNs: toFigure(cpu),
    memoryUsageBytes: toFigure(memory),
    memoryWorkingSetBytes: workingSet(toFigure(memory), field(stat, 'total_inactive_file')),
    pids: toFigure(pids),
    oomKills: field(oom, 'oom_kill'),
  }
}

const readV2 = async (read: Read): Promise<CgroupFigures> => {
  const [weight, max, limit, pidsMax, cpu, memory, stat, pids, events] = await Promise.all([
    read('cpu', 'cpu.weight'),
    read('cpu', 'cpu.max'),
    read('memory', 'memory.max'),
    read('pids', 'pids.max'),
    read('cpu', 'cpu.stat'),
    read('memory', 'memory.current'),
    read('memory', 'memory.stat'),
    read('pids', 'pids.current'),
    read('memory', 'memory.events'),
  ])
  const [quota, period] = max?.trim().split(' ') ?? []
  const cpuWeight = toFigure(weight)
  const cpuUsageUs = field(cpu, 'usage_usec')
  return {
    cpuShares: cpuWeight === undefined ? undefined : fromCpuWeight(cpuWeight),
    cpuQuotaUs: toFigure(quota),
    cpuPeriodUs: toFigure(period),
    memoryBytes: toFigure(limit),
    pidsMax: toFigure(pidsMax),
    cpuUsageNs: cpuUsageUs === undefined ? undefined : cpuUsageUs * 1000,
    memoryUsageBytes: toFigure(memory),
    memoryWorkingSetBytes: workingSet(toFigure(memory), field(stat, 'inactive_file')),
    pids: toFigure(pids),
    oomKills: field(events, 'oom_kill'),
  }
}

/** Figures of the cgroup at `path` below the mount points; all undefined when it is not there. */
export const readFigures = (layout: CgroupLayout, path: string): Promise<CgroupFigures> => {
  const read: Read = async (controller, file) => {
    const tree = layout.version === 2 ? layout.trees[0] : layout.trees.find(it => it.controllers.includes(controller))
    if (tree === undefined) return undefined
    return readFile(join(tree.mountPoint, path, file), 'utf8').catch(() => undefined)
  }
  return layout.version === 1 ? readV1(read) : readV2(read)
}
