// Eviction on this machine: the real parts behind agent/eviction/eviction.ts, put together. Loaded when pods run, and not at all where the
// configuration names no threshold. Decides nothing.
import { readFileSync } from 'node:fs'
import type { Cri } from '../../api/cri/cri.ts'
import type { Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import { toCgroupLayout } from '../../host/cgroup-layout.ts'
import { type CgroupDriver, cgroupPath, toCgroupName } from '../../host/cgroup-name.ts'
import { createCgroupReader } from '../../host/cgroup-read.ts'
import type { Clock } from '../../host/clock.ts'
import type { Log } from '../../host/log.ts'
import type { Agent } from '../agent.ts'
import type { AgentConfig } from '../config/agent-config.ts'
import type { Housekeeping } from '../housekeeping.ts'
import type { Machinery } from '../machinery.ts'
import { nodeReference } from '../report/event-object.ts'
import type { EventRecorder } from '../report/events.ts'
import { createHostFigures } from '../stats/host-figures.ts'
import type { KubeletMetrics } from '../stats/kubelet-metrics.ts'
import { createEviction, type EvictionHow } from './eviction.ts'
import { createNodeSignals } from './node-signals.ts'
import { removeEndedContainers } from './reclaim.ts'
import { type Starved, toThresholds } from './thresholds.ts'

export interface EvictionStart {
  readonly config: AgentConfig
  readonly runtime: Cri
  readonly cgroupDriver: CgroupDriver
  readonly machinery: Machinery
  readonly agent: Agent
  readonly housekeeping: Housekeeping
  /** Pods with their live status. */
  readonly live: Pick<Source<Pod>, 'list'>
  readonly metrics: Pick<KubeletMetrics, 'evicted'> | undefined
  /** The node's conditions have changed. */
  readonly onConditions: () => void
  /** Of Events about the node, where there is somebody to tell. */
  readonly recorder: Pick<EventRecorder, 'record'> | undefined
  readonly clock: Clock
  readonly log: Log
  readonly signal: AbortSignal
}

const evicted = 'Evicted'

/** Pods that may have to go, and how they go. */
export const evictable = (agent: Pick<Agent, 'pods' | 'evict'>) => ({
  candidates: () =>
    agent.pods
      .workers()
      .filter(it => it.phase !== 'terminated' && it.ending?.verdict?.reason !== evicted)
      .map(it => it.pod),
  evict: (pod: Pod, how: EvictionHow) => agent.evict(pod, { ...how, isDisruption: true }),
  hasEnded: ({ metadata }: Pod) => (agent.pods.worker(metadata.uid ?? '')?.phase ?? 'terminated') === 'terminated',
})

/** Runs until the signal aborts. */
export const runEviction = async (start: EvictionStart): Promise<void> => {
  const { config, runtime, machinery, agent, housekeeping, live, clock, log } = start
  const { kubelet, rootDir, podLogsDir } = config
  const thresholds = toThresholds(kubelet)
  if (thresholds.length === 0) return
  const reader = createCgroupReader(toCgroupLayout(readFileSync('/proc/self/mountinfo', 'utf8')))
  const host = createHostFigures(reader.version)
  const podsCgroup = cgroupPath([...toCgroupName(config.cgroupRoot), 'kubepods'], start.cgroupDriver)
  const measure = async (starved: Starved) => {
    const { measurePods } = await import('./pod-uses.ts')
    const { parentOf } = machinery.cgroups
    return measurePods({ pods: live.list, parentOf, reader, host, rootDir, podLogsDir, cri: runtime, clock }, starved)
  }
  const eviction = createEviction({
    ...evictable(agent),
    ...{ thresholds, measure, clock, log: log.child({ part: 'eviction' }) },
    transitionMs: kubelet.evictionPressureTransitionPeriod,
    longestGrace: kubelet.evictionMaxPodGracePeriod,
    watchesMemory: kubelet.kernelMemcgNotification,
    signals: createNodeSignals({ rootDir, podsCgroup, pidLimit: machinery.machine.pidLimit, runtime, reader, host }),
    reclaim: {
      containers: () => removeEndedContainers(runtime, agent.pods.workers()),
      images: housekeeping.removeUnusedImages,
    },
    onConditions: conditions => {
      machinery.self.pressure.set(conditions)
      if (conditions.length === 0) agent.pods.retryResizes()
      start.onConditions()
    },
    onReclaiming: starved =>
      start.recorder?.record(
        nodeReference(config.nodeName),
        'Warning',
        'EvictionThresholdMet',
        `Attempting to reclaim ${starved}`,
      ),
    onEvicted: signal => start.metrics?.evicted(signal),
  })
  await eviction.run(start.signal)
}
