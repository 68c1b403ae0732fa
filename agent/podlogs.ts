// Where a pod's logs are: its folder under podLogsDir, and the links under /var/log/containers that log collectors follow.
// The runtime writes the files; this makes the folder, links the containers' logs and takes all of it away with the pod.
import { mkdir, readdir, readlink, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Pod } from '../api/types.ts'
import { containerLogPath, legacyLogName, podLogFolder } from './labels.ts'

export interface PodLogs {
  readonly podLogsDir: string
  /** Makes the pod's folder, and that of a container. @throws the file system's error, such as ENOSPC */
  prepare(pod: Pod, container?: string): Promise<void>
  link(pod: Pod, container: string, containerId: string, restartCount: number): Promise<void>
  /** Removes the pod's folder and its links. */
  remove(pod: Pod): Promise<void>
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
      await mkdir(container === undefined ? folder(pod) : join(folder(pod), container), { recursive: true, mode: 0o755 })
    },
    link: async (pod, container, containerId, restartCount) => {
      const link = join(containersDir, legacyLogName(pod, container, containerId))
      await mkdir(containersDir, { recursive: true, mode: 0o755 })
      await rm(link, { force: true })
      await symlink(join(folder(pod), containerLogPath(container, restartCount)), link)
    },
    remove: async pod => {
      await rm(folder(pod), { recursive: true, force: true })
      const prefix = `${pod.metadata.name}_${pod.metadata.namespace ?? 'default'}_`
      const names = await readdir(containersDir).catch(() => [])
      for (const name of names.filter(it => it.startsWith(prefix))) {
        const target = await readlink(join(containersDir, name)).catch(() => '')
        if (dirname(dirname(target)) === folder(pod)) await rm(join(containersDir, name), { force: true })
      }
    },
  }
}
