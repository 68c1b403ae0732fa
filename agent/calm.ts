// When to do what nobody waits for: records of pods that are gone are taken out of the runtime when no pod is being ended, because twenty
// pods that end at once would otherwise share the machine with the remains of each other.
import type { Clock } from '../host/clock.ts'

export interface Calm {
  /** Resolves when it is calm, or after the longest time that anything is put off. */
  when(): Promise<void>
  /** It may have become calm. */
  look(): void
}

export interface CalmDeps {
  readonly isCalm: () => boolean
  readonly longestMs: number
  readonly clock: Pick<Clock, 'after'>
}

export const createCalm = ({ isCalm, longestMs, clock }: CalmDeps): Calm => {
  const waiting = new Set<() => void>()
  return {
    when: () => {
      if (isCalm()) return Promise.resolve()
      const { promise, resolve } = Promise.withResolvers<void>()
      const timer = clock.after(longestMs, () => go())
      const go = () => {
        timer.cancel()
        waiting.delete(go)
        resolve()
      }
      waiting.add(go)
      return promise
    },
    look: () => {
      if (waiting.size > 0 && isCalm()) for (const go of [...waiting]) go()
    },
  }
}
