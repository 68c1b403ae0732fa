// What the daemon tells the service manager that started it: that it is ready, that it stops, and, again and again, that it is alive.
// Node has no datagram sockets of the unix kind: systemd-notify speaks for it (NotifyAccess=all). Without a manager nothing is said.
// Follows sd_notify(3), systemd.service(5): WatchdogSec.
import type { Clock, Timer } from './clock.ts'
import type { Exec } from './exec.ts'
import { describe } from './fault.ts'
import type { Log } from './log.ts'

export interface ServiceManagerDeps {
  readonly exec: Pick<Exec, 'run'>
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
  /** NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID count. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly pid: number
}

export interface ServiceManager {
  /** The daemon answers; from now on it says that it is alive, as often as it is asked to. */
  ready(): Promise<void>
  stopping(): Promise<void>
}

/** Milliseconds between two signs of life; undefined where nobody waits for any. */
export const watchdogPause = (env: ServiceManagerDeps['env'], pid: number): number | undefined => {
  const microseconds = Number(env['WATCHDOG_USEC'])
  const isOurs = env['WATCHDOG_PID'] === undefined || env['WATCHDOG_PID'] === String(pid)
  return microseconds > 0 && isOurs ? microseconds / 1000 / 3 : undefined
}

export const createServiceManager = ({ exec, clock, log, env, pid }: ServiceManagerDeps): ServiceManager => {
  const pause = watchdogPause(env, pid)
  let timer: Timer | undefined
  const tell = async (...words: readonly string[]): Promise<void> => {
    if (env['NOTIFY_SOCKET'] === undefined) return
    await exec
      .run(['systemd-notify', ...words])
      .catch(error => log.warn({ err: error }, `the service manager could not be told: ${describe(error)}`))
  }
  // A timer of the event loop: who hangs says nothing, and is started again.
  const sayAlive = () => {
    if (pause === undefined) return
    timer = clock.after(pause, () => {
      void tell('WATCHDOG=1')
      sayAlive()
    })
  }
  return {
    ready: async () => {
      sayAlive()
      await tell('--ready')
    },
    stopping: async () => {
      timer?.cancel()
      await tell('STOPPING=1')
    },
  }
}
