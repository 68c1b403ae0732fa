// Processes as /proc shows them, for tests that have to end exactly those they started.
import { readdir } from 'node:fs/promises'

/** Pids of all processes. */
export const processIds = async (): Promise<readonly number[]> =>
  (await readdir('/proc')).filter(entry => /^\d+$/.test(entry)).map(Number)

/** Kills one process; one that is gone already is no error. */
export const endProcess = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
