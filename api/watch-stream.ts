// Keeps one event stream open for ever: opens it again after a growing pause, and tells its owner of each gap.
// Knows nothing of what flows through it; containerd/events.ts and cri/events.ts say how theirs is opened.
import { Fault, isFault } from '../host/fault.ts'
import type { TaskEventDeps } from './task-event.ts'

// Short, since a gap in the events costs reaction time; the runtime's socket is on this machine.
const firstPauseMs = 100
const longestPauseMs = 1000

/**
 * Runs until the signal aborts.
 * @param open opens the stream, calls `connected` once it is known to deliver, and returns or throws when it is over
 * @throws Fault `unsupported` when the runtime has no such stream
 */
export const keepOpen = async (
  { clock, log, signal, onConnected, onLost }: Omit<TaskEventDeps, 'endpoint' | 'onEvent'>,
  open: (connected: () => void) => Promise<void>,
): Promise<void> => {
  let pauseMs = firstPauseMs
  let told = false
  const connected = () => {
    pauseMs = firstPauseMs
    told = false
    onConnected()
  }
  while (!signal.aborted) {
    const fault = await open(connected).then(
      () => new Fault('runtime-away', 'the runtime ended the event stream'),
      (error: unknown) => error,
    )
    if (signal.aborted) return
    if (!(fault instanceof Fault) || isFault(fault, 'unsupported')) throw fault
    if (!told) onLost(fault)
    told = true
    log.debug({ err: fault, pauseMs }, 'event stream lost')
    await clock.sleep(pauseMs, signal).catch(() => undefined)
    pauseMs = Math.min(pauseMs * 2, longestPauseMs)
  }
}
