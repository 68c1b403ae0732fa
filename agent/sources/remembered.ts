// The apiserver's pods of this node on disk, so that a reboot while the apiserver is away does not leave the node empty.
// Written some seconds after a change, by root for root. What it holds is a stand-in only: sources/cluster.ts drops it once the list is in.
// Pods may carry secrets in their environment: whoever keeps them off the disk does not open this.
import type { Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock, Timer } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { openStateFile, type StateFile } from '../../host/state-file.ts'
import { isMirror } from './mirror-marks.ts'

export interface RememberedPods {
  /** Those of the last run. */
  readonly pods: readonly Pod[]
  /** Keeps the file in step with the apiserver's pods from its first list on. Returns how to stop, which writes what is not written yet. */
  follow(apiserver: Source<Pod>): () => Promise<void>
}

export interface RememberedPodsDeps {
  readonly path: string
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
  /** Time from a change to its write; 2,000. Many changes make one write. */
  readonly quietMs?: number
}

interface Remembered {
  readonly version: 1
  readonly pods: readonly Pod[]
}

const parse = (text: string): Remembered => {
  const value = JSON.parse(text) as Partial<Remembered> | null
  const isPod = (it: Pod | undefined) =>
    it?.metadata?.name !== undefined && it.metadata.uid !== undefined && it.spec !== undefined
  if (value?.version !== 1 || !Array.isArray(value.pods) || !value.pods.every(isPod))
    throw new Fault('io', 'not a list of pods as this version writes it')
  return value as Remembered
}

/** What a start from disk needs of a pod: everything but the details of a status that the runtime will tell anew. */
export const toRemembered = ({ status, metadata, ...pod }: Pod): Pod => {
  const { resourceVersion: _, ...kept } = metadata
  if (status === undefined) return { ...pod, metadata: kept }
  const { phase, startTime, reason, message, conditions = [] } = status
  const gates = new Set(pod.spec.readinessGates?.map(it => it.conditionType))
  const kinds = conditions.filter(it => gates.has(it.type) || it.type === 'PodScheduled')
  return {
    ...pod,
    metadata: kept,
    status: {
      phase,
      ...(startTime !== undefined && { startTime }),
      ...(reason !== undefined && { reason }),
      ...(message !== undefined && { message }),
      ...(kinds.length > 0 && { conditions: kinds }),
    },
  }
}

/** @throws errors of the file system other than that the file is missing */
export const openRememberedPods = async (deps: RememberedPodsDeps): Promise<RememberedPods> => {
  const { path, clock, log, quietMs = 2000 } = deps
  const file: StateFile<Remembered> = await openStateFile<Remembered>({
    path,
    what: 'the memory of pods',
    parse,
    print: value => JSON.stringify(value),
    durable: true,
    clock,
    log,
  })
  return {
    pods: file.remembered?.pods ?? [],
    follow: apiserver => {
      const texts = new Map<string, string>()
      let timer: Timer | undefined
      const read = (): Remembered => ({
        version: 1,
        pods: apiserver
          .list()
          .filter(it => !isMirror(it))
          .map(toRemembered),
      })
      const write = () => {
        timer = undefined
        file.save(read)
      }
      const soon = () => {
        if (apiserver.isSynced) timer ??= clock.after(quietMs, write)
      }
      const stop = apiserver.subscribe({
        changed: (before, after) => {
          const uid = (after ?? before)?.metadata.uid ?? ''
          const text = after === undefined ? undefined : JSON.stringify(toRemembered(after))
          if (texts.get(uid) === text) return
          if (text === undefined) texts.delete(uid)
          else texts.set(uid, text)
          soon()
        },
        synced: soon,
      })
      return async () => {
        stop()
        timer?.cancel()
        if (timer !== undefined) write()
        await file.flush()
      }
    },
  }
}
