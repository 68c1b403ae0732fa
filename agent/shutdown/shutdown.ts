// A shutdown of the machine, as its pods see it: while logind waits for this node, pods end in the order of their priority with the time
// that they need, the apiserver is told, and only then the machine goes on. A shutdown that is called off is followed as well.
// Decides nothing about order and time (groups.ts), and knows nothing of logind (host/shutdown-delay.ts).
import type { Pod } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import type { Log } from '../../host/log.ts'
import type { ShutdownDelay } from '../../host/shutdown-delay.ts'
import type { Ending, WorkerPhase } from '../worker.ts'
import { type ShutdownGroup, shutdownGrace, shutdownStages } from './groups.ts'

/** What a pod's worker shows and takes here. */
interface Ended {
  readonly pod: Pod
  readonly phase: WorkerPhase
  end(ending: Ending): void
}

export interface NodeShutdownDeps {
  readonly groups: readonly ShutdownGroup[]
  readonly workers: () => readonly Ended[]
  readonly delay: Pick<ShutdownDelay, 'hold' | 'release'>
  /** The node takes no more pods, or takes them again; whoever shows the Node is told. */
  readonly onClosing: (isClosing: boolean) => void
  /** Statuses that the apiserver has not been told yet. */
  readonly untold: () => number
  readonly clock: Clock
  readonly log: Log
}

export interface NodeShutdown {
  /** The machine is about to be shut down, or is not after all. */
  announced(isShuttingDown: boolean): void
}

const message = 'Pod was terminated in response to imminent node shutdown.'
const pollMs = 50
/** The last statuses may take this long on their way to the apiserver. */
const tellingMs = 2_000

export const createNodeShutdown = (deps: NodeShutdownDeps): NodeShutdown => {
  const { groups, workers, delay, onClosing, untold, clock, log } = deps
  let running: AbortController | undefined

  const until = async (isDone: () => boolean, limitMs: number, signal: AbortSignal): Promise<boolean> => {
    const deadline = clock.monotonic() + limitMs
    while (!isDone() && clock.monotonic() < deadline) await clock.sleep(pollMs, signal)
    return isDone()
  }
  const endPods = async (signal: AbortSignal): Promise<void> => {
    const all = workers().filter(it => it.phase !== 'terminated')
    for (const { seconds, pods } of shutdownStages(groups, all)) {
      for (const worker of pods) {
        const verdict = {
          phase: 'Failed',
          reason: 'Terminated',
          message,
          disruption: { reason: 'TerminationByKubelet', message },
        } as const
        worker.end({ grace: shutdownGrace(worker.pod, seconds), why: message, removed: false, verdict })
      }
      const haveEnded = await until(() => pods.every(it => it.phase === 'terminated'), seconds * 1000, signal)
      if (!haveEnded) log.warn({ seconds }, 'pods did not end in the time that a shutdown leaves them')
    }
    await until(() => untold() === 0, tellingMs, signal)
  }
  const begin = async (controller: AbortController): Promise<void> => {
    log.info({}, 'the machine is being shut down: pods end, and no others are taken')
    onClosing(true)
    try {
      await endPods(controller.signal)
    } catch (error) {
      if (!controller.signal.aborted) throw error
    } finally {
      // Called off: the next shutdown is to be delayed as well.
      if (!controller.signal.aborted) delay.release()
    }
  }
  return {
    announced: isShuttingDown => {
      if (!isShuttingDown) {
        running?.abort(new Error('the shutdown was called off'))
        running = undefined
        onClosing(false)
        delay.hold()
      } else if (running === undefined) {
        running = new AbortController()
        begin(running).catch(error => log.error({ err: error }, 'pods could not be ended before the shutdown'))
      }
    },
  }
}
