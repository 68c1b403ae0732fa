// Cgroups of this machine by name: made, limited, read, emptied and removed, on version 1 and 2, with either driver.
// It knows files and slices; what the limits should be is decided elsewhere. It never touches a name that it is not given.
// Follows the kernel's cgroup-v1 and cgroup-v2 documents.

import { mkdir, readdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type CgroupLimits, type FileWrite, toV1Files, toV2Files } from './cgroup-files.ts'
import { type CgroupLayout, type CgroupTree, toCgroupLayout } from './cgroup-layout.ts'
import { type CgroupDriver, type CgroupName, cgroupPath, childOf, sliceOf } from './cgroup-name.ts'
import { type CgroupFigures, createCgroupReader, readFigures } from './cgroup-read.ts'
import type { Clock } from './clock.ts'
import { isErrno } from './errno.ts'
import type { Exec } from './exec.ts'
import { Fault } from './fault.ts'
import { createSlices } from './systemd-slice.ts'

export interface Cgroups {
  readonly version: 1 | 2
  readonly driver: CgroupDriver
  /** Makes it, with all above it, in every hierarchy, and sets the limits. Fine when it is there. */
  ensure(name: CgroupName, limits?: CgroupLimits): Promise<void>
  /**
   * Sets limits of one that is there. Limits of a controller that this machine lacks are left out.
   * @throws Fault `kernel-refused` naming the file and the value; `not-found` when the cgroup is not there
   */
  set(name: CgroupName, limits: CgroupLimits): Promise<void>
  exists(name: CgroupName): Promise<boolean>
  /** Limits and use as the kernel shows them; undefined where there is no limit or no such controller. */
  read(name: CgroupName): Promise<CgroupFigures>
  /**
   * How often the kernel killed something for lack of memory in cgroups below it that are gone, or whose name contains `ending`.
   * Undefined on version 1, where a cgroup does not count what happens below it.
   */
  oomKillsOfGone(name: CgroupName, ending?: string): Promise<number | undefined>
  /** Last parts of the names right below it. */
  children(name: CgroupName): Promise<readonly string[]>
  /** Processes in it and below, in any hierarchy. */
  pids(name: CgroupName): Promise<readonly number[]>
  /**
   * Ends all that runs in it and below with SIGKILL.
   * @returns how many processes there were
   * @throws Fault `kernel-refused` when some are still there after 5 s
   */
  kill(name: CgroupName): Promise<number>
  /** Removes it and all below it; its processes must be gone or going. Fine when it is gone. */
  remove(name: CgroupName): Promise<void>
}

export interface CgroupsDeps {
  readonly driver: CgroupDriver
  readonly exec: Exec
  readonly clock: Clock
  /** What to work on; this machine's own when absent. */
  readonly layout?: CgroupLayout
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code
const isGone = (error: unknown): boolean => isErrno(error, 'ENOENT', 'ENODEV', 'ENOTDIR')

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

const readOr = async (file: string, otherwise: string): Promise<string> => {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if (isGone(error)) return otherwise
    throw error
  }
}

const refusal = (path: string, value: string, cause: unknown): Fault =>
  new Fault('kernel-refused', `the kernel refused ${JSON.stringify(value)} for ${path}: ${codeOf(cause) ?? String(cause)}`, {
    cause,
  })

/** A new cpuset is empty and takes no process until it has processors and memory nodes: those above it. */
const inheritCpuset = async (dir: string, parent: string): Promise<void> => {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if ((await readOr(join(dir, file), '')).trim() !== '') continue
    const value = (await readOr(join(parent, file), '')).trim()
    if (value !== '') await writeFile(join(dir, file), value, { flag: 'r+' })
  }
}

const wantedControllers = ['cpu', 'cpuset', 'memory', 'pids', 'hugetlb', 'io']

/** Version 2: what a cgroup's children can limit must be switched on in it first. */
const enableControllers = async (parent: string): Promise<void> => {
  const there = (await readOr(join(parent, 'cgroup.controllers'), '')).trim().split(/\s+/)
  const on = (await readOr(join(parent, 'cgroup.subtree_control'), '')).trim().split(/\s+/)
  for (const controller of wantedControllers) {
    if (!there.includes(controller) || on.includes(controller)) continue
    await writeFile(join(parent, 'cgroup.subtree_control'), `+${controller}`, { flag: 'r+' }).catch(error => {
      throw refusal(join(parent, 'cgroup.subtree_control'), `+${controller}`, error)
    })
  }
}

const makeDirectory = async (tree: CgroupTree, version: 1 | 2, path: string): Promise<void> => {
  if (path === '/' || path === '') return
  const dir = join(tree.mountPoint, path)
  const parentPath = path.slice(0, path.lastIndexOf('/'))
  const parent = join(tree.mountPoint, parentPath)
  // on version 2 a parent that is there may still lack the controllers of the one above it
  if (version === 2 || !(await isThere(parent))) await makeDirectory(tree, version, parentPath)
  if (version === 2) await enableControllers(parent)
  try {
    await mkdir(dir)
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw refusal(dir, 'mkdir', error)
  }
  if (tree.controllers.includes('cpuset')) await inheritCpuset(dir, parent)
}

const subdirectories = async (dir: string): Promise<readonly string[]> => {
  try {
    return (await readdir(dir, { withFileTypes: true })).filter(entry => entry.isDirectory()).map(entry => entry.name)
  } catch (error) {
    if (isGone(error)) return []
    throw error
  }
}

const collectPids = async (dir: string, found: Set<number>): Promise<void> => {
  for (const line of (await readOr(join(dir, 'cgroup.procs'), '')).split('\n')) {
    const pid = Number(line)
    // 0 stands for a process outside our PID namespace: kill(0) would end our own group instead
    if (pid > 1 && pid !== process.pid) found.add(pid)
  }
  for (const child of await subdirectories(dir)) await collectPids(join(dir, child), found)
}

const applyFile = async (dir: string, write: FileWrite): Promise<void> => {
  const file = join(dir, write.file)
  try {
    await writeFile(file, write.value, { flag: 'r+' })
  } catch (error) {
    if (write.optional === true && isGone(error)) return
    if (isGone(error)) {
      throw new Fault('not-found', `${file} is not there: the cgroup is gone or the kernel lacks the controller`, {
        cause: error,
      })
    }
    throw refusal(file, write.value, error)
  }
}

const oomKillsIn = async (dir: string): Promise<number> =>
  Number(/^oom_kill (\d+)$/m.exec(await readOr(join(dir, 'memory.events'), ''))?.[1] ?? 0)

const removalTries = 10
const killDeadlineMs = 5_000

const refuseWithoutSystemd = async (): Promise<void> => {
  if (await isThere('/run/systemd/system')) return
  throw new Fault(
    'unsupported',
    'the systemd cgroup driver needs systemd as init, which does not run here: set cgroupDriver to cgroupfs',
    {
      retry: 'never',
    },
  )
}

/**
 * The machine's cgroups; reads its mounts once.
 * @throws Fault `unsupported` without any hierarchy, or for the systemd driver without systemd
 */
export const createCgroups = async ({ driver, exec, clock, layout: given }: CgroupsDeps): Promise<Cgroups> => {
  if (driver === 'systemd') await refuseWithoutSystemd()
  const layout = given ?? toCgroupLayout(await readFile('/proc/self/mountinfo', 'utf8'))
  const { version, trees } = layout
  const reader = createCgroupReader(layout)
  const slices = driver === 'systemd' ? createSlices({ exec, version }) : undefined
  const pathOf = (name: CgroupName): string => cgroupPath(name, driver)
  const dirsOf = (name: CgroupName): readonly string[] => trees.map(tree => join(tree.mountPoint, pathOf(name)))

  const exists = async (name: CgroupName): Promise<boolean> => (await Promise.all(dirsOf(name).map(isThere))).every(Boolean)

  const writeFiles = async (name: CgroupName, limits: CgroupLimits): Promise<void> => {
    for (const write of version === 1 ? toV1Files(limits) : toV2Files(limits)) {
      const tree = version === 2 ? trees[0] : trees.find(it => it.controllers.includes(write.controller))
      if (tree === undefined) continue
      const dir = join(tree.mountPoint, pathOf(name))
      if (version === 2 && !(await readOr(join(dir, 'cgroup.controllers'), write.controller)).includes(write.controller)) continue
      await applyFile(dir, write)
    }
  }

  const startSlice = async (name: CgroupName, limits: CgroupLimits): Promise<void> => {
    if (slices === undefined || name.length === 0) return
    if (!(await exists(name.slice(0, -1)))) await startSlice(name.slice(0, -1), {})
    await slices.start(sliceOf(name), limits)
  }

  const ensure = async (name: CgroupName, limits: CgroupLimits = {}): Promise<void> => {
    if (slices !== undefined && !(await exists(name))) await startSlice(name, limits)
    await Promise.all(trees.map(tree => makeDirectory(tree, version, pathOf(name))))
    await writeFiles(name, limits)
  }

  const pids = async (name: CgroupName): Promise<readonly number[]> => {
    const found = new Set<number>()
    for (const dir of dirsOf(name)) await collectPids(dir, found)
    return [...found]
  }

  const killOnce = async (name: CgroupName): Promise<number> => {
    const found = await pids(name)
    if (version === 2 && found.length > 0) {
      // since 5.14; takes processes that fork while they are being listed, too
      const atOnce = dirsOf(name).map(dir => writeFile(join(dir, 'cgroup.kill'), '1', { flag: 'r+' }))
      if ((await Promise.allSettled(atOnce)).every(result => result.status === 'fulfilled')) return found.length
    }
    for (const pid of found) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch (error) {
        if (!isErrno(error, 'ESRCH')) throw new Fault('kernel-refused', `process ${pid} cannot be ended`, { cause: error })
      }
    }
    return found.length
  }

  const kill = async (name: CgroupName): Promise<number> => {
    const first = await killOnce(name)
    let left = first
    for (let waited = 0, pause = 5; left > 0; waited += pause, pause = Math.min(pause * 2, 200)) {
      if (waited >= killDeadlineMs) {
        throw new Fault('kernel-refused', `${left} processes in ${pathOf(name)} do not end (stuck in the kernel?)`)
      }
      await clock.sleep(pause)
      left = await killOnce(name)
    }
    return first
  }

  const removeDirectory = async (dir: string): Promise<void> => {
    for (const child of await subdirectories(dir)) await removeDirectory(join(dir, child))
    for (let attempt = 1, pause = 1; ; attempt++, pause *= 2) {
      try {
        return await rmdir(dir)
      } catch (error) {
        if (isGone(error)) return
        // the last process has been told to end, and the kernel has not let go of it yet
        if (!isErrno(error, 'EBUSY') || attempt === removalTries) throw refusal(dir, 'rmdir', error)
        await clock.sleep(pause)
      }
    }
  }

  return {
    version,
    driver,
    ensure,
    set: async (name, limits) => {
      if (slices !== undefined) {
        // systemd would make a slice that it does not know, only to limit it
        if (!(await exists(name))) throw new Fault('not-found', `cgroup ${pathOf(name)} is not there`)
        await slices.set(sliceOf(name), limits)
      }
      await writeFiles(name, limits)
    },
    exists,
    read: async name => readFigures(reader, pathOf(name)),
    oomKillsOfGone: async (name, ending) => {
      if (version === 1) return undefined
      let kills = 0
      for (const dir of dirsOf(name)) {
        // The whole first: what happens meanwhile is counted the next time.
        kills += await oomKillsIn(dir)
        for (const child of await subdirectories(dir))
          if (ending === undefined || !child.includes(ending)) kills -= await oomKillsIn(join(dir, child))
      }
      return kills
    },
    children: async name => {
      const found = await Promise.all(dirsOf(name).map(subdirectories))
      const parts = found.flat().map(directory => childOf(directory, name, driver))
      return [...new Set(parts.filter(part => part !== undefined))]
    },
    pids,
    kill,
    remove: async name => {
      if (name.length === 0) throw new Fault('kernel-refused', 'the root cgroup cannot be removed', { retry: 'never' })
      // a unit without a cgroup is gone or was never ours; asking systemd costs a process
      if ((await Promise.all(dirsOf(name).map(isThere))).some(Boolean)) await slices?.stop(sliceOf(name))
      await Promise.all(dirsOf(name).map(removeDirectory))
    },
  }
}
