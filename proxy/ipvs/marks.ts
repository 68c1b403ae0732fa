// Marks of packets that lead to a virtual server of their own: one number for each frontend that sends this node's own traffic elsewhere.
// Pure. A mark must be matched whole, so it has none of the bits that kube-proxy and others set (masquerade, drop, and all above).

// Numbers from this bit up to the next: 0x2000 to 0x3fff.
const usualBit = 13

export interface Marks {
  /** The mark of a frontend, its old one if it had one; undefined when all are in use. */
  take(frontend: string, old?: number): number | undefined
  give(frontend: string): void
  /** What it has. */
  of(frontend: string): number | undefined
  /** True for every number that may be one of ours. */
  covers(mark: number): boolean
}

/** @param masqueradeBit is in no mark: it is set on top of others */
export const createMarks = (masqueradeBit: number): Marks => {
  const base = 2 ** (masqueradeBit === usualBit ? usualBit - 1 : usualBit)
  const masquerade = 2 ** masqueradeBit
  const covers = (mark: number) => mark > base && mark < base * 2 && Math.floor(mark / masquerade) % 2 === 0
  const byFrontend = new Map<string, number>()
  const used = new Set<number>()
  let last = base
  const keep = (frontend: string, mark: number) => {
    byFrontend.set(frontend, mark)
    used.add(mark)
    return mark
  }
  return {
    covers,
    of: frontend => byFrontend.get(frontend),
    take: (frontend, old) => {
      const mine = byFrontend.get(frontend)
      if (mine !== undefined) return mine
      if (old !== undefined && covers(old) && !used.has(old)) return keep(frontend, old)
      // Round and round: a number that was given back is not used again at once, as packets may still carry it.
      for (let tried = 0; tried < base; tried++) {
        last = last + 1 < base * 2 ? last + 1 : base + 1
        if (covers(last) && !used.has(last)) return keep(frontend, last)
      }
      return undefined
    },
    give: frontend => {
      const mine = byFrontend.get(frontend)
      if (mine === undefined) return
      byFrontend.delete(frontend)
      used.delete(mine)
    },
  }
}
