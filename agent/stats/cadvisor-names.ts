// The metrics of /metrics/cadvisor that tell of one cgroup: a table of names and where each figure comes from. Pure.
// Names, units and extra labels are those of cAdvisor as the kubelet 1.36 serves it. Left out are those of its that are always 0
// there (load averages, states of tasks) and health, which a cgroup does not have.
import type { CgroupDetail } from '../../host/cgroup-detail.ts'
import type { CgroupUsage, Pressure } from '../../host/cgroup-usage.ts'
import type { InterfaceUse } from '../../host/net-dev.ts'
import { counter, gauge, type MetricName } from './family-set.ts'

/** What its processes hold. */
export interface ProcessFigures {
  readonly processes: number
  readonly fileDescriptors: number
  readonly sockets: number
  /** Soft limit of open files of its first process; -1 for none. */
  readonly openFilesLimit: number | undefined
}

export interface CgroupFigures {
  readonly usage: CgroupUsage
  readonly detail: CgroupDetail
  readonly processes: ProcessFigures
  readonly interfaces: readonly InterfaceUse[]
}

type Figure = number | undefined
type Row = readonly [metric: MetricName, figure: (it: CgroupFigures) => Figure]

const seconds = (ns: Figure): Figure => ns && ns / 1e9
const stalled = (psi: Pressure | undefined): Figure => psi && psi.total / 1e6

/** One value for each cgroup; undefined is left out. */
export const plainRows: readonly Row[] = [
  [counter('container_cpu_user_seconds_total', 'Processor time in user mode'), it => seconds(it.usage.cpu?.userNs)],
  [counter('container_cpu_system_seconds_total', 'Processor time in kernel mode'), it => seconds(it.usage.cpu?.systemNs)],
  [gauge('container_memory_cache', 'Page cache'), it => it.usage.memory?.cacheBytes],
  [gauge('container_memory_rss', 'Anonymous memory'), it => it.usage.memory?.rssBytes],
  [gauge('container_memory_kernel_usage', 'Kernel memory'), it => it.usage.memory && it.detail.kernelMemoryBytes],
  [gauge('container_memory_mapped_file', 'Memory mapped files'), it => it.usage.memory?.mappedFileBytes],
  [gauge('container_memory_swap', 'Swap in use'), it => it.usage.memory?.swapBytes],
  [counter('container_memory_failcnt', 'Times that the memory limit was hit'), it => it.usage.memory && it.detail.memoryFailures],
  [gauge('container_memory_usage_bytes', 'Memory in use, page cache included'), it => it.usage.memory?.usageBytes],
  [
    gauge('container_memory_max_usage_bytes', 'Most memory in use at one time'),
    it => it.usage.memory && it.detail.memoryPeakBytes,
  ],
  [gauge('container_memory_working_set_bytes', 'Working set'), it => it.usage.memory?.workingSetBytes],
  [gauge('container_memory_total_active_file_bytes', 'Active page cache'), it => it.usage.memory?.activeFileBytes],
  [gauge('container_memory_total_inactive_file_bytes', 'Inactive page cache'), it => it.usage.memory?.inactiveFileBytes],
  [counter('container_oom_events_total', 'Processes killed for lack of memory'), it => it.detail.oomKills],
  [gauge('container_processes', 'Processes'), it => it.processes.processes],
  [gauge('container_file_descriptors', 'Open file descriptors'), it => it.processes.fileDescriptors],
  [gauge('container_sockets', 'Open sockets'), it => it.processes.sockets],
  [gauge('container_threads', 'Threads'), it => it.detail.threads],
  [
    gauge('container_threads_max', 'Most threads allowed, 0 for any number'),
    it => it.detail.threads && (it.detail.threadsMax ?? 0),
  ],
  [
    counter('container_pressure_cpu_stalled_seconds_total', 'Time in which no task got a processor'),
    it => stalled(it.usage.psi.cpu?.full),
  ],
  [
    counter('container_pressure_cpu_waiting_seconds_total', 'Time in which some task waited for a processor'),
    it => stalled(it.usage.psi.cpu?.some),
  ],
  [
    counter('container_pressure_memory_stalled_seconds_total', 'Time in which all tasks waited for memory'),
    it => stalled(it.usage.psi.memory?.full),
  ],
  [
    counter('container_pressure_memory_waiting_seconds_total', 'Time in which some task waited for memory'),
    it => stalled(it.usage.psi.memory?.some),
  ],
  [
    counter('container_pressure_io_stalled_seconds_total', 'Time in which all tasks waited for a device'),
    it => stalled(it.usage.psi.io?.full),
  ],
  [
    counter('container_pressure_io_waiting_seconds_total', 'Time in which some task waited for a device'),
    it => stalled(it.usage.psi.io?.some),
  ],
]

/** Told only of cgroups whose processor time is limited. */
export const throttlingRows: readonly Row[] = [
  [counter('container_cpu_cfs_periods_total', 'Periods of enforcement'), it => it.detail.throttling.periods],
  [
    counter('container_cpu_cfs_throttled_periods_total', 'Periods in which it was throttled'),
    it => it.detail.throttling.throttledPeriods,
  ],
  [
    counter('container_cpu_cfs_throttled_seconds_total', 'Time for which it was throttled'),
    it => seconds(it.detail.throttling.throttledNs),
  ],
  [
    counter('container_cpu_cfs_burst_periods_total', 'Periods in which it used saved time'),
    it => it.detail.throttling.burstPeriods,
  ],
  [counter('container_cpu_cfs_burst_seconds_total', 'Saved time that it used'), it => seconds(it.detail.throttling.burstNs)],
]

/** What was asked for it, without a time. */
export const specRows: readonly Row[] = [
  [gauge('container_spec_cpu_period', 'Period of its processor limit, in microseconds'), it => it.detail.cpuPeriodUs],
  [gauge('container_spec_cpu_quota', 'Processor time that it may use in a period, in microseconds'), it => it.detail.cpuQuotaUs],
  [gauge('container_spec_cpu_shares', 'Weight of its processor time'), it => it.detail.cpuShares],
  [
    gauge('container_spec_memory_limit_bytes', 'Memory limit, 0 for none'),
    it => it.usage.memory && (it.usage.memory.limitBytes ?? 0),
  ],
  [
    gauge('container_spec_memory_swap_limit_bytes', 'Limit of memory and swap, 0 for none'),
    ({ usage: { memory } }) =>
      memory && (memory.swapLimitBytes === undefined ? 0 : (memory.limitBytes ?? 0) + memory.swapLimitBytes),
  ],
  [
    gauge('container_spec_memory_reservation_limit_bytes', 'Memory that is kept for it'),
    it => it.usage.memory && it.detail.memoryReservationBytes,
  ],
]

export const cpuTotal = counter('container_cpu_usage_seconds_total', 'Processor time')
export const memoryFailures = counter('container_memory_failures_total', 'Page faults')
export const startTime = gauge('container_start_time_seconds', 'When it started, in seconds since the epoch')
export const lastSeen = gauge('container_last_seen', 'When it was last seen, in seconds since the epoch')
export const openFilesLimit = gauge('container_ulimits_soft', 'Soft limits of its first process, -1 for none')
export const fsUsage = gauge('container_fs_usage_bytes', 'Bytes that it holds on the file system')
export const fsLimit = gauge('container_fs_limit_bytes', 'Bytes that it may hold on the file system')
export const fsInodes = gauge('container_fs_inodes_total', 'Inodes of the file system')
export const fsInodesFree = gauge('container_fs_inodes_free', 'Inodes that are free')
export const deviceUsage = counter('container_blkio_device_usage_total', 'Bytes to and from a device')

/** One value for each network interface. */
export const interfaceRows: readonly (readonly [MetricName, (it: InterfaceUse) => number])[] = [
  [counter('container_network_receive_bytes_total', 'Bytes received'), it => it.rxBytes],
  [counter('container_network_receive_packets_total', 'Packets received'), it => it.rxPackets],
  [counter('container_network_receive_packets_dropped_total', 'Packets dropped when received'), it => it.rxDropped],
  [counter('container_network_receive_errors_total', 'Errors when receiving'), it => it.rxErrors],
  [counter('container_network_transmit_bytes_total', 'Bytes sent'), it => it.txBytes],
  [counter('container_network_transmit_packets_total', 'Packets sent'), it => it.txPackets],
  [counter('container_network_transmit_packets_dropped_total', 'Packets dropped when sent'), it => it.txDropped],
  [counter('container_network_transmit_errors_total', 'Errors when sending'), it => it.txErrors],
]

/** One value for each device. */
export const deviceRows: readonly (readonly [MetricName, (it: CgroupDetail['devices'][number]) => number])[] = [
  [counter('container_fs_reads_bytes_total', 'Bytes read'), it => it.readBytes],
  [counter('container_fs_reads_total', 'Reads completed'), it => it.reads],
  [counter('container_fs_writes_bytes_total', 'Bytes written'), it => it.writeBytes],
  [counter('container_fs_writes_total', 'Writes completed'), it => it.writes],
]
