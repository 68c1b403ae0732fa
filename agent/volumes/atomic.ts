// Writes the files of a volume so that a reader sees all of the old ones or all of the new ones. What a user sees are
// links through `..data`, which is swapped by one rename; programs that watch it (inotify) rely on these very names.
// Follows the kubelet's layout (pkg/volume/util/atomic_writer.go), so that either can go on where the other stopped.
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Clock, Millis } from '../../host/clock.ts'
import { isErrno, unlessMissing } from '../../host/errno.ts'
import { removeTree } from '../../host/files.ts'
import type { Payload } from './payload.ts'

const dataLink = '..data'
const nextLink = '..data_tmp'
/** A reader that has just resolved `..data` may still be on its way to a file of the folder that was replaced. */
const graceMs = 50

/** `..2026_01_31_12_00_00.`, to which mkdtemp adds what makes it unique. */
const folderPrefix = (now: Millis): string => {
  const [date = '', time = ''] = new Date(now).toISOString().slice(0, 19).split('T')
  return `..${date.replaceAll('-', '_')}_${time.replaceAll(':', '_')}.`
}

const firstPart = (path: string): string => path.split('/', 1)[0] ?? path

/** The files below a folder, by their path in it. */
const filesBelow = async (folder: string, prefix = ''): Promise<string[]> => {
  const entries = (await unlessMissing(readdir(folder, { withFileTypes: true }))) ?? []
  const found = await Promise.all(
    entries.map(entry =>
      entry.isDirectory() ? filesBelow(join(folder, entry.name), `${prefix}${entry.name}/`) : [`${prefix}${entry.name}`],
    ),
  )
  return found.flat()
}

const holds = async (folder: string, payload: Payload): Promise<boolean> => {
  const there = await filesBelow(folder)
  if (there.length !== payload.size || there.some(path => !payload.has(path))) return false
  for (const [path, { content }] of payload) {
    if (!content.equals(await readFile(join(folder, path)))) return false
  }
  return true
}

const fill = async (folder: string, payload: Payload): Promise<void> => {
  for (const [path, { content, mode, uid }] of payload) {
    const file = join(folder, path)
    await mkdir(dirname(file), { recursive: true, mode: 0o777 })
    await writeFile(file, content, { mode: 0o600, flag: 'wx' })
    // the mode after the content: mode 0400 and the like, whatever the umask
    await chmod(file, mode)
    // the group stays as it is
    if (uid !== undefined) await chown(file, uid, -1)
  }
}

const linkVisible = async (dir: string, payload: Payload): Promise<void> => {
  for (const name of new Set([...payload.keys()].map(firstPart))) {
    try {
      await symlink(join(dataLink, name), join(dir, name))
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error
    }
  }
}

/** Takes away links to files that are gone, and data folders that a crash has left. */
const sweep = async (dir: string, payload: Payload, current: string): Promise<void> => {
  const wanted = new Set([...payload.keys()].map(firstPart))
  for (const name of await readdir(dir)) {
    const path = join(dir, name)
    if (name === dataLink || name === current || wanted.has(name)) continue
    if (/^\.\.\d{4}_/.test(name)) await removeTree(path)
    // only our own links: folders for nested mounts stay
    else if ((await lstat(path)).isSymbolicLink() && (await readlink(path)) === join(dataLink, name)) await unlink(path)
  }
}

const publish = async (dir: string, folder: string): Promise<void> => {
  // a crash between these two would leave the link behind, and no later write would succeed
  await rm(join(dir, nextLink), { force: true })
  await symlink(folder, join(dir, nextLink))
  await rename(join(dir, nextLink), join(dir, dataLink))
}

export interface WriteVolume {
  readonly dir: string
  readonly payload: Payload
  readonly clock: Pick<Clock, 'now' | 'sleep'>
  /** Sets owners and modes of the new files before anybody can see them. */
  readonly own: () => Promise<void>
}

/**
 * Brings a volume to this content. Not to be called twice at once for one volume.
 * @returns false when it was there already and nothing was written
 */
export const writeVolume = async ({ dir, payload, clock, own }: WriteVolume): Promise<boolean> => {
  const before = await unlessMissing(readlink(join(dir, dataLink)))
  const isCurrent = before !== undefined && (await holds(join(dir, before), payload))
  let current = before
  if (!isCurrent) {
    const made = await mkdtemp(join(dir, folderPrefix(clock.now())))
    current = made.slice(dir.length + 1)
    try {
      await chmod(made, 0o755)
      await fill(made, payload)
      await own()
      await publish(dir, current)
    } catch (error) {
      await removeTree(made)
      throw error
    }
  }
  await linkVisible(dir, payload)
  if (!isCurrent && before !== undefined) await clock.sleep(graceMs)
  await sweep(dir, payload, current ?? '')
  return !isCurrent
}
