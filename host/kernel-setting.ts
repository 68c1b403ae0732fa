// A file of the kernel's that holds one number, brought to a value. What cannot be set is said and passed over: in a container such files may be
// read-only, and what the program is for goes on all the same.
import { readFile, writeFile } from 'node:fs/promises'
import { isErrno } from './errno.ts'
import type { Log } from './log.ts'

/** @param file below `root`. @param root where /proc is; tests give a folder */
export const bringKernelSetting = async (file: string, value: number, log: Log, root = '/proc'): Promise<void> => {
  try {
    if (Number(await readFile(`${root}/${file}`, 'utf8')) === value) return
    await writeFile(`${root}/${file}`, String(value))
    log.info({ setting: file, value }, 'kernel setting changed')
  } catch (error) {
    const expected = ['ENOENT', 'EACCES', 'EPERM', 'EROFS'].some(code => isErrno(error, code))
    log[expected ? 'debug' : 'warn']({ setting: file, value, err: error }, 'kernel setting could not be made')
  }
}

/** How soon the kernel ends this process when memory runs out. */
export const adjustOwnOomScore = (score: number, log: Log, root?: string): Promise<void> =>
  bringKernelSetting('self/oom_score_adj', score, log, root)
