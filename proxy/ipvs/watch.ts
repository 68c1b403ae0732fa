// Compares the kernel with what it should hold, now and then, and at once when `poke` says that something was deleted: IPVS, ipset and
// devices tell nobody who waits for it. Takes destinations away whose last connection has ended. Repairs nothing itself.
import type { IPFamily } from '../../api/service-types.ts'
import type { Clock, Timer } from '../../host/clock.ts'
import type { Log } from '../../host/log.ts'
import type { IpvsBackend } from './backend.ts'

export interface IpvsWatch {
  /** Looks as soon as possible. */
  poke(): void
  /** How often something differed. */
  readonly count: number
  stop(): void
}

export interface IpvsWatchDeps {
  readonly backends: readonly Pick<IpvsBackend, 'family' | 'inspector' | 'sweep'>[]
  /** Whether the rules of a family are expected to stand: not before the first sync, not after a failed one. */
  readonly stands: (family: IPFamily) => boolean
  readonly resync: (reason: string, family: IPFamily) => void
  readonly clock: Clock
  readonly log: Log
  readonly everyMs: number
}

// A log line names what differs, but not a thousand servers.
const named = 20

/** Looks every `everyMs` until stopped; two looks never overlap. */
export const createIpvsWatch = ({ backends, stands, resync, clock, log, everyMs }: IpvsWatchDeps): IpvsWatch => {
  let count = 0
  let timer: Timer | undefined
  let stopped = false
  let looking = false
  let again = false

  const look = async ({ family, inspector, sweep }: IpvsWatchDeps['backends'][number]): Promise<void> => {
    if (!stands(family)) return
    const { differences } = (await inspector.diff()) ?? { differences: undefined }
    // It is being written just now.
    if (differences === undefined || stopped || !stands(family)) return
    if (differences.length === 0) {
      const swept = await sweep()
      if (swept > 0) log.debug({ family, destinations: swept }, 'removed endpoints whose last connection has ended')
      return
    }
    count += 1
    const what = differences.slice(0, named).map(one => `${one.kind}: ${one.what}`)
    log.warn({ family, what, pieces: differences.length }, 'somebody else changed what routes Services; it is written anew')
    resync('rules were changed by somebody else', family)
  }
  const run = async () => {
    if (looking) {
      again = true
      return
    }
    looking = true
    timer?.cancel()
    for (const backend of backends)
      await look(backend).catch(error => {
        log.warn({ err: error, family: backend.family }, 'what routes Services could not be looked at; it is written anew')
        if (!stopped) resync('what the kernel holds is not known', backend.family)
      })
    looking = false
    if (stopped) return
    timer = clock.after(again ? 0 : everyMs, () => void run())
    again = false
  }
  timer = clock.after(everyMs, () => void run())
  return {
    poke: () => {
      if (!stopped) void run()
    },
    get count() {
      return count
    },
    stop: () => {
      stopped = true
      timer?.cancel()
    },
  }
}
