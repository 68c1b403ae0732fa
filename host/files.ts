// Files and folders on disks that others can write to: atomic replacement, paths that cannot be led out of their root
// by a symbolic link, and removal that stops at every mount point. Nothing here starts a program or knows about pods.
// Node has no openat(2): /proc/self/fd/N/name is the same thing, as long as N is held open and `name` is one component.

import { randomBytes } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { chmod, type FileHandle, mkdir, open, readdir, readFile, readlink, rename, rm, rmdir, unlink } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, relative } from 'node:path'
import { isErrno, unlessMissing } from './errno.ts'
import { Fault } from './fault.ts'

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants
/** O_PATH, which Node does not name: a handle on the file itself, of whatever kind, without opening what it stands for. */
const O_PATH = 0o10000000
/** As many links as the kernel follows in one path. */
const maxLinks = 40

/** A path that leads to `name` in the folder (or to the handle's own file) however its path has changed meanwhile. */
export const pathAt = (handle: FileHandle, name?: string): string => {
  const own = `/proc/self/fd/${handle.fd}`
  return name === undefined ? own : `${own}/${name}`
}

/** Which mount a file is on; differs also between bind mounts of one device. */
export const mountIdOf = async (handle: FileHandle): Promise<string> => {
  const fields = await readFile(`/proc/self/fdinfo/${handle.fd}`, 'utf8')
  return /^mnt_id:\s*(\d+)$/m.exec(fields)?.[1] ?? ''
}

/** Makes a folder and those above it; the folder itself gets exactly this mode when it is new, whatever the umask. */
export const ensureDir = async (path: string, mode: number): Promise<void> => {
  const firstMade = await mkdir(path, { recursive: true, mode })
  if (firstMade !== undefined) await chmod(path, mode)
}

export interface WriteOptions {
  readonly mode: number
  readonly owner?: { readonly uid: number; readonly gid: number }
  /** Waits until the content is on the disk, so that it survives a loss of power. */
  readonly durable?: boolean
}

/** Replaces a file: readers see the old content or the new one, never a part, and never another mode or owner. */
export const writeFileAtomic = async (path: string, content: string | Uint8Array, options: WriteOptions): Promise<void> => {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`)
  const handle = await open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    try {
      await handle.writeFile(content)
      await handle.chmod(options.mode)
      if (options.owner) await handle.chown(options.owner.uid, options.owner.gid)
      if (options.durable) await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

const leadsOut = (root: string, path: string): Fault => new Fault('io', `path ${path} leads out of ${root}`, { retry: 'never' })

/** Where a link with an absolute target goes on inside root, or undefined when it leads out. */
const withinRoot = (root: string, target: string): string | undefined => {
  const inside = relative(root, target)
  return inside === '..' || inside.startsWith('../') || isAbsolute(inside) ? undefined : inside
}

/** Makes one folder below a held one and holds it, or refuses what is no folder and was put there in between. */
const makeAndHold = async (parent: FileHandle, name: string, mode: number): Promise<FileHandle> => {
  let isOurs = true
  try {
    await mkdir(pathAt(parent, name), { mode: 0o700 })
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
    isOurs = false
  }
  const made = await open(pathAt(parent, name), O_PATH | O_NOFOLLOW | O_DIRECTORY)
  if (isOurs) await chmod(pathAt(made), mode)
  return made
}

interface Walk {
  readonly root: string
  readonly asked: string
  readonly makeMode: number | undefined
  /** The folders from the root to where the walk stands: `..` goes back along these, never where the disk says. */
  readonly held: FileHandle[]
  /** Components still to go, the next one last. */
  readonly ahead: string[]
  links: number
}

const followLink = async (walk: Walk, parent: FileHandle, name: string): Promise<void> => {
  walk.links++
  if (walk.links > maxLinks) throw new Fault('io', `too many symbolic links in ${walk.asked}`, { retry: 'never' })
  let target = await readlink(pathAt(parent, name))
  if (isAbsolute(target)) {
    const inside = withinRoot(walk.root, target)
    if (inside === undefined) throw leadsOut(walk.root, walk.asked)
    target = inside
    for (const folder of walk.held.splice(1)) await folder.close()
  }
  walk.ahead.push(...target.split('/').reverse())
}

const step = async (walk: Walk, name: string): Promise<void> => {
  const parent = walk.held.at(-1)
  if (parent === undefined || name === '' || name === '.') return
  if (name === '..') {
    if (walk.held.length === 1) throw leadsOut(walk.root, walk.asked)
    await walk.held.pop()?.close()
    return
  }
  const there = await unlessMissing(open(pathAt(parent, name), O_PATH | O_NOFOLLOW))
  if (there === undefined) {
    if (walk.makeMode === undefined) {
      throw new Fault('not-found', `${join(walk.root, walk.asked)} does not exist`, { retry: 'backoff' })
    }
    walk.held.push(await makeAndHold(parent, name, walk.makeMode))
    return
  }
  if ((await there.stat()).isSymbolicLink()) {
    await there.close()
    await followLink(walk, parent, name)
  } else walk.held.push(there)
}

/**
 * Opens what `path` leads to below `root`, following symbolic links only as long as they stay inside, safe against
 * somebody who swaps folders and links meanwhile. The handle is of the O_PATH kind: use it by `pathAt`, then close it.
 * @param makeMode when given, folders that are missing are made with this mode
 * @throws Fault `io` when the path leads out of root, `not-found` when it is not there and is not to be made
 */
export const openInside = async (root: string, path: string, makeMode?: number): Promise<FileHandle> => {
  if (isAbsolute(path)) throw leadsOut(root, path)
  const held = [await open(root, O_PATH | O_NOFOLLOW | O_DIRECTORY)]
  const walk: Walk = { root, asked: path, makeMode, held, ahead: path.split('/').reverse(), links: 0 }
  try {
    for (let name = walk.ahead.pop(); name !== undefined; name = walk.ahead.pop()) await step(walk, name)
    const [reached] = held.splice(-1)
    if (reached === undefined) throw leadsOut(root, path)
    return reached
  } finally {
    for (const folder of held) await folder.close()
  }
}

/**
 * Reads a regular file below `root`, never one that a symbolic link leads out to and never a pipe or a device.
 * @throws Fault `io`, `not-found` as openInside; `io` when it is no regular file or has more than `maxBytes`
 */
export const readInside = async (root: string, path: string, maxBytes: number): Promise<Buffer> => {
  const found = await openInside(root, path)
  try {
    const stat = await found.stat()
    if (!stat.isFile()) throw new Fault('io', `${path} is not a regular file`, { retry: 'never' })
    if (stat.size > maxBytes) throw new Fault('io', `${path} is larger than ${maxBytes} bytes`, { retry: 'never' })
    return await readFile(pathAt(found))
  } finally {
    await found.close()
  }
}

/** Calls `visit` on everything below and then on the folder itself, links not followed; other mounts are walked too. */
export const walkTree = async (path: string, visit: (path: string, stat: Stats) => Promise<void>): Promise<void> => {
  const handle = await unlessMissing(open(path, O_PATH | O_NOFOLLOW))
  if (handle === undefined) return
  try {
    const stat = await handle.stat()
    if (stat.isDirectory()) {
      for (const name of await readdir(pathAt(handle))) await walkTree(pathAt(handle, name), visit)
    }
    // a link is reached by its own path: what is behind the handle of a link cannot be changed
    await visit(stat.isSymbolicLink() ? path : pathAt(handle), stat)
  } finally {
    await handle.close()
  }
}

const removeEntry = async (entry: string, shown: string, mountId: string): Promise<void> => {
  let folder: FileHandle | undefined
  try {
    folder = await unlessMissing(open(entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
  } catch (error) {
    if (!isErrno(error, 'ENOTDIR', 'ELOOP')) throw error
    await unlessMissing(unlink(entry))
    return
  }
  if (folder === undefined) return
  try {
    if ((await mountIdOf(folder)) !== mountId) {
      throw new Fault('io', `${shown} is still a mount point: nothing behind it is removed`, { retry: 'backoff' })
    }
    for (const name of await readdir(pathAt(folder))) await removeEntry(pathAt(folder, name), join(shown, name), mountId)
  } finally {
    await folder.close()
  }
  await unlessMissing(rmdir(entry))
}

/**
 * Removes a file or a folder with all it holds; what is not there is fine. Never follows a link, never goes into
 * a mount (bind mounts of the same disk included): a data loss that users of node agents have met.
 * @throws Fault `io` naming the mount point that is in the way; what was removed before it stays removed
 */
export const removeTree = async (path: string): Promise<void> => {
  const parent = await unlessMissing(open(dirname(path), O_PATH | O_DIRECTORY))
  if (parent === undefined) return
  try {
    await removeEntry(pathAt(parent, basename(path)), path, await mountIdOf(parent))
  } catch (error) {
    if (!isErrno(error, 'EBUSY')) throw error
    throw new Fault('io', `${path} holds a mount point: ${(error as Error).message}`, { cause: error, retry: 'backoff' })
  } finally {
    await parent.close()
  }
}
