// Where a pod's logs are: its folder under podLogsDir, and the links under /var/log/containers that log collectors follow.
// The runtime writes the files; this makes the folder, links the containers' logs and takes all of it away with the pod.
import { mkdir, readdir, readlink, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Pod } from '../api/types.ts'
import { Fault } from '../host/fault.ts'
import { containerLogPath, legacyLogName, podLogFolder } from './labels.ts'

export interface PodLogs {
  readonly podLogsDir: string
  /** Makes the pod's folder, and that of a container. @throws Fault `io` with the file system's error, such as ENOSPC */
  prepare(pod: Pod, container?: string): Promise<void>
  link(pod: Pod, container: string, containerId: string, restartCount: number): Promise<void>
  /** Removes the logs of one attempt, rotated ones too, and the link to them: as the runtime forgets it, nobody can ask for them. */
  removeContainer(pod: Pod, attempt: { readonly name: string; readonly id: string; readonly restartCount: number }): Promise<void>
  /** Removes the pod's links, then its folder: whatever ends in between is found again by the folder. */
  remove(pod: Pod): Promise<void>
  /** Removes the folders of pods that are not among these uids, and all links to them. @returns the folders' names */
  removeUnknown(known: ReadonlySet<string>): Promise<readonly string[]>
}

/** A folder's name as `podLogFolder` makes it; the uid is what follows the last underscore. */
const uidOfFolder = (name: string): string | undefined => /^[^_]+_[^_]+_([^_]+)$/.exec(name)?.[1]

/** Removes those links of a folder that lead to a container's log in such a pod's folder, also when that is gone already. */
const removeLinks = async (linksDir: string, leadsTo: (podFolder: string) => boolean): Promise<void> => {
  for (const name of await readdir(linksDir).catch(() => [])) {
    const target = await readlink(join(linksDir, name)).catch(() => undefined)
    if (target !== undefined && leadsTo(dirname(dirname(target)))) await rm(join(linksDir, name), { force: true })
  }
}

/**
 * @param containersDir the folder of links: /var/log/containers; beside podLogsDir where that is not the default, so that two
 *   nodes on one machine do not share it
 */
export const createPodLogs = ({ podLogsDir, containersDir }: { podLogsDir: string; containersDir: string }): PodLogs => {
  const folder = (pod: Pod) => join(podLogsDir, podLogFolder(pod))
  return {
    podLogsDir,
    prepare: async (pod, container) => {
      const path = container === undefined ? folder(pod) : join(folder(pod), container)
      await mkdir(path, { recursive: true, mode: 0o755 }).catch(cause => {
        throw new Fault('io', 'the folder of its logs could not be made', { cause })
      })
    },
    link: async (pod, container, containerId, restartCount) => {
      const link = join(containersDir, legacyLogName(pod, container, containerId))
      await mkdir(containersDir, { recursive: true, mode: 0o755 })
      await rm(link, { force: true })
      await symlink(join(folder(pod), containerLogPath(container, restartCount)), link)
    },
    removeContainer: async (pod, { name, id, restartCount }) => {
      const log = join(folder(pod), containerLogPath(name, restartCount))
      const rotated = (await readdir(dirname(log)).catch(() => [])).filter(it => it.startsWith(`${basename(log)}.`))
      await rm(join(containersDir, legacyLogName(pod, name, id)), { force: true })
      for (const path of [log, ...rotated.map(it => join(dirname(log), it))]) await rm(path, { force: true })
    },
    remove: async pod => {
      await removeLinks(containersDir, podFolder => podFolder === folder(pod))
      await rm(folder(pod), { recursive: true, force: true })
    },
    removeUnknown: async known => {
      const isUnknown = (name: string) => {
        const uid = uidOfFolder(name)
        return uid !== undefined && !known.has(uid)
      }
      await removeLinks(containersDir, podFolder => dirname(podFolder) === podLogsDir && isUnknown(basename(podFolder)))
      const unknown = (await readdir(podLogsDir).catch(() => [])).filter(isUnknown)
      for (const name of unknown) await rm(join(podLogsDir, name), { recursive: true, force: true })
      return unknown
    },
  }
}
