// What processes take of the machine, from /proc: those that were named and, where it says so, what they started.
import { readdir, readFile } from 'node:fs/promises'

export type MemoryField = 'VmRSS' | 'VmHWM' | 'RssAnon' | 'RssFile'

/** A field of /proc/PID/status in MB. */
export const memoryOf = async (pid: number, field: MemoryField): Promise<number> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024
}

const childrenOf = async (pid: number): Promise<readonly number[]> => {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => [])
  const lists = await Promise.all(threads.map(it => readFile(`/proc/${pid}/task/${it}/children`, 'utf8').catch(() => '')))
  return lists.flatMap(list => list.split(' ').filter(Boolean).map(Number))
}

/** The processes and all that they have started and that still run. */
export const withChildren = async (pids: readonly number[]): Promise<readonly number[]> => {
  const found = [...pids]
  for (const pid of found) found.push(...(await childrenOf(pid)))
  return found
}

// USER_HZ, the unit of /proc/PID/stat, is 100 on every architecture that matters here.
const ticksPerSecond = 100

/** Seconds of the processor that the processes and their children took so far, those that have ended included. */
export const cpuSecondsOf = async (pids: readonly number[]): Promise<number> => {
  let ticks = 0
  for (const pid of await withChildren(pids)) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    // utime, stime, cutime and cstime, the 14th to 17th field; the second may hold spaces
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    for (const field of fields.slice(11, 15)) ticks += Number(field)
  }
  return ticks / ticksPerSecond
}
