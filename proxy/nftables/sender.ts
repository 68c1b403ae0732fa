// The order in which transactions are handed to the kernel. nft takes longer to read its text than the kernel to carry it out, and reads
// on one core: transactions that only add elements need nothing of each other, so two of them are under way at once.
// Everything else waits for all before it, and is waited for.

export interface Sender {
  /**
   * Resolves when the text has been handed over, before it is carried out.
   * @param isIndependent it may be carried out before, beside and after others of which the same is said
   * @throws what an earlier text was refused with; nothing is under way then, and nothing more must be sent
   */
  send(text: string, isIndependent: boolean): Promise<void>
  /** Resolves when all is carried out. @throws as `send` */
  ended(): Promise<void>
}

const atOnce = 2

export const createSender = (apply: (text: string) => Promise<void>): Sender => {
  const underWay = new Set<Promise<void>>()
  let isLastIndependent = false
  let refusal: { readonly error: unknown } | undefined

  const until = async (most: number): Promise<void> => {
    while (underWay.size > most && refusal === undefined) await Promise.race(underWay)
    if (refusal === undefined) return
    await Promise.all(underWay)
    throw refusal.error
  }
  const run = async (text: string): Promise<void> => {
    try {
      await apply(text)
    } catch (error) {
      refusal ??= { error }
    }
  }
  return {
    send: async (text, isIndependent) => {
      await until(isIndependent && isLastIndependent ? atOnce - 1 : 0)
      isLastIndependent = isIndependent
      const running = run(text).finally(() => underWay.delete(running))
      underWay.add(running)
    },
    ended: () => until(0),
  }
}
