// `nodelet agent --cleanup`: with the daemon stopped, takes away everything that the pods' half made, and says what it was.
// Goes on past what fails, so that one stubborn mount does not keep the rest; main.ts adds what proxy and cni made.
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Cri } from '../api/cri/cri.ts'
import { describe, except } from '../host/fault.ts'
import type { PodCgroups } from './cgroups.ts'
import { podNameLabel, podNamespaceLabel, podUidLabel } from './labels.ts'
import type { Volumes } from './volumes/volumes.ts'

export interface CleanupDeps {
  readonly runtime: Pick<
    Cri,
    'listPodSandbox' | 'listContainers' | 'stopContainer' | 'stopPodSandbox' | 'removePodSandbox' | 'removeContainer'
  >
  readonly volumes: Pick<Volumes, 'podFolders' | 'teardown'>
  readonly cgroups: Pick<PodCgroups, 'removeAll' | 'pods'>
  readonly podLogsDir: string
  readonly containersDir: string
  /** One line for each thing that is gone. */
  readonly removed: (what: string) => void
  readonly failed: (what: string) => void
}

/** Seconds that a container has to end by itself: its pod is not wanted any more, and somebody waits. */
const grace = 2

/** Removes pods, their folders, logs and cgroups. */
export const cleanupPods = async (deps: CleanupDeps): Promise<void> => {
  const attempt = async (what: string, work: () => Promise<unknown>) => {
    try {
      await work()
      deps.removed(what)
    } catch (error) {
      deps.failed(`${what}: ${describe(error)}`)
    }
  }
  await cleanupRuntime(deps, attempt).catch(error => deps.failed(`the pods of the container runtime: ${describe(error)}`))
  for (const uid of await deps.volumes.podFolders()) await attempt(`the files of pod ${uid}`, () => deps.volumes.teardown(uid))
  for (const uid of await deps.cgroups.pods()) deps.removed(`the cgroup of pod ${uid}`)
  await deps.cgroups.removeAll()
  const folders = await readdir(deps.podLogsDir).catch(() => [])
  for (const folder of folders.filter(it => /^[^_]+_[^_]+_[^_]+$/.test(it)))
    await attempt(`the logs in ${folder}`, () => rm(join(deps.podLogsDir, folder), { recursive: true, force: true }))
  await removeDeadLinks(deps.containersDir)
}

type Attempt = (what: string, work: () => Promise<unknown>) => Promise<void>

const cleanupRuntime = async ({ runtime }: CleanupDeps, attempt: Attempt): Promise<void> => {
  const containers = (await runtime.listContainers()).filter(it => it.labels[podUidLabel])
  await Promise.all(containers.map(it => except(runtime.stopContainer(it.id, grace), 'not-found', 'runtime-refused')))
  await Promise.all(containers.map(it => except(runtime.removeContainer(it.id), 'not-found', 'runtime-refused')))
  const sandboxes = (await runtime.listPodSandbox()).filter(it => it.labels[podUidLabel])
  await Promise.all(
    sandboxes.map(({ id, labels }) =>
      attempt(`pod ${labels[podNamespaceLabel]}/${labels[podNameLabel]}`, async () => {
        await except(runtime.stopPodSandbox(id), 'not-found')
        await except(runtime.removePodSandbox(id), 'not-found')
      }),
    ),
  )
}

/** Links of log collectors that lead nowhere now. */
const removeDeadLinks = async (folder: string): Promise<void> => {
  for (const name of await readdir(folder).catch(() => [])) {
    const link = join(folder, name)
    const leads = await stat(link).then(
      () => true,
      () => false,
    )
    if (!leads) await rm(link, { force: true })
  }
}
