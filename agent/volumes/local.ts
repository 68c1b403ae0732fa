// Local volumes: a folder of the node, or the file system of one of its disks, bind-mounted into the folder of each pod that uses it. A disk
// is mounted once for all of them and unmounted after the last; the mount table alone says who uses what. What is in a volume is never
// removed. Follows the kubelet's local plugin (pkg/volume/local).
import type { Stats } from 'node:fs'
import { readdir, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fullName } from '../../api/pod.ts'
import type { Pod } from '../../api/types.ts'
import { unlessMissing } from '../../host/errno.ts'
import type { Exec } from '../../host/exec.ts'
import { describe, Fault } from '../../host/fault.ts'
import { ensureDir } from '../../host/files.ts'
import type { Log } from '../../host/log.ts'
import type { Mounts } from '../../host/mounts.ts'
import { mountDisk } from './disk.ts'
import { applyFsGroup } from './ownership.ts'
import { localDisksDir } from './paths.ts'
import type { DeviceAction, LocalAction } from './persistent.ts'
import { createQueues } from './queues.ts'

export interface LocalVolumesDeps {
  readonly mounts: Pick<Mounts, 'list' | 'isMountPoint' | 'bind' | 'unmount' | 'fileSystem'>
  readonly exec: Pick<Exec, 'run' | 'try'>
  readonly log: Log
}

export interface LocalVolumes {
  /**
   * Mounts the volume for the pod; its files belong to the pod's group when no other pod has it mounted.
   * @throws Fault `volume` when there is nothing at its path that could be mounted, `command` when it cannot be
   */
  setUp(pod: Pod, action: LocalAction): Promise<void>
  /** Unmounts the disks that no pod uses any more. @param rootDir without symbolic links */
  releaseDisks(rootDir: string): Promise<void>
}

const exists = async (path: string): Promise<boolean> => (await unlessMissing(stat(path))) !== undefined

const found = async (path: string): Promise<Stats> => {
  if (path.split('/').includes('..'))
    throw new Fault('volume', `invalid path: ${path}: must not contain '..'`, { retry: 'never' })
  const stats = await unlessMissing(stat(path))
  if (stats === undefined) throw new Fault('volume', `path ${JSON.stringify(path)} does not exist`)
  return stats
}

/** Sees to it that there is a device for the containers. @throws Fault `volume` */
export const ensureDevice = async ({ path }: DeviceAction): Promise<void> => {
  if (!(await found(path)).isBlockDevice()) throw new Fault('volume', `${path} is not a block device`)
}

export const createLocalVolumes = ({ mounts, exec, log }: LocalVolumesDeps): LocalVolumes => {
  // two pods of one volume must not both be the first, nor may the last one leave while another comes
  const queues = createQueues()
  const users = async (name: string) =>
    (await mounts.list()).filter(({ path }) => path.endsWith(`/kubernetes.io~local-volume/${name}`)).map(({ path }) => path)

  const sourceOf = async ({ source, fsType, disk, readOnly, options }: LocalAction): Promise<string> => {
    const stats = await found(source)
    if (stats.isDirectory()) return source
    if (!stats.isBlockDevice()) throw new Fault('volume', `${source}: only directory and block device are supported`)
    await mountDisk({ exec, mounts }, { device: source, target: disk, fsType, readOnly, options })
    return disk
  }

  /** Once, by the first pod that uses it: the group of another is left alone. */
  const giveToGroup = async (pod: Pod, { name, dir, readOnly }: LocalAction): Promise<void> => {
    const { fsGroup: gid, fsGroupChangePolicy: policy = 'Always' } = pod.spec.securityContext ?? {}
    if (gid === undefined) return
    const isShared = (await users(name)).some(path => path !== dir)
    if (!isShared) {
      if (!readOnly) await applyFsGroup(dir, { gid, readOnly: false, policy })
      return
    }
    const present = (await stat(dir)).gid
    const message = `The requested fsGroup is ${gid}, but the volume ${name} has GID ${present}. The volume may not be shareable.`
    if (present !== gid) log.warn({ pod: fullName(pod) }, message)
  }

  const mountFor = async (pod: Pod, action: LocalAction): Promise<void> => {
    const { dir, readOnly, options, begun } = action
    const isMounted = await mounts.isMountPoint(dir)
    if (isMounted && !(await exists(begun))) return
    await ensureDir(dirname(begun), 0o750)
    await writeFile(begun, '')
    if (!isMounted) await bindSource(await sourceOf(action), dir, [...(readOnly ? ['ro'] : []), ...options])
    await giveToGroup(pod, action)
    await rm(begun)
  }

  const bindSource = async (source: string, dir: string, options: readonly string[]): Promise<void> => {
    await ensureDir(dir, 0o750)
    try {
      await mounts.bind(source, dir, options)
    } catch (error) {
      await rmdir(dir).catch(() => undefined)
      throw error
    }
  }

  const release = async (disk: string): Promise<void> => {
    if ((await users(basename(disk))).length > 0) return
    try {
      if (await mounts.isMountPoint(disk)) await mounts.unmount(disk)
      await rmdir(disk)
    } catch (error) {
      // the next pod that ends tries again
      log.warn({ disk, problem: describe(error) }, 'a disk that no pod uses could not be unmounted')
    }
  }

  return {
    setUp: (pod, action) => queues.run(action.name, () => mountFor(pod, action)),
    releaseDisks: async rootDir => {
      const folder = localDisksDir(rootDir)
      const names = (await unlessMissing(readdir(folder))) ?? []
      await Promise.all(names.map(name => queues.run(name, () => release(join(folder, name)))))
    },
  }
}
