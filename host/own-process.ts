// What this process itself uses, under the names that every Prometheus client has for it. Reads /proc/self at a scrape.
// Follows proc(5) and prometheus.io: Writing client libraries, "Process metrics".
import { readdirSync, readFileSync } from 'node:fs'
import type { Family, MetricType } from './exposition.ts'

// USER_HZ, which is 100 on every architecture that Node runs on
const ticksPerSecond = 100

/** The fields of /proc/PID/stat from the third on: what is before may hold spaces. */
export const toStatFields = (stat: string): readonly number[] =>
  stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number)

/** The soft limit of `Max open files` in /proc/PID/limits; -1 for none. */
export const toOpenFilesLimit = (limits: string | undefined): number | undefined => {
  const found = /^Max open files\s+(\S+)/m.exec(limits ?? '')?.[1]
  return found === undefined ? undefined : found === 'unlimited' ? -1 : Number(found)
}

/** When the machine was started, in milliseconds since the epoch; from the text of /proc/stat. */
export const toBootTime = (stat: string): number => Number(/^btime (\d+)/m.exec(stat)?.[1] ?? 0) * 1000

/** When this machine was started, in milliseconds since the epoch. */
export const readBootTime = (): number => toBootTime(readFileSync('/proc/stat', 'utf8'))

const family = (name: string, help: string, value: number | undefined, type: MetricType = 'gauge'): Family => ({
  name,
  help,
  type,
  samples: value === undefined ? [] : [{ value }],
})

/** @param bootedAt milliseconds since the epoch */
export const ownProcess = (bootedAt: number): readonly Family[] => {
  const fields = toStatFields(readFileSync('/proc/self/stat', 'utf8'))
  const field = (number: number) => fields[number - 3] ?? 0
  const { user, system } = process.cpuUsage()
  const startedAt = bootedAt / 1000 + field(22) / ticksPerSecond
  // the list itself is one of them while it is read
  const openFiles = readdirSync('/proc/self/fd').length - 1
  const limit = toOpenFilesLimit(readFileSync('/proc/self/limits', 'utf8'))
  return [
    family('process_cpu_seconds_total', 'Processor time of this process', (user + system) / 1e6, 'counter'),
    family('process_resident_memory_bytes', 'Memory of this process', process.memoryUsage.rss()),
    family('process_virtual_memory_bytes', 'Address space of this process', field(23)),
    family('process_start_time_seconds', 'When this process started, in seconds since the epoch', startedAt),
    family('process_open_fds', 'Open file descriptors of this process', openFiles),
    family('process_max_fds', 'Most file descriptors that this process may open', limit),
  ]
}
