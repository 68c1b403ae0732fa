// The table nodelet-cni in the kernel: changes that come together go in one transaction.
// A change that the kernel refuses (somebody flushed the table, an element stands in the way) puts the whole table in its place:
// the allocations on disk are the truth, so nothing has to be listed first. A kernel that refuses the table itself is asked again and
// again: a pod without masquerade is worth more than none, only hostPorts cannot do without.
import type { Clock, Timer } from '../host/clock.ts'
import { describe, isFault } from '../host/fault.ts'
import { createGroup } from '../host/group.ts'
import type { Log } from '../host/log.ts'
import type { Nft } from '../host/nft.ts'
import { signed } from '../host/nftmonitor.ts'
import { table } from './portmap.ts'

export interface Table {
  /**
   * Brings elements in or out; the first call writes the whole table.
   * @throws Fault `kernel-refused` when the kernel takes neither the change nor the whole table
   */
  change(lines: readonly string[]): Promise<void>
  /** Sees to it that the table stands: at once, or as soon as the kernel takes it; says so when it does not. */
  stand(): Promise<void>
  /** Writes the whole table, whatever is there. @throws as `change` */
  rewrite(): Promise<void>
  /** What was written may be gone: the next `change` writes the whole table. */
  forget(): void
  /** Stops trying: the table is somebody else's from now on. */
  close(): void
}

export interface TableDeps {
  readonly nft: Pick<Nft, 'apply'>
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
}

const tryAgainMs = 5_000

// Only what goes is watched for (host/nftmonitor.ts), and a transaction that takes nothing away is four times as fast unsigned:
// the kernel waits before it frees an element, the signature's too.
const toText = (lines: readonly string[]): string =>
  lines.some(line => line.startsWith('delete')) ? signed(table, lines) : `${lines.join('\n')}\n`

/** @param whole the whole table as it should be now; asked when it is written, not before */
export const createTable = ({ nft, clock, log }: TableDeps, whole: () => string): Table => {
  let written = false
  let isRefused = false
  let isClosed = false
  let timer: Timer | undefined
  const commit = async (changes: readonly (readonly string[])[]) => {
    const lines = changes.flat()
    if (written && lines.length === 0) return undefined
    if (written) {
      try {
        await nft.apply(toText(lines))
        return undefined
      } catch (error) {
        if (!isFault(error, 'kernel-refused')) throw error
      }
    }
    await nft.apply(whole())
    written = true
    return undefined
  }
  const group = createGroup(commit)
  const stand = async (): Promise<void> => {
    try {
      await group.add([])
      if (isRefused) log.info({}, 'the kernel takes the rules of the pod network now')
      isRefused = false
    } catch (error) {
      const say = isRefused ? log.debug : log.error
      isRefused = true
      say.call(log, { err: error }, `pods have no masquerade and no hostPorts; trying again: ${describe(error)}`)
      timer?.cancel()
      if (!isClosed) timer = clock.after(tryAgainMs, () => void stand())
    }
  }
  return {
    change: group.add,
    stand,
    forget: () => {
      written = false
    },
    rewrite: () => {
      written = false
      return group.add([])
    },
    close: () => {
      isClosed = true
      timer?.cancel()
    },
  }
}
