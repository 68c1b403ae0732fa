// The table nodelet-cni in the kernel: changes that come together go in one transaction.
// A change that the kernel refuses (somebody flushed the table, an element stands in the way) puts the whole table in its place:
// the allocations on disk are the truth, so nothing has to be listed first.
import { isFault } from '../host/fault.ts'
import type { Nft } from '../host/nft.ts'
import { createGroup } from './group.ts'

export interface Table {
  /**
   * Brings elements in or out; the first call writes the whole table.
   * @throws Fault `kernel-refused` when the kernel takes neither the change nor the whole table
   */
  change(text: string): Promise<void>
  /** Writes the whole table, whatever is there. @throws as `change` */
  rewrite(): Promise<void>
}

/** @param whole the whole table as it should be now; asked when it is written, not before */
export const createTable = (nft: Pick<Nft, 'apply'>, whole: () => string): Table => {
  let written = false
  const commit = async (texts: readonly string[]) => {
    const change = texts.join('')
    if (written && change === '') return undefined
    if (written) {
      try {
        await nft.apply(change)
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
    rewrite: () => {
      written = false
      return group.add('')
    },
  }
}
