// What this process itself uses, under the names that every Prometheus client has for it. Reads /proc/self at a scrape.
// Follows proc(5) and prometheus.io: Writing client libraries, "Process metrics".
import { readdirSync, readFileSync } from 'node:fs'
import type { Family } from '../../host/exposition.ts'
import { counter, createFamilySet, gauge } from './family-set.ts'
import { toOpenFilesLimit } from './process-figures.ts'

// USER_HZ, which is 100 on every architecture that Node runs on
const ticksPerSecond = 100

/** The fields of /proc/PID/stat from the third on: what is before may hold spaces. */
export const toStatFields = (stat: string): readonly number[] =>
  stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number)

/** @param bootedAt milliseconds since the epoch */
export const ownProcess = (bootedAt: number): readonly Family[] => {
  const fields = toStatFields(readFileSync('/proc/self/stat', 'utf8'))
  const field = (number: number) => fields[number - 3] ?? 0
  const { user, system } = process.cpuUsage()
  const set = createFamilySet()
  set.add(counter('process_cpu_seconds_total', 'Processor time of this process'), {}, (user + system) / 1e6)
  set.add(gauge('process_resident_memory_bytes', 'Memory of this process'), {}, process.memoryUsage.rss())
  set.add(gauge('process_virtual_memory_bytes', 'Address space of this process'), {}, field(23))
  const startedAt = bootedAt / 1000 + field(22) / ticksPerSecond
  set.add(gauge('process_start_time_seconds', 'When this process started, in seconds since the epoch'), {}, startedAt)
  // the list itself is one of them while it is read
  const openFiles = readdirSync('/proc/self/fd').length - 1
  set.add(gauge('process_open_fds', 'Open file descriptors of this process'), {}, openFiles)
  const limit = toOpenFilesLimit(readFileSync('/proc/self/limits', 'utf8'))
  set.add(gauge('process_max_fds', 'Most file descriptors that this process may open'), {}, limit)
  return set.families()
}
