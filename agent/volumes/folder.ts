// The folder that a volume lives in: made with upstream's mode, with a tmpfs over it where it has to stay in memory.
// Follows the kubelet's emptyDir, which its configMap, secret, downwardAPI and projected volumes stand on as well.
import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../../host/errno.ts'
import { Fault } from '../../host/fault.ts'
import { ensureDir } from '../../host/files.ts'
import type { Mounts } from '../../host/mounts.ts'
import { applyFsGroup } from './ownership.ts'
import type { TmpfsWish, VolumeAction } from './plan.ts'

/** Any user of any container may write: upstream's mode, which its conformance suite checks. */
const folderMode = 0o777

/** Kernels since 6.4 can keep a tmpfs out of swap; others take the option for an error. */
export const knowsNoswap = (kernelRelease: string): boolean => {
  const [major = 0, minor = 0] = kernelRelease.split(/[.-]/).map(Number)
  return major > 6 || (major === 6 && minor >= 4)
}

export interface FolderDeps {
  readonly mounts: Mounts
  readonly noswap: boolean
}

/** Makes the folder, and mounts the tmpfs unless it is there already. */
export const ensureFolder = async (deps: FolderDeps, dir: string, tmpfs: TmpfsWish | undefined): Promise<void> => {
  await ensureDir(dir, folderMode)
  if (tmpfs === undefined) return
  const there = await deps.mounts.at(dir)
  if (there?.fsType === 'tmpfs') return
  if (there !== undefined) throw new Fault('volume', `${dir} is a mount point of ${there.fsType}, want tmpfs`)
  const { sizeBytes } = tmpfs
  await deps.mounts.tmpfs(dir, { noswap: deps.noswap, ...(sizeBytes !== undefined && { sizeBytes }) })
}

const exists = async (path: string): Promise<boolean> => {
  try {
    await access(path)
    return true
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false
    throw error
  }
}

/**
 * An emptyDir, with its group set once: later its files are the pod's own business. The file `ready` says that it was
 * done (the kubelet reads and writes the same one), a missing mount or folder that it has to be done again.
 */
export const ensureEmptyDir = async (
  deps: FolderDeps,
  action: Extract<VolumeAction, { do: 'empty-dir' }>,
  fsGroup: number | undefined,
): Promise<void> => {
  const ready = join(action.ready, 'ready')
  const isThere = action.tmpfs === undefined ? await exists(action.dir) : await deps.mounts.isMountPoint(action.dir)
  if (isThere && (await exists(ready))) return
  await ensureFolder(deps, action.dir, action.tmpfs)
  if (fsGroup !== undefined) await applyFsGroup(action.dir, { gid: fsGroup, readOnly: false, policy: 'Always' })
  await ensureDir(action.ready, 0o750)
  await writeFile(ready, '')
}
