// Who has what: things (addresses, ports), each claimed by one Service at a time. A value with its few operations; no policy, no I/O.

export interface Pool<T> {
  /** Whose it is: of the one that claimed it, or that it is kept for. */
  ownerOf(thing: T): string | undefined
  /** True when `key` may have it. */
  mayHave(key: string, thing: T): boolean
  /** True when it is claimed, not only kept for somebody. */
  isClaimed(thing: T): boolean
  claim(key: string, thing: T): void
  /** Lets go of everything that `key` has claimed but for these. */
  keepOnly(key: string, things: ReadonlySet<T>): void
  /** What is kept for `key`, claimed or not. */
  keptFor(key: string): readonly T[]
}

/** @param kept things that belong to one key for good, whether it claims them or not */
export const createPool = <T>(kept: ReadonlyMap<T, string> = new Map()): Pool<T> => {
  const owners = new Map(kept)
  const claims = new Map<string, Set<T>>()
  return {
    ownerOf: thing => owners.get(thing),
    mayHave: (key, thing) => (owners.get(thing) ?? key) === key,
    isClaimed: thing => claims.get(owners.get(thing) ?? '')?.has(thing) === true,
    claim: (key, thing) => {
      owners.set(thing, key)
      const own = claims.get(key) ?? new Set()
      claims.set(key, own.add(thing))
    },
    keepOnly: (key, things) => {
      const own = claims.get(key) ?? new Set()
      for (const thing of own) {
        if (things.has(thing)) continue
        own.delete(thing)
        if (!kept.has(thing)) owners.delete(thing)
      }
      if (own.size === 0) claims.delete(key)
    },
    keptFor: key => [...kept].filter(([, owner]) => owner === key).map(([thing]) => thing),
  }
}

/** `size` numbers from `first` on, starting where the hash points and wrapping at the end. */
export function* around(hash: number, first: bigint, size: bigint): Generator<bigint> {
  if (size <= 0n) return
  const start = BigInt(hash) % size
  for (let step = 0n; step < size; step++) yield first + ((start + step) % size)
}
