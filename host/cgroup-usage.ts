// What a cgroup has used, in one shape for version 1 and 2: processor, memory, swap, tasks, blocks, and how long it was stalled.
// Reads only, and synchronously: the kernel answers from memory in microseconds, and a hop to the thread pool and back for each
// of some hundred small files would cost several times what reading them does. Whoever reads many cgroups pauses between them.
// Follows the kernel's cgroup-v1, cgroup-v2 and PSI documents; figures are counted as cAdvisor counts them.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fromCpuWeight } from './cgroup-files.ts'
import type { CgroupLayout } from './cgroup-layout.ts'

/** The text of a controller's file; undefined when it is not there. */
export type ReadCgroupFile = (controller: string, file: string) => string | undefined

export interface CpuUse {
  readonly usageNs: number
  readonly userNs: number
  readonly systemNs: number
}

export interface MemoryUse {
  readonly usageBytes: number
  /** Use without page cache that can go at once; what eviction counts. */
  readonly workingSetBytes: number
  readonly rssBytes: number
  readonly cacheBytes: number
  readonly mappedFileBytes: number
  readonly swapBytes: number
  readonly activeFileBytes: number
  readonly inactiveFileBytes: number
  /** Of the cgroup's own processes, and of those in all below it. */
  readonly pageFaults: { readonly own: number; readonly all: number }
  readonly majorPageFaults: { readonly own: number; readonly all: number }
  /** Undefined where there is none. */
  readonly limitBytes: number | undefined
  /** What may be swapped out; undefined where there is no limit. */
  readonly swapLimitBytes: number | undefined
}

/** One line of a pressure file; the total in microseconds, the averages in percent. */
export interface Pressure {
  readonly total: number
  readonly avg10: number
  readonly avg60: number
  readonly avg300: number
}

export interface Psi {
  readonly full: Pressure
  readonly some: Pressure
}

export interface CgroupUsage {
  readonly cpu: CpuUse | undefined
  readonly memory: MemoryUse | undefined
  readonly psi: { readonly cpu: Psi | undefined; readonly memory: Psi | undefined; readonly io: Psi | undefined }
}

const figure = (text: string | undefined): number | undefined => {
  const value = Number(text?.trim() || Number.NaN)
  return Number.isNaN(value) ? undefined : value
}

/** A file of `key value` lines. */
export const toFields = (text: string | undefined): ReadonlyMap<string, number> => {
  const fields = new Map<string, number>()
  for (const line of text?.split('\n') ?? []) {
    const space = line.indexOf(' ')
    if (space > 0) fields.set(line.slice(0, space), Number(line.slice(space + 1)))
  }
  return fields
}

/** A pressure file of a cgroup or of /proc/pressure; undefined where the kernel measures none. */
export const toPsi = (text: string | undefined): Psi | undefined => {
  const line = (kind: string): Pressure | undefined => {
    const found = new RegExp(`^${kind} avg10=(\\S+) avg60=(\\S+) avg300=(\\S+) total=(\\d+)`, 'm').exec(text ?? '')
    if (found === null) return undefined
    const [avg10 = 0, avg60 = 0, avg300 = 0, total = 0] = found.slice(1).map(Number)
    return { total, avg10, avg60, avg300 }
  }
  const some = line('some')
  // kernels before 5.13 have no full line for the processor
  return some && { some, full: line('full') ?? { total: 0, avg10: 0, avg60: 0, avg300: 0 } }
}

// version 1 says "no limit" with the largest multiple of a page
const limited = (bytes: number | undefined): number | undefined => (bytes !== undefined && bytes < 2 ** 62 ? bytes : undefined)

const toV1 = (read: ReadCgroupFile): Omit<CgroupUsage, 'psi'> => {
  const usageNs = figure(read('cpuacct', 'cpuacct.usage'))
  const usageBytes = figure(read('memory', 'memory.usage_in_bytes'))
  const stat = toFields(usageBytes === undefined ? undefined : read('memory', 'memory.stat'))
  const of = (key: string) => stat.get(key) ?? 0
  const limitBytes = limited(figure(read('memory', 'memory.limit_in_bytes')))
  const memswBytes = limited(figure(read('memory', 'memory.memsw.limit_in_bytes')))
  return {
    cpu:
      usageNs === undefined
        ? undefined
        : {
            usageNs,
            userNs: figure(read('cpuacct', 'cpuacct.usage_user')) ?? 0,
            systemNs: figure(read('cpuacct', 'cpuacct.usage_sys')) ?? 0,
          },
    memory:
      usageBytes === undefined
        ? undefined
        : {
            usageBytes,
            workingSetBytes: Math.max(usageBytes - of('total_inactive_file'), 0),
            rssBytes: of('total_rss'),
            cacheBytes: of('total_cache'),
            mappedFileBytes: of('total_mapped_file'),
            swapBytes: of('total_swap'),
            activeFileBytes: of('total_active_file'),
            inactiveFileBytes: of('total_inactive_file'),
            pageFaults: { own: of('pgfault'), all: of('total_pgfault') },
            majorPageFaults: { own: of('pgmajfault'), all: of('total_pgmajfault') },
            limitBytes,
            // the file limits memory and swap together
            swapLimitBytes: memswBytes === undefined ? undefined : Math.max(memswBytes - (limitBytes ?? 0), 0),
          },
  }
}

const toV2 = (read: ReadCgroupFile): Omit<CgroupUsage, 'psi'> => {
  const cpu = toFields(read('cpu', 'cpu.stat'))
  const usageUs = cpu.get('usage_usec')
  const stat = toFields(read('memory', 'memory.stat'))
  const of = (key: string) => stat.get(key) ?? 0
  // the root cgroup has no such file: its processes' share is what is mapped and cached
  const usageBytes = figure(read('memory', 'memory.current')) ?? of('anon') + of('file') + of('kernel')
  return {
    cpu:
      usageUs === undefined
        ? undefined
        : { usageNs: usageUs * 1000, userNs: (cpu.get('user_usec') ?? 0) * 1000, systemNs: (cpu.get('system_usec') ?? 0) * 1000 },
    memory:
      stat.size === 0
        ? undefined
        : {
            usageBytes,
            workingSetBytes: Math.max(usageBytes - of('inactive_file'), 0),
            rssBytes: of('anon'),
            cacheBytes: of('file'),
            mappedFileBytes: of('file_mapped'),
            swapBytes: figure(read('memory', 'memory.swap.current')) ?? 0,
            activeFileBytes: of('active_file'),
            inactiveFileBytes: of('inactive_file'),
            pageFaults: { own: of('pgfault'), all: of('pgfault') },
            majorPageFaults: { own: of('pgmajfault'), all: of('pgmajfault') },
            limitBytes: figure(read('memory', 'memory.max')),
            swapLimitBytes: figure(read('memory', 'memory.swap.max')),
          },
  }
}

/** The use of a cgroup by its files. */
export const toCgroupUsage = (version: 1 | 2, read: ReadCgroupFile): CgroupUsage => ({
  ...(version === 1 ? toV1(read) : toV2(read)),
  psi: {
    cpu: toPsi(read('cpu', 'cpu.pressure')),
    memory: toPsi(read('memory', 'memory.pressure')),
    io: toPsi(read('io', 'io.pressure')),
  },
})

/** What only monitoring asks of a cgroup. */
export interface CgroupDetail {
  readonly cpuShares: number | undefined
  readonly cpuQuotaUs: number | undefined
  readonly cpuPeriodUs: number | undefined
  readonly throttling: {
    readonly periods: number
    readonly throttledPeriods: number
    readonly throttledNs: number
    readonly burstPeriods: number
    readonly burstNs: number
  }
  readonly memoryPeakBytes: number
  readonly memoryFailures: number
  readonly memoryReservationBytes: number
  readonly kernelMemoryBytes: number
  /** Processes killed for lack of memory. */
  readonly oomKills: number
  readonly threads: number | undefined
  /** Undefined where there is no limit. */
  readonly threadsMax: number | undefined
  readonly devices: readonly DeviceUse[]
}

/** Blocks that went to and from a device, since the cgroup was made. */
export interface DeviceUse {
  /** `major:minor`. */
  readonly device: string
  readonly readBytes: number
  readonly writeBytes: number
  readonly reads: number
  readonly writes: number
}

/** `8:0 Read 4096` lines of version 1: the figures of one operation by device. */
const byDevice = (text: string | undefined, operation: string): ReadonlyMap<string, number> =>
  new Map(
    (text ?? '').split('\n').flatMap(line => {
      const [device = '', kind, value] = line.split(' ')
      return kind === operation ? [[device, Number(value)] as const] : []
    }),
  )

const toV1Devices = (read: ReadCgroupFile): readonly DeviceUse[] => {
  const bytes = read('blkio', 'blkio.throttle.io_service_bytes_recursive')
  const times = read('blkio', 'blkio.throttle.io_serviced_recursive')
  const [readBytes, writeBytes] = [byDevice(bytes, 'Read'), byDevice(bytes, 'Write')]
  const [reads, writes] = [byDevice(times, 'Read'), byDevice(times, 'Write')]
  return [...readBytes.keys()].map(device => ({
    device,
    readBytes: readBytes.get(device) ?? 0,
    writeBytes: writeBytes.get(device) ?? 0,
    reads: reads.get(device) ?? 0,
    writes: writes.get(device) ?? 0,
  }))
}

const toV2Devices = (text: string | undefined): readonly DeviceUse[] =>
  (text ?? '').split('\n').flatMap((line): DeviceUse[] => {
    const [device = '', ...pairs] = line.split(' ')
    if (pairs.length === 0) return []
    const fields = new Map(pairs.map(pair => pair.split('=') as [string, string]))
    const of = (key: string) => Number(fields.get(key) ?? 0)
    return [{ device, readBytes: of('rbytes'), writeBytes: of('wbytes'), reads: of('rios'), writes: of('wios') }]
  })

const toV1Detail = (read: ReadCgroupFile): CgroupDetail => {
  const cpu = toFields(read('cpu', 'cpu.stat'))
  const quota = figure(read('cpu', 'cpu.cfs_quota_us'))
  return {
    cpuShares: figure(read('cpu', 'cpu.shares')),
    cpuQuotaUs: quota !== undefined && quota > 0 ? quota : undefined,
    cpuPeriodUs: figure(read('cpu', 'cpu.cfs_period_us')),
    throttling: {
      periods: cpu.get('nr_periods') ?? 0,
      throttledPeriods: cpu.get('nr_throttled') ?? 0,
      throttledNs: cpu.get('throttled_time') ?? 0,
      burstPeriods: cpu.get('nr_bursts') ?? 0,
      burstNs: cpu.get('burst_time') ?? 0,
    },
    memoryPeakBytes: figure(read('memory', 'memory.max_usage_in_bytes')) ?? 0,
    memoryFailures: figure(read('memory', 'memory.failcnt')) ?? 0,
    memoryReservationBytes: limited(figure(read('memory', 'memory.soft_limit_in_bytes'))) ?? 0,
    kernelMemoryBytes: figure(read('memory', 'memory.kmem.usage_in_bytes')) ?? 0,
    oomKills: toFields(read('memory', 'memory.oom_control')).get('oom_kill') ?? 0,
    threads: figure(read('pids', 'pids.current')),
    threadsMax: figure(read('pids', 'pids.max')),
    devices: toV1Devices(read),
  }
}

const toV2Detail = (read: ReadCgroupFile): CgroupDetail => {
  const cpu = toFields(read('cpu', 'cpu.stat'))
  const events = toFields(read('memory', 'memory.events'))
  const weight = figure(read('cpu', 'cpu.weight'))
  const [quota, period] = read('cpu', 'cpu.max')?.trim().split(' ') ?? []
  return {
    cpuShares: weight === undefined ? undefined : fromCpuWeight(weight),
    cpuQuotaUs: figure(quota),
    cpuPeriodUs: figure(period),
    throttling: {
      periods: cpu.get('nr_periods') ?? 0,
      throttledPeriods: cpu.get('nr_throttled') ?? 0,
      throttledNs: (cpu.get('throttled_usec') ?? 0) * 1000,
      burstPeriods: cpu.get('nr_bursts') ?? 0,
      burstNs: (cpu.get('burst_usec') ?? 0) * 1000,
    },
    memoryPeakBytes: figure(read('memory', 'memory.peak')) ?? 0,
    memoryFailures: events.get('max') ?? 0,
    memoryReservationBytes: figure(read('memory', 'memory.low')) ?? 0,
    kernelMemoryBytes: toFields(read('memory', 'memory.stat')).get('kernel') ?? 0,
    oomKills: events.get('oom_kill') ?? 0,
    threads: figure(read('pids', 'pids.current')),
    threadsMax: figure(read('pids', 'pids.max')),
    devices: toV2Devices(read('io', 'io.stat')),
  }
}

/** What only monitoring asks, by the cgroup's files. */
export const toCgroupDetail = (version: 1 | 2, read: ReadCgroupFile): CgroupDetail =>
  version === 1 ? toV1Detail(read) : toV2Detail(read)

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
