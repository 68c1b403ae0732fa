// The lock on the allocations of this node: whoever holds it, daemon or a plugin run by hand, is the only one to change them.
// flock(1) in a child that dies with us (host/exec.ts), since Node can hold no file lock itself: the kernel lets go of the
// lock however the holder ends. A listening socket would do too, but an abstract one can be taken by any pod of the host's network.
import { appendFile, mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Exec } from '../host/exec.ts'
import { CniFault, cniCodes } from './spec.ts'

export interface Lease {
  /** Resolves when the lock is gone, by `release` or because somebody ended the child that held it. */
  readonly lost: Promise<void>
  release(): void
}

/**
 * Waits for the lock and takes it.
 * @param waitSeconds how long to wait for another holder
 * @throws CniFault with code 11 (try again later) when somebody else keeps it that long
 */
export const takeLock = async (exec: Pick<Exec, 'watch'>, file: string, waitSeconds = 15): Promise<Lease> => {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  // tail prints the line when flock has started it, that is when the lock is held, and stays.
  await appendFile(file, 'held while a process follows this file\n', { flag: 'a' })
  const holder = ['tail', '-n', '1', '-f', file]
  const argv = ['flock', '--no-fork', '--exclusive', '--wait', String(waitSeconds), file, ...holder]
  return new Promise((resolve, reject) => {
    const child = exec.watch(argv, () => resolve({ lost, release: () => child.stop() }))
    const lost = child.ended.then(
      () => undefined,
      () => undefined,
    )
    const refuse = (cause?: unknown) =>
      reject(new CniFault(cniCodes.tryAgainLater, 'io', `the lock ${file} is held by another process`, { cause }))
    child.ended.then(() => refuse(), refuse)
  })
}
