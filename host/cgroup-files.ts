// What a cgroup's limits are as files of version 1 and 2 and as properties of a systemd slice, and back. Pure.
// Follows the kernel's cgroup-v1 and cgroup-v2 documents and systemd.resource-control(5).

/** Limits of a cgroup; what is absent is left as it is. */
export interface CgroupLimits {
  /** In version 1's scale, 2 to 262144; 1024 is one core's worth. */
  readonly cpuShares?: number
  /** Microseconds per period; -1 for no limit. */
  readonly cpuQuotaUs?: number
  readonly cpuPeriodUs?: number
  /** -1 for no limit. */
  readonly memoryBytes?: number
  /** -1 for no limit. */
  readonly pidsMax?: number
  /** By page size as the files name it: `2MB`. */
  readonly hugePageBytes?: Readonly<Record<string, number>>
  /** Files of version 2 by name; not written on version 1. */
  readonly unified?: Readonly<Record<string, string>>
}

export interface FileWrite {
  readonly controller: string
  readonly file: string
  readonly value: string
  /** Written only where the file is there: the kernel may be built without it. */
  readonly optional?: boolean
}

// above 2^53 a number's text is rounded to what reads back the same, which is not the number that the kernel should get
const digits = (value: number): string => BigInt(Math.trunc(value)).toString()

/** cpu.weight of version 2 for shares of version 1: both ranges end to end, as the kubelet maps pods and QoS classes. */
export const toCpuWeight = (shares: number): number =>
  shares >= 262_144 ? 10_000 : 1 + Math.trunc(((Math.max(shares, 2) - 2) * 9999) / 262_142)

/** Shares of version 1 for a cpu.weight; loses what the coarser scale has lost. */
export const fromCpuWeight = (weight: number): number => Math.trunc(((weight - 1) * 262_142) / 9999) + 2

const defaultPeriodUs = 100_000

/** The writes in an order that the kernel takes: a period before the quota that is measured by it. */
export const toV1Files = (limits: CgroupLimits): readonly FileWrite[] => {
  const writes: FileWrite[] = []
  const write = (controller: string, file: string, value: number | undefined) => {
    if (value !== undefined) writes.push({ controller, file, value: digits(value) })
  }
  write('cpu', 'cpu.shares', limits.cpuShares)
  write('cpu', 'cpu.cfs_period_us', limits.cpuPeriodUs)
  write('cpu', 'cpu.cfs_quota_us', limits.cpuQuotaUs)
  write('memory', 'memory.limit_in_bytes', limits.memoryBytes)
  if (limits.pidsMax !== undefined) writes.push({ controller: 'pids', file: 'pids.max', value: orMax(limits.pidsMax) })
  for (const [size, bytes] of Object.entries(limits.hugePageBytes ?? {})) {
    writes.push({ controller: 'hugetlb', file: `hugetlb.${size}.limit_in_bytes`, value: digits(bytes) })
    writes.push({ controller: 'hugetlb', file: `hugetlb.${size}.rsvd.limit_in_bytes`, value: digits(bytes), optional: true })
  }
  return writes
}

const orMax = (value: number): string => (value < 0 ? 'max' : digits(value))

export const toV2Files = (limits: CgroupLimits): readonly FileWrite[] => {
  const writes: FileWrite[] = []
  if (limits.cpuShares !== undefined) {
    writes.push({ controller: 'cpu', file: 'cpu.weight', value: digits(toCpuWeight(limits.cpuShares)) })
  }
  if (limits.cpuQuotaUs !== undefined || limits.cpuPeriodUs !== undefined) {
    const quota = (limits.cpuQuotaUs ?? 0) > 0 ? digits(limits.cpuQuotaUs ?? 0) : 'max'
    writes.push({ controller: 'cpu', file: 'cpu.max', value: `${quota} ${limits.cpuPeriodUs ?? defaultPeriodUs}` })
  }
  if (limits.memoryBytes !== undefined) {
    writes.push({ controller: 'memory', file: 'memory.max', value: orMax(limits.memoryBytes) })
  }
  if (limits.pidsMax !== undefined) writes.push({ controller: 'pids', file: 'pids.max', value: orMax(limits.pidsMax) })
  for (const [size, bytes] of Object.entries(limits.hugePageBytes ?? {})) {
    writes.push({ controller: 'hugetlb', file: `hugetlb.${size}.max`, value: digits(bytes) })
    writes.push({ controller: 'hugetlb', file: `hugetlb.${size}.rsvd.max`, value: digits(bytes), optional: true })
  }
  for (const [file, value] of Object.entries(limits.unified ?? {})) {
    writes.push({ controller: file.split('.')[0] ?? '', file, value })
  }
  return writes
}

/** A property of a unit as busctl takes it: name, signature, value. */
export type SliceProperty = readonly [name: string, signature: string, value: string]

const infinity = '18446744073709551615'

const perSecond = (quotaUs: number, periodUs: number): string => {
  if (quotaUs <= 0) return infinity
  // systemd keeps percents: what is not a multiple of 10 ms a second would be rounded down by it
  return digits(Math.ceil((quotaUs * 1_000_000) / periodUs / 10_000) * 10_000)
}

/** The limits as systemd must know them, so that a daemon-reload does not write other ones. */
export const toSliceProperties = (limits: CgroupLimits, version: 1 | 2): readonly SliceProperty[] => {
  const properties: SliceProperty[] = []
  const { cpuShares, cpuQuotaUs, cpuPeriodUs, memoryBytes, pidsMax } = limits
  if (cpuShares !== undefined) {
    properties.push(version === 2 ? ['CPUWeight', 't', digits(toCpuWeight(cpuShares))] : ['CPUShares', 't', digits(cpuShares)])
  }
  if (cpuQuotaUs !== undefined) {
    properties.push(['CPUQuotaPerSecUSec', 't', perSecond(cpuQuotaUs, cpuPeriodUs ?? defaultPeriodUs)])
    if (cpuPeriodUs !== undefined) properties.push(['CPUQuotaPeriodUSec', 't', digits(cpuPeriodUs)])
  }
  if (memoryBytes !== undefined) {
    properties.push([version === 2 ? 'MemoryMax' : 'MemoryLimit', 't', memoryBytes < 0 ? infinity : digits(memoryBytes)])
  }
  if (pidsMax !== undefined) properties.push(['TasksMax', 't', pidsMax < 0 ? infinity : digits(pidsMax)])
  return properties
}
