// The delay of a shutdown on this machine: the real parts behind shutdown.ts, put together. Loaded when pods run, and not at all where the
// configuration leaves pods no time.
import type { Clock } from '../../host/clock.ts'
import type { Exec } from '../../host/exec.ts'
import { describe } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { createShutdownDelay } from '../../host/shutdown-delay.ts'
import type { Agent } from '../agent.ts'
import type { AgentConfig } from '../config/agent-config.ts'
import type { Machinery } from '../machinery.ts'
import { delaySeconds, shutdownGroups } from './groups.ts'
import { createNodeShutdown } from './shutdown.ts'

export interface ShutdownStart {
  readonly config: AgentConfig
  readonly machinery: Pick<Machinery, 'self'>
  readonly agent: Agent
  /** The node's conditions have changed. */
  readonly onConditions: () => void
  /** Absent: there is no apiserver to be told. */
  readonly untold?: () => number
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Log
  readonly signal: AbortSignal
}

/** Follows logind until the signal aborts; a machine without logind is not delayed, and one line says so. */
export const delayShutdowns = async (start: ShutdownStart): Promise<void> => {
  const { config, machinery, agent, onConditions, exec, clock, signal } = start
  const groups = shutdownGroups(config)
  if (groups.length === 0) return
  const log = start.log.child({ part: 'shutdown' })
  const delay = createShutdownDelay({ exec, clock, log, onAnnounced: isShuttingDown => shutdown.announced(isShuttingDown) })
  const shutdown = createNodeShutdown({
    ...{ groups, delay, clock, log },
    workers: agent.pods.workers,
    untold: start.untold ?? (() => 0),
    onClosing: isClosing => {
      machinery.self.closing.set(isClosing)
      onConditions()
    },
  })
  try {
    await delay.start(delaySeconds(groups))
    signal.addEventListener('abort', () => delay.stop(), { once: true })
  } catch (error) {
    log.warn({ err: error }, `a shutdown of the machine is not delayed for its pods: ${describe(error)}`)
  }
}
