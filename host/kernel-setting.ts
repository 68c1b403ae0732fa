// Files of the kernel's that hold one value each, brought to it. What cannot be set is said and passed over: in a container such files may be
// read-only, and what the program is for goes on all the same.
import { readFile, writeFile } from 'node:fs/promises'
import { isErrno } from './errno.ts'
import type { Log } from './log.ts'

export interface KernelSetting {
  /** Below the folder that is given with it; the log names it so. */
  readonly path: string
  readonly value: string | number
  /** What does not work without it, for the log. */
  readonly without?: string
}

const closed: readonly string[] = ['ENOENT', 'EACCES', 'EPERM', 'EROFS']

/** @param expected errors that nobody has to be warned of */
export const bringKernelSetting = async (
  { path, value, without }: KernelSetting,
  log: Log,
  root: string,
  expected: readonly string[] = closed,
): Promise<void> => {
  try {
    if ((await readFile(`${root}/${path}`, 'utf8')).trim() === String(value)) return
    await writeFile(`${root}/${path}`, String(value))
    log.info({ setting: path, value }, 'kernel setting changed')
  } catch (error) {
    const level = expected.some(code => isErrno(error, code)) ? 'debug' : 'warn'
    log[level]({ setting: path, value, without, err: error }, 'kernel setting could not be made')
  }
}

/** How soon the kernel ends this process when memory runs out. @param root where /proc is; tests give a folder */
export const adjustOwnOomScore = (score: number, log: Log, root = '/proc'): Promise<void> =>
  bringKernelSetting({ path: 'self/oom_score_adj', value: score }, log, root)
