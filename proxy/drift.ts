// What to do when somebody else removed rules of ours from nftables: write them anew at once, count it, and say what vanished.
// Watching is host/nftmonitor.ts's, writing is the proxier's, telling is vanished.ts's; this file only joins the three.
import type { IPFamily } from '../api/service-types.ts'
import type { ForeignChange } from '../host/nftmonitor.ts'
import { memoryPrefix } from './nftables/chains.ts'
import { tableName } from './nftables/words.ts'
import { type Losses, noteChange } from './vanished.ts'

/** The tables that the proxy's monitor watches, as `family name`. */
export const proxyTables: readonly string[] = [`ip ${tableName}`, `ip6 ${tableName}`]

/** How names of sets begin whose elements end by themselves: clients are forgotten after their time. */
export const fleetingSets: readonly string[] = [memoryPrefix]

const familyOf: Readonly<Record<string, IPFamily>> = { [`ip ${tableName}`]: 'IPv4', [`ip6 ${tableName}`]: 'IPv6' }

export interface Drift {
  onForeignChange(change: ForeignChange): void
}

/** Repairs by a full sync of the family that was touched. */
export const createDrift = (deps: {
  resync: (reason: string, family: IPFamily) => void
  losses: Pick<Losses, 'note'>
}): Drift => ({
  onForeignChange: change => {
    const family = familyOf[change.table]
    if (family === undefined) return
    const isSeen = noteChange(deps.losses, change)
    deps.resync(isSeen ? 'rules were removed by somebody else' : 'it is not known which rules stand', family)
  },
})
