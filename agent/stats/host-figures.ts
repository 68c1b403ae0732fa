// What the whole machine uses, where the root cgroup does not tell it: memory and swap, processes, pressure, when it started.
// Reads /proc, synchronously as cgroup-usage.ts and for its reasons. Follows proc(5).
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type CgroupUsage, toPsi } from '../../host/cgroup-usage.ts'
import type { Millis } from '../../host/clock.ts'
import { meminfoBytes } from '../../host/machine.ts'
import { toBootTime } from '../../host/own-process.ts'

export interface HostFigures {
  /** The root cgroup's use, completed: its memory limit is what the machine has. */
  complete(root: CgroupUsage): CgroupUsage
  /** Processes and threads that there are. */
  processes(): number
  readonly bootedAt: Millis
}

export const createHostFigures = (version: 1 | 2, proc = '/proc'): HostFigures => {
  const read = (file: string): string => {
    try {
      return readFileSync(join(proc, file), 'utf8')
    } catch {
      return ''
    }
  }
  const psi = (what: string) => toPsi(read(`pressure/${what}`))
  return {
    complete: root => {
      const meminfo = read('meminfo')
      const bytes = (field: string) => meminfoBytes(meminfo, field)
      const total = bytes('MemTotal')
      // version 2 keeps no count of the root's memory
      const usageBytes = version === 2 ? total - bytes('MemFree') : (root.memory?.usageBytes ?? 0)
      return {
        ...root,
        memory: root.memory && {
          ...root.memory,
          usageBytes,
          workingSetBytes: Math.max(usageBytes - root.memory.inactiveFileBytes, 0),
          limitBytes: total,
          swapBytes: bytes('SwapTotal') - bytes('SwapFree'),
          swapLimitBytes: bytes('SwapTotal'),
        },
        psi: { cpu: psi('cpu'), memory: psi('memory'), io: psi('io') },
      }
    },
    processes: () => Number(/\d+\/(\d+)/.exec(read('loadavg'))?.[1] ?? 0),
    bootedAt: toBootTime(read('stat')),
  }
}

/** The cgroup of this process, by its path; undefined at the root, whose figures are the machine's. */
export const ownCgroup = (procSelfCgroup: string): string | undefined => {
  const lines = procSelfCgroup.split('\n').map(line => line.split(':'))
  const path = (lines.find(([, controllers]) => controllers?.split(',').includes('memory')) ??
    lines.find(([id]) => id === '0'))?.[2]
  return path === undefined || path === '/' ? undefined : path
}
