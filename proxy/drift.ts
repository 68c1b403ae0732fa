// What to do when somebody else removed rules of ours: write them anew at once, count it, and say what vanished.
// Watching is host/nftmonitor.ts's, writing is the proxier's; this file only joins the two.
import type { IPFamily } from '../api/types.ts'
import type { Log } from '../host/log.ts'
import type { ForeignChange } from '../host/nftmonitor.ts'
import { memoryPrefix } from './nftables/chains.ts'
import { tableName } from './nftables/words.ts'

/** The tables that the proxy's monitor watches, as `family name`. */
export const proxyTables: readonly string[] = [`ip ${tableName}`, `ip6 ${tableName}`]

/** How names of sets begin whose elements end by themselves: clients are forgotten after their time. */
export const fleetingSets: readonly string[] = [memoryPrefix]

const familyOf: Readonly<Record<string, IPFamily>> = { [`ip ${tableName}`]: 'IPv4', [`ip6 ${tableName}`]: 'IPv6' }

export interface Drift {
  onForeignChange(change: ForeignChange): void
  /** How often somebody else took something of ours away. */
  readonly count: number
}

// A log line names what vanished, but not a thousand elements.
const named = 20

/** Repairs by a full sync of the family that was touched. */
export const createDrift = (deps: { resync: (reason: string, family: IPFamily) => void; log: Log }): Drift => {
  let count = 0
  return {
    get count() {
      return count
    },
    onForeignChange: ({ table, gone }) => {
      const family = familyOf[table]
      if (family === undefined) return
      if (!gone.includes('unknown')) {
        count += 1
        deps.log.warn(
          { table, gone: gone.slice(0, named), pieces: gone.length },
          'somebody else removed rules; they are written anew',
        )
      }
      deps.resync('rules were removed by somebody else', family)
    },
  }
}
