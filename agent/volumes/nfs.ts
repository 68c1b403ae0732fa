// NFS volumes: mounted into the pod's folder by the machine's own mount.nfs. Who owns the files is the server's matter: no fsGroup here.
// Follows the kubelet's nfs plugin (pkg/volume/nfs).
import { access, rmdir } from 'node:fs/promises'
import { describe, Fault } from '../../host/fault.ts'
import { ensureDir } from '../../host/files.ts'
import type { Mounts } from '../../host/mounts.ts'
import type { NfsAction } from './persistent.ts'

/** Where mount(8) looks for it. */
const programs = ['/sbin/mount.nfs', '/usr/sbin/mount.nfs', '/sbin/fs.d/mount.nfs', '/sbin/fs/mount.nfs']

const isInstalled = async (): Promise<boolean> => {
  const looks = await Promise.allSettled(programs.map(path => access(path)))
  return looks.some(({ status }) => status === 'fulfilled')
}

/**
 * Mounts the volume unless it is there already.
 * @throws Fault `volume` with what mount said, or what is missing on this machine
 */
export const mountNfs = async (mounts: Pick<Mounts, 'isMountPoint' | 'fileSystem'>, action: NfsAction): Promise<void> => {
  const { source, dir, readOnly, options } = action
  if (await mounts.isMountPoint(dir)) return
  await ensureDir(dir, 0o750)
  try {
    await mounts.fileSystem('nfs', source, dir, [...options, ...(readOnly ? ['ro'] : [])])
  } catch (error) {
    await rmdir(dir).catch(() => undefined)
    const why = (await isInstalled())
      ? describe(error)
      : 'mount.nfs is not installed on this node; it comes with the package nfs-common or nfs-utils'
    throw new Fault('volume', `mount of ${source} failed: ${why}`, { cause: error })
  }
}
