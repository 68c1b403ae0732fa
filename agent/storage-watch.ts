// Measures what pods hold of the node's disk, those that have a limit only, and names the ones that hold more. Decides and ends
// nothing itself: local-storage.ts knows the limits, the pod's worker ends it. Folders are walked, so that it works on any file system;
// the longer a walk takes, the longer the pause after it.
import { join } from 'node:path'
import type { Cri } from '../api/cri/cri.ts'
import { fullName } from '../api/pod.ts'
import type { Pod } from '../api/types.ts'
import type { Clock, Timer } from '../host/clock.ts'
import { describe } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import { containerNameLabel, podLogFolder, podUidLabel } from './labels.ts'
import { type Excess, exceeded, type LocalUsage, toMeasure } from './local-storage.ts'
import { hostsFile, podDir, volumeDir } from './volumes/paths.ts'

export interface StorageWatchDeps {
  /** Pods that run or are about to. */
  readonly pods: () => readonly Pod[]
  /** Bytes on the disk below a folder, or of a file; undefined when there is none. */
  readonly measure: (path: string) => Promise<number | undefined>
  readonly runtime: Pick<Cri, 'listContainerStats'>
  readonly rootDir: string
  readonly podLogsDir: string
  /** Whether containers write to the disk that holds volumes and logs; otherwise their layers do not count for them. */
  readonly sharesImageDisk: boolean
  /** The pod is to be evicted, with this message in its status. */
  readonly onExceeded: (pod: Pod, excess: Excess) => void
  readonly clock: Clock
  readonly log: Log
}

export interface StorageWatch {
  start(): void
  stop(): void
  /** One round over all pods; what the timer does. */
  look(): Promise<void>
}

const pauseMs = 10_000
/** At most a twentieth of the time is spent on walking folders. */
const pausePerWork = 20

export const createStorageWatch = (deps: StorageWatchDeps): StorageWatch => {
  const { clock, log, measure } = deps
  let timer: Timer | undefined
  let isStopped = false

  /** The writable layers of the pod's containers by name; ended attempts of a container count with it. */
  const layersOf = async (uid: string): Promise<ReadonlyMap<string, number>> => {
    const layers = new Map<string, number>()
    for (const { attributes, writableLayer } of await deps.runtime.listContainerStats({
      labelSelector: { [podUidLabel]: uid },
    })) {
      const name = attributes.labels[containerNameLabel] ?? attributes.metadata?.name ?? ''
      layers.set(name, (layers.get(name) ?? 0) + (writableLayer?.usedBytes?.value ?? 0))
    }
    return layers
  }

  const usageOf = async (pod: Pod, wanted: ReturnType<typeof toMeasure>): Promise<LocalUsage> => {
    const uid = pod.metadata.uid ?? ''
    const dir = podDir(deps.rootDir, uid)
    const emptyDirs = new Map<string, number>()
    for (const name of wanted.emptyDirs) emptyDirs.set(name, (await measure(volumeDir(dir, 'empty-dir', name))) ?? 0)
    if (!wanted.whole) return { emptyDirs, containers: new Map(), otherBytes: 0 }
    const layers = deps.sharesImageDisk ? await layersOf(uid) : new Map<string, number>()
    const containers = new Map<string, number>()
    for (const { name } of [...pod.spec.containers, ...(pod.spec.initContainers ?? [])]) {
      const logs = await measure(join(deps.podLogsDir, podLogFolder(pod), name))
      containers.set(name, (logs ?? 0) + (layers.get(name) ?? 0))
    }
    let otherBytes = (await measure(hostsFile(dir))) ?? 0
    for (const { name, configMap } of pod.spec.volumes ?? []) {
      if (configMap !== undefined) otherBytes += (await measure(volumeDir(dir, 'configmap', name))) ?? 0
    }
    return { emptyDirs, containers, otherBytes }
  }

  const look = async (): Promise<void> => {
    for (const pod of deps.pods()) {
      const wanted = toMeasure(pod)
      if (isStopped || (wanted.emptyDirs.length === 0 && !wanted.whole)) continue
      try {
        const excess = exceeded(pod, await usageOf(pod, wanted))
        if (excess !== undefined && !isStopped) deps.onExceeded(pod, excess)
      } catch (error) {
        log.warn({ pod: fullName(pod), err: error }, `what the pod holds of the disk could not be measured: ${describe(error)}`)
      }
    }
  }

  const lookLater = (ms: number): void => {
    if (isStopped) return
    timer = clock.after(ms, async () => {
      const started = clock.monotonic()
      await look()
      lookLater(Math.max(pauseMs, pausePerWork * (clock.monotonic() - started)))
    })
  }

  return {
    start: () => lookLater(pauseMs),
    stop: () => {
      isStopped = true
      timer?.cancel()
    },
    look,
  }
}
