// How a cgroup is limited and what it went through: throttling, refusals, kills, blocks to and from devices; in one shape for
// version 1 and 2. Pure: the texts of its files come in.
// Follows the kernel's cgroup-v1 and cgroup-v2 documents; figures are counted as cAdvisor counts them.
import { fromCpuWeight } from './cgroup-files.ts'
import { figure, limited, type ReadCgroupFile, toFields } from './cgroup-usage.ts'

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
  readonly oomKills: number | undefined
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
    oomKills: toFields(read('memory', 'memory.oom_control')).get('oom_kill'),
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
    oomKills: events.get('oom_kill'),
    threads: figure(read('pids', 'pids.current')),
    threadsMax: figure(read('pids', 'pids.max')),
    devices: toV2Devices(read('io', 'io.stat')),
  }
}

/** What only monitoring asks, by the cgroup's files. */
export const toCgroupDetail = (version: 1 | 2, read: ReadCgroupFile): CgroupDetail =>
  version === 1 ? toV1Detail(read) : toV2Detail(read)
