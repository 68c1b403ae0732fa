// How the daemon's pods begin to run once its parts are there: the runtime is waited for, its network is set up, then pods are adopted and
// started, and the runtime's events are followed. Also what a node does beside its pods. Joins parts and decides nothing.
import { createTasks, removingForgottenTasks } from '../api/containerd/tasks.ts'
import { createCri } from '../api/cri/client.ts'
import type { Cri } from '../api/cri/cri.ts'
import { chooseEvents } from '../api/events.ts'
import type { Source } from '../api/source.ts'
import type { Pod } from '../api/types.ts'
import type { Clock } from '../host/clock.ts'
import { describe } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import type { Agent } from './agent.ts'
import type { AgentConfig } from './config/agent-config.ts'
import type { EvictionStart } from './eviction/start.ts'
import { imageGcSettings } from './gc.ts'
import { createHousekeeping, type Housekeeping } from './housekeeping.ts'
import type { Machinery } from './machinery.ts'
import { whenRuntimeAnswers } from './patience.ts'
import { createLogRotation } from './rotate.ts'
import { type CniFolders, readCniFolders, readRuntimeFacts } from './runtime-facts.ts'
import { diskUsage } from './stats/disk-usage.ts'
import type { KubeletMetrics } from './stats/kubelet-metrics.ts'
import { createStorageWatch, type StorageWatch } from './storage-watch.ts'

export const createRuntime = (config: AgentConfig, clock: Clock, parent: Log): Cri => {
  const { runtimeSocket: endpoint, imageSocket: imageEndpoint, runtimeRequestTimeout: requestMs } = config
  const log = parent.child({ part: 'cri' })
  return removingForgottenTasks(
    createCri({ endpoint, imageEndpoint, clock, log, timeouts: { requestMs } }),
    createTasks({ endpoint, clock }),
    log,
  )
}

export interface RunningDeps {
  readonly config: AgentConfig
  readonly runtime: Cri
  readonly agent: Agent
  readonly clock: Clock
  readonly log: Log
}

export const housekeepingOf = ({ config, runtime, agent, clock, log }: RunningDeps, wanted: Source<Pod>): Housekeeping =>
  createHousekeeping({
    runtime,
    workers: agent.pods.workers,
    wanted: wanted.list,
    clock,
    log: log.child({ part: 'housekeeping' }),
    rotation: createLogRotation({
      cri: runtime,
      clock,
      maxBytes: config.containerLogMaxBytes,
      maxFiles: config.containerLogMaxFiles,
    }),
    rotationMs: config.containerLogMonitorInterval,
    images: imageGcSettings(config),
  })

/** Undefined where the configuration says that nobody is held to what they may keep on the disk. */
export const storageWatchOf = (
  { config, runtime, agent, clock, log }: RunningDeps,
  metrics: Pick<KubeletMetrics, 'evicted'> | undefined,
): StorageWatch | undefined =>
  config.kubelet.localStorageCapacityIsolation
    ? createStorageWatch({
        pods: () =>
          agent.pods
            .workers()
            .filter(it => it.phase === 'syncing')
            .map(it => it.pod),
        measure: async path => (await diskUsage(path))?.bytes,
        ...{ runtime, rootDir: config.rootDir, podLogsDir: config.podLogsDir, clock, log: log.child({ part: 'storage' }) },
        sharesImageDisk: true,
        onExceeded: (pod, { signal, message }) => {
          agent.evict(pod, { message })
          metrics?.evicted(signal)
        },
      })
    : undefined

export interface PodsStart extends RunningDeps {
  readonly machinery: Machinery
  /** Sets up the pod network; may resolve before that is done when only the apiserver knows its addresses. */
  readonly installNetwork: (folders: CniFolders, sandboxIds: Iterable<string>) => Promise<void>
  /** Pods that run are adopted, the others have been begun. */
  readonly onRunning: () => void
  readonly signal: AbortSignal
}

/** Resolves when nobody follows the runtime's events any more. */
export const startPods = async (deps: PodsStart): Promise<void> => {
  const { config, runtime, machinery, agent, clock, log, signal } = deps
  const { cgroups, self } = machinery
  await cgroups.ensureRoots(self.enforced)
  const folders = await whenRuntimeAnswers(() => readCniFolders(runtime), { clock, log })
  const sandboxes = await whenRuntimeAnswers(() => runtime.listPodSandbox(), { clock, log })
  const { binDir = folders.binDir, confDir = folders.confDir } = config.cni
  await deps.installNetwork(
    { binDir, confDir },
    sandboxes.map(it => it.id),
  )
  await agent.start(signal)
  log.info({ node: config.nodeName, runtime: (await readRuntimeFacts(runtime)).version }, 'running pods')
  deps.onRunning()
  const { onEvent, onConnected, onLost } = agent.follower
  const watched = await chooseEvents({
    endpoint: config.runtimeSocket,
    clock,
    log: log.child({ part: 'events' }),
    onEvent,
    onConnected,
    onLost,
    signal,
  })
  if (watched === 'none') log.warn({}, 'the runtime has no event stream: ends of containers are noticed within a second')
}

/** To be begun when pods run: one that is adopted is not to be refused by a node that runs short meanwhile. */
export const evictWhenShort = async (start: EvictionStart): Promise<void> => {
  try {
    const { runEviction } = await import('./eviction/start.ts')
    await runEviction(start)
  } catch (error) {
    start.log.error({ err: error }, `the node is not kept from running short: ${describe(error)}`)
  }
}
