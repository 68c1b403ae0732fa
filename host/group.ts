// Group commit: one commit at a time, and what comes meanwhile goes together into the next. Fifty pods that start at once then cost
// a few processes instead of fifty that wait for the same lock of the kernel. No clock: a single caller never waits.

export interface Group<T> {
  /** Resolves when the item is committed; rejects with its own failure, or with that of the commit. */
  add(item: T): Promise<void>
}

/** @param commit carries out items in their order and returns the failure of each where items fail one by one */
export const createGroup = <T>(
  commit: (items: readonly T[]) => Promise<readonly (Error | undefined)[] | undefined>,
): Group<T> => {
  let waiting: { readonly items: T[]; readonly done: Promise<readonly (Error | undefined)[] | undefined> } | undefined
  let last: Promise<unknown> = Promise.resolve()
  return {
    add: async item => {
      if (waiting === undefined) {
        const items: T[] = []
        const done = last.then(() => {
          waiting = undefined
          return commit(items)
        })
        waiting = { items, done }
        last = done.catch(() => undefined)
      }
      const at = waiting.items.push(item) - 1
      const failure = (await waiting.done)?.[at]
      if (failure !== undefined) throw failure
    },
  }
}
