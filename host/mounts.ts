// The mount table of this process's mount namespace: read from /proc/self/mountinfo, changed by mount(8) and umount(8); what pods start with,
// tmpfs and plain bind mounts, by mount(2) itself. Never umount(2): that of a tmpfs with 512 MB in it takes 80 ms, of a dead server forever.
// Always --no-canonicalize: these programs would otherwise resolve the path again, and a path through /proc/PID/fd/N,
// which holds a folder against swapped links, would be a plain path again (the race of CVE-2017-1002101).
import { readFile } from 'node:fs/promises'
import { sep } from 'node:path'
import { type DirectMount, directMount } from './direct-mount.ts'
import type { Exec } from './exec.ts'
import { describe, Fault } from './fault.ts'
import { createGroup } from './group.ts'

export interface MountEntry {
  readonly id: number
  readonly parent: number
  /** The folder of its file system that is mounted: `/`, or another one for a bind mount. */
  readonly root: string
  /** Where it is mounted. */
  readonly path: string
  readonly options: readonly string[]
  readonly isShared: boolean
  readonly fsType: string
  readonly source: string
  readonly superOptions: readonly string[]
}

const unescapeOctal = (field: string): string =>
  field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))

const parseLine = (line: string): MountEntry | undefined => {
  const fields = line.split(' ')
  const dash = fields.indexOf('-', 6)
  const [id, parent, , root, path, options] = fields
  const [fsType, source, superOptions] = fields.slice(dash + 1)
  if (dash < 0 || path === undefined || root === undefined || fsType === undefined) return undefined
  return {
    id: Number(id),
    parent: Number(parent),
    root: unescapeOctal(root),
    path: unescapeOctal(path),
    options: (options ?? '').split(','),
    isShared: fields.slice(6, dash).some(field => field.startsWith('shared:')),
    fsType,
    source: unescapeOctal(source ?? ''),
    superOptions: (superOptions ?? '').split(','),
  }
}

/** Reads proc(5) mountinfo, in the kernel's order: what is mounted over something comes after it. */
export const parseMountInfo = (text: string): readonly MountEntry[] => text.split('\n').flatMap(line => parseLine(line) ?? [])

/** The mounts at or below a folder, those to be unmounted first first. */
export const mountsBelow = (mounts: readonly MountEntry[], folder: string): readonly MountEntry[] =>
  mounts
    .filter(({ path }) => path === folder || path.startsWith(folder + sep))
    // a mount point that somebody removed has no path any more that could be unmounted
    .filter(({ path }) => !path.endsWith('//deleted'))
    .map((entry, order) => ({ entry, order, depth: entry.path.split(sep).length }))
    .sort((a, b) => b.depth - a.depth || b.order - a.order)
    .map(({ entry }) => entry)

export interface TmpfsOptions {
  readonly sizeBytes?: number
  /** Keeps its pages out of swap; the kernel has to know the option (6.4). */
  readonly noswap?: boolean
}

export interface UnmountOptions {
  readonly lazy?: boolean
  readonly alone?: boolean
  readonly force?: boolean
}

export interface Mounts {
  list(): Promise<readonly MountEntry[]>
  /** The uppermost mount at this very path; the path must hold no symbolic link. */
  at(path: string): Promise<MountEntry | undefined>
  isMountPoint(path: string): Promise<boolean>
  /** Mounts at or below the folder, in the order in which they can be unmounted. */
  under(folder: string): Promise<readonly MountEntry[]>
  /** @throws Fault `command` with what mount(8) said */
  tmpfs(target: string, options: TmpfsOptions): Promise<void>
  /**
   * Shows `source` (a file or a folder, without the mounts below it) at `target`, which must be of the same kind.
   * @param options of this mount, such as `ro`
   */
  bind(source: string, target: string, options?: readonly string[]): Promise<void>
  /**
   * Mounts a file system of a disk or a server.
   * @throws Fault `command` with what mount(8) said, also when it takes longer than two minutes
   */
  fileSystem(fsType: string, source: string, target: string, options: readonly string[]): Promise<void>
  /**
   * Succeeds when it is not mounted (any more).
   * @param lazy takes it out of sight at once, and ends it when its last user is gone
   * @param alone by a process of its own, for a server that may be slow: nobody else waits for it
   * @param force for a server that does not answer: what was not written yet is lost
   * @throws Fault `command` when it is busy
   */
  unmount(path: string, options?: UnmountOptions): Promise<void>
}

/** Servers that are slow to answer, and disks that have to be checked. */
const fileSystemMs = 120_000

const throwIfAny = (problems: readonly (Fault | undefined)[] | undefined): void => {
  const first = problems?.find(it => it !== undefined)
  if (first !== undefined) throw first
}

export interface MountsDeps {
  readonly exec: Pick<Exec, 'run'>
  readonly direct?: DirectMount
  readonly readTable?: () => Promise<string>
}

const readOwnTable = () => readFile('/proc/self/mountinfo', 'utf8')

export const createMounts = ({ exec, direct = directMount, readTable = readOwnTable }: MountsDeps): Mounts => {
  const list = async () => parseMountInfo(await readTable())
  const at = async (path: string) => (await list()).findLast(entry => entry.path === path)
  /** Goes on behind one that fails. @returns for each path why it is still mounted, or nothing */
  const unmountAll = async (paths: readonly string[], ...options: readonly string[]) => {
    try {
      await exec.run(['umount', '--no-canonicalize', ...options, ...paths])
      return undefined
    } catch (error) {
      const left = new Set((await list()).map(entry => entry.path))
      const cannot = (path: string) => new Fault('command', `cannot unmount ${path}: ${describe(error)}`, { cause: error })
      return paths.map(path => (left.has(path) ? cannot(path) : undefined))
    }
  }
  // Pods that end together cost one process.
  const unmounts = createGroup<string>(paths => unmountAll(paths))
  const lazyUnmounts = createGroup<string>(paths => unmountAll(paths, '--lazy'))
  const mount = (...args: readonly string[]) => exec.run(['mount', '--no-canonicalize', '--no-mtab', ...args])
  return {
    list,
    at,
    isMountPoint: async path => (await at(path)) !== undefined,
    under: async folder => mountsBelow(await list(), folder),
    tmpfs: async (target, { sizeBytes, noswap }) => {
      const options = [...(sizeBytes === undefined ? [] : [`size=${sizeBytes}`]), ...(noswap ? ['noswap'] : [])].join(',')
      if (direct.tmpfs(target, options)) return
      await mount('-t', 'tmpfs', ...(options === '' ? [] : ['-o', options]), 'tmpfs', target)
    },
    bind: async (source, target, options = []) => {
      // Options are words of mount(8), and most take a second call.
      if (options.length === 0 && (await direct.bind(source, target))) return
      await mount('-o', ['bind', ...options].join(','), source, target)
    },
    fileSystem: async (fsType, source, target, options) => {
      const argv = ['-t', fsType, ...(options.length > 0 ? ['-o', options.join(',')] : []), source, target]
      await exec.run(['mount', '--no-canonicalize', '--no-mtab', ...argv], { timeoutMs: fileSystemMs })
    },
    unmount: async (path, { lazy = false, alone = false, force = false } = {}) => {
      if (!alone && !force) return (lazy ? lazyUnmounts : unmounts).add(path)
      throwIfAny(await unmountAll([path], ...(force ? ['--force'] : []), ...(lazy ? ['--lazy'] : [])))
    },
  }
}
