// What a cgroup has used, in one shape for version 1 and 2: processor, memory, swap, and how long it was stalled. Pure: the texts
// of its files come in, cgroup-read.ts reads them.
// Follows the kernel's cgroup-v1, cgroup-v2 and PSI documents; figures are counted as cAdvisor counts them.

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

/** A file that holds one number; undefined where it is not there or says `max`. */
export const figure = (text: string | undefined): number | undefined => {
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

/** A limit of version 1, which says "no limit" with the largest multiple of a page. */
export const limited = (bytes: number | undefined): number | undefined =>
  bytes !== undefined && bytes < 2 ** 62 ? bytes : undefined

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

const noPsi: CgroupUsage['psi'] = { cpu: undefined, memory: undefined, io: undefined }

/** The use of a cgroup by its files. */
export const toCgroupUsage = (version: 1 | 2, read: ReadCgroupFile): CgroupUsage => {
  // version 1 measures pressure for the whole machine only
  if (version === 1) return { ...toV1(read), psi: noPsi }
  const psi = (controller: string) => toPsi(read(controller, `${controller}.pressure`))
  return { ...toV2(read), psi: { cpu: psi('cpu'), memory: psi('memory'), io: psi('io') } }
}
