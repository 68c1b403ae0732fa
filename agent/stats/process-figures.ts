// What the processes of a cgroup hold: file descriptors, sockets, their limit. Reads /proc; long lists in slices.
// Follows proc(5). A process that ends meanwhile holds nothing.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { Slices } from '../../host/loop.ts'
import { toOpenFilesLimit } from '../../host/own-process.ts'
import type { ProcessFigures } from './cadvisor-names.ts'

const attempt = <T>(read: () => T): T | undefined => {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** Figures of these processes together. */
export const processFigures = async (pids: readonly number[], slices: Slices, proc = '/proc'): Promise<ProcessFigures> => {
  let [fileDescriptors, sockets] = [0, 0]
  for (const pid of pids) {
    const folder = `${proc}/${pid}/fd`
    for (const fd of attempt(() => readdirSync(folder)) ?? []) {
      fileDescriptors += 1
      if (attempt(() => readlinkSync(`${folder}/${fd}`))?.startsWith('socket:')) sockets += 1
    }
    await slices.pause()
  }
  const limits = attempt(() => readFileSync(`${proc}/${pids[0]}/limits`, 'utf8'))
  return { processes: pids.length, fileDescriptors, sockets, openFilesLimit: toOpenFilesLimit(limits) }
}
