// subPath: a file or folder inside a volume, bind-mounted by itself. Containers can write to the volume, so its links
// are attacks until shown otherwise: the path is walked by held handles and mounted from the handle it ends in.
// Follows the kubelet's layout and rules (pkg/volume/util/subpath); what it finds out about the host stays in the log.
import { type FileHandle, open, realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { describe, Fault } from '../../host/fault.ts'
import { ensureDir, openInside, removeTree } from '../../host/files.ts'
import type { Log } from '../../host/log.ts'
import type { Mounts } from '../../host/mounts.ts'

export interface SubPathInput {
  /** The volume on the host. */
  readonly volumePath: string
  readonly subPath: string
  /** Where it is to be mounted for the runtime to take it from. */
  readonly target: string
  /** As the pod's spec calls them, for messages. */
  readonly mountName: string
  readonly container: string
}

export interface SubPathDeps {
  readonly mounts: Mounts
  readonly log: Log
}

const wrong = (message: string): Fault => new Fault('container-config', message, { reason: 'CreateContainerConfigError' })

/** True when the target shows the very file that the handle holds. */
const showsSame = async (held: FileHandle, target: string): Promise<boolean> => {
  const [wanted, shown] = [await held.stat(), await stat(target)]
  return wanted.dev === shown.dev && wanted.ino === shown.ino
}

const makeTarget = async (held: FileHandle, target: string): Promise<void> => {
  await removeTree(target)
  await ensureDir(dirname(target), 0o750)
  if ((await held.stat()).isDirectory()) return ensureDir(target, 0o750)
  // a plain file can stand in for sockets, pipes and devices too
  await (await open(target, 'wx', 0o640)).close()
}

const bindHeld = async ({ mounts }: SubPathDeps, held: FileHandle, target: string): Promise<void> => {
  if (await mounts.isMountPoint(target)) {
    if (await showsSame(held, target)) return
    // the volume was written anew since the container's last start
    await mounts.unmount(target)
  }
  await makeTarget(held, target)
  try {
    // by our own /proc entry: mount(8) is another process, and has no such handle
    await mounts.bind(`/proc/${process.pid}/fd/${held.fd}`, target)
  } catch (error) {
    await removeTree(target)
    throw error
  }
}

/**
 * Mounts a file or folder of a volume; a folder that is missing is made with the mode of the volume.
 * @returns the host path to give to the runtime
 * @throws Fault `container-config` with the kubelet's message, which keeps silent about the host
 */
export const prepareSubPath = async (deps: SubPathDeps, input: SubPathInput): Promise<string> => {
  const { volumePath, subPath, target, mountName, container } = input
  if (subPath.startsWith('/')) throw wrong(`error SubPath \`${subPath}\` must not be an absolute path`)
  if (subPath.split('/').includes('..')) throw wrong(`unable to provision SubPath \`${subPath}\`: must not contain '..'`)
  let held: FileHandle | undefined
  try {
    const root = await realpath(volumePath)
    const { mode } = await stat(root)
    held = await openInside(root, subPath, mode & 0o7777)
    await bindHeld(deps, held, target)
    return target
  } catch (error) {
    deps.log.error({ volume: mountName, container, subPath, volumePath, problem: describe(error) }, 'subPath refused')
    throw wrong(`failed to prepare subPath for volumeMount "${mountName}" of container "${container}"`)
  } finally {
    await held?.close()
  }
}
