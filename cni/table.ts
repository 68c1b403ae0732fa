// The table nodelet-cni in the kernel: one transaction at a time, and changes that wait meanwhile go together in the next.
// A change that the kernel refuses (somebody flushed the table, an element stands in the way) puts the whole table in its place:
// the allocations on disk are the truth, so nothing has to be listed first.
import { isFault } from '../host/fault.ts'
import type { Nft } from '../host/nft.ts'

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
  let waiting: { readonly texts: string[]; readonly done: Promise<void> } | undefined
  let last: Promise<unknown> = Promise.resolve()

  const commit = async (texts: readonly string[]) => {
    const change = texts.join('')
    if (written && change === '') return
    if (written) {
      try {
        return await nft.apply(change)
      } catch (error) {
        if (!isFault(error, 'kernel-refused')) throw error
      }
    }
    await nft.apply(whole())
    written = true
  }
  const change = (text: string): Promise<void> => {
    if (waiting === undefined) {
      const texts: string[] = []
      const done = last.then(() => {
        waiting = undefined
        return commit(texts)
      })
      waiting = { texts, done }
      last = done.catch(() => undefined)
    }
    waiting.texts.push(text)
    return waiting.done
  }
  return {
    change,
    rewrite: () => {
      written = false
      return change('')
    },
  }
}
