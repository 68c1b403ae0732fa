// Work that must not overlap, in a queue per key; keys do not wait for each other. A job that fails holds up nobody.

export interface Queues {
  /** Runs the job when all earlier ones of this key have ended; gives its own result or error. */
  run<T>(key: string, job: () => Promise<T>): Promise<T>
}

export const createQueues = (): Queues => {
  const tails = new Map<string, Promise<unknown>>()
  return {
    run: async (key, job) => {
      const before = tails.get(key) ?? Promise.resolve()
      const mine = before.then(job, job)
      tails.set(key, mine)
      try {
        return await mine
      } finally {
        if (tails.get(key) === mine) tails.delete(key)
      }
    },
  }
}
