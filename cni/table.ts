// The table nodelet-cni in the kernel: changes that come together go in one transaction.
// A change that the kernel refuses (somebody flushed the table, an element stands in the way) puts the whole table in its place:
// the allocations on disk are the truth, so nothing has to be listed first.
import { isFault } from '../host/fault.ts'
import type { Nft } from '../host/nft.ts'
import { signed } from '../host/nftmonitor.ts'
import { createGroup } from './group.ts'
import { table } from './portmap.ts'

export interface Table {
  /**
   * Brings elements in or out; the first call writes the whole table.
   * @throws Fault `kernel-refused` when the kernel takes neither the change nor the whole table
   */
  change(lines: readonly string[]): Promise<void>
  /** Writes the whole table, whatever is there. @throws as `change` */
  rewrite(): Promise<void>
  /** What was written may be gone: the next `change` writes the whole table. */
  forget(): void
}

// Only what goes is watched for (host/nftmonitor.ts), and a transaction that takes nothing away is four times as fast unsigned:
// the kernel waits before it frees an element, the signature's too.
const toText = (lines: readonly string[]): string =>
  lines.some(line => line.startsWith('delete')) ? signed(table, lines) : `${lines.join('\n')}\n`

/** @param whole the whole table as it should be now; asked when it is written, not before */
export const createTable = (nft: Pick<Nft, 'apply'>, whole: () => string): Table => {
  let written = false
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
  return {
    change: group.add,
    forget: () => {
      written = false
    },
    rewrite: () => {
      written = false
      return group.add([])
    },
  }
}
