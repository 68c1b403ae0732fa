// Delays a shutdown of the machine: holds logind's delay lock, hears when a shutdown is announced, and lets it go on. systemd-inhibit
// holds the lock and busctl hears, since Node speaks no D-Bus; both die with us.
// Follows org.freedesktop.login1(5), Inhibitor Locks (systemd.io), logind.conf(5): InhibitDelayMaxSec.
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Clock, Seconds } from './clock.ts'
import type { Exec } from './exec.ts'
import { Fault } from './fault.ts'
import { writeFileAtomic } from './files.ts'
import type { Log } from './log.ts'
import { keepRunning, type Resident } from './resident.ts'

export interface ShutdownDelayDeps {
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Log
  /** A shutdown is about to happen, or was called off. */
  readonly onAnnounced: (isShuttingDown: boolean) => void
  /** Where the delay is written that logind is to grant. */
  readonly logindFile?: string
}

export interface ShutdownDelay {
  /** @throws Fault when there is no logind, or it does not grant the time */
  start(seconds: Seconds): Promise<void>
  hold(): void
  /** The machine may go on. */
  release(): void
  stop(): void
}

const manager = ['org.freedesktop.login1', '/org/freedesktop/login1', 'org.freedesktop.login1.Manager'] as const
const signalName = 'PrepareForShutdown'

/** What a line of `busctl monitor --json=short` announces; undefined for any other message. */
export const toAnnouncement = (line: string): boolean | undefined => {
  if (!line.includes(signalName)) return undefined
  try {
    const { type, member, payload } = JSON.parse(line) as {
      type?: string
      member?: string
      payload?: { data?: readonly unknown[] }
    }
    const announced = payload?.data?.[0]
    return type === 'signal' && member === signalName && typeof announced === 'boolean' ? announced : undefined
  } catch {
    return undefined
  }
}

/** Of the answer `t 5000000` to InhibitDelayMaxUSec. */
export const toDelaySeconds = (answer: string): Seconds => Number(/^t (\d+)/.exec(answer)?.[1] ?? 0) / 1e6

export const createShutdownDelay = (deps: ShutdownDelayDeps): ShutdownDelay => {
  const { exec, clock, log, onAnnounced, logindFile = '/etc/systemd/logind.conf.d/99-nodelet.conf' } = deps
  let lock: Resident | undefined
  let monitor: Resident | undefined

  const granted = async (): Promise<Seconds> =>
    toDelaySeconds((await exec.run(['busctl', 'get-property', ...manager, 'InhibitDelayMaxUSec'])).stdout)

  /** logind grants five seconds unless it is told more. */
  const askFor = async (seconds: Seconds): Promise<void> => {
    if ((await granted()) >= seconds) return
    await mkdir(dirname(logindFile), { recursive: true })
    await writeFileAtomic(
      logindFile,
      `# Written by nodelet: its pods need this long to end.\n[Login]\nInhibitDelayMaxSec=${seconds}\n`,
      {
        mode: 0o644,
      },
    )
    await exec.run(['systemctl', 'kill', '--signal=HUP', 'systemd-logind.service'])
    for (let attempt = 0; attempt < 50; attempt++) {
      if ((await granted()) >= seconds) return
      await clock.sleep(100)
    }
    throw new Fault('unsupported', `logind grants ${await granted()} s, and not ${seconds}: see logind.conf`, { retry: 'never' })
  }
  const hold = () => {
    const how = ['--what=shutdown', '--mode=delay', '--who=nodelet', '--why=Pods are ended in order']
    // What holds the lock ends with systemd-inhibit, however that ends.
    const holder = ['setpriv', '--pdeathsig', 'KILL', 'sleep', 'infinity']
    lock ??= keepRunning(
      { exec, clock, log },
      {
        argv: ['systemd-inhibit', ...how, ...holder],
        what: 'the lock that delays a shutdown',
        onLine: () => undefined,
        onRestart: () => undefined,
      },
    )
  }
  const release = () => {
    lock?.stop()
    lock = undefined
  }
  return {
    start: async seconds => {
      await askFor(seconds)
      const match = `type='signal',sender='${manager[0]}',interface='${manager[2]}',member='${signalName}'`
      monitor = keepRunning(
        { exec, clock, log },
        {
          argv: ['busctl', '--system', '--json=short', `--match=${match}`, 'monitor'],
          what: 'the watch on shutdowns',
          onLine: line => {
            const announced = toAnnouncement(line)
            if (announced !== undefined) onAnnounced(announced)
          },
          onRestart: () => undefined,
        },
      )
      hold()
    },
    hold,
    release,
    stop: () => {
      monitor?.stop()
      release()
    },
  }
}
