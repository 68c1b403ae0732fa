// Taking a pod's folder away: every mount in it first, the deepest first, then the files, never across a mount. What is
// still mounted keeps the folder: users have lost what was behind a mount to agents that were less patient.
import type { Dirent } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../host/clock.ts'
import { unlessMissing } from '../../host/errno.ts'
import { describe } from '../../host/fault.ts'
import { removeTree } from '../../host/files.ts'
import type { Log } from '../../host/log.ts'
import type { MountEntry, Mounts } from '../../host/mounts.ts'
import { podsDir, subPathsDir } from './paths.ts'

export interface TeardownDeps {
  readonly mounts: Mounts
  readonly clock: Pick<Clock, 'sleep'>
  readonly log: Log
}

const busyTries = 3
const busyPauseMs = 100

const unmountOne = async ({ mounts, clock, log }: TeardownDeps, { path, fsType }: MountEntry): Promise<void> => {
  // its server may not answer
  const isRemote = fsType.startsWith('nfs')
  for (let tries = 1; ; tries++) {
    try {
      return await mounts.unmount(path, { alone: isRemote })
    } catch (error) {
      if (tries < busyTries) {
        await clock.sleep(busyPauseMs)
        continue
      }
      // some program of the host still stands in it; it keeps its view, and the pod need not wait for it
      log.warn({ path, fsType, problem: describe(error) }, 'mount is busy, detaching it')
      return mounts.unmount(path, { lazy: true, force: isRemote })
    }
  }
}

/**
 * Unmounts all there is at and below a folder and removes the folder. Safe to repeat, also half-way.
 * @throws Fault `io` or `command` naming the mount that is in the way; nothing behind it was touched
 */
export const removeMounted = async (deps: TeardownDeps, folder: string): Promise<void> => {
  for (const mount of await deps.mounts.under(folder)) await unmountOne(deps, mount)
  await removeTree(folder)
}

const foldersIn = async (folder: string): Promise<string[]> => {
  const entries: readonly Dirent[] = (await unlessMissing(readdir(folder, { withFileTypes: true }))) ?? []
  return entries.filter(entry => entry.isDirectory()).map(({ name }) => name)
}

/** The subPath mounts of one container of a pod. */
export const removeSubPaths = async (deps: TeardownDeps, pod: string, container: string): Promise<void> => {
  const volumes = subPathsDir(pod)
  for (const volume of await foldersIn(volumes)) {
    if ((await foldersIn(join(volumes, volume))).includes(container)) {
      await removeMounted(deps, join(volumes, volume, container))
    }
  }
}

/** The uids of pods that have a folder, whether or not anybody knows them. */
export const podFolders = (rootDir: string): Promise<string[]> => foldersIn(podsDir(rootDir))
