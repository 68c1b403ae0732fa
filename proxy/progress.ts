// How far each family is: when something was last asked to be written, when everything last stood, since when something waits.
// Holds times and no changes; health checks and metrics are read from it. Follows kube-proxy's QueuedUpdate and Updated.
import type { IPFamily } from '../api/service-types.ts'
import type { Clock, Millis } from '../host/clock.ts'

export interface FamilyProgress {
  readonly queuedAt: Millis | undefined
  /** When the kernel last held all that was wanted. */
  readonly updatedAt: Millis | undefined
  /** The oldest of what is not in the kernel yet; undefined when nothing waits. */
  readonly waitingSince: Millis | undefined
}

export interface Progress {
  queued(family?: IPFamily): void
  /** From here on what is queued belongs to the next round. */
  begin(): void
  /** The round has ended; what it was to write stands for these families, and waits on for the others. */
  end(standing: readonly IPFamily[]): void
  of(family: IPFamily): FamilyProgress
}

interface Times {
  queuedAt: Millis | undefined
  updatedAt: Millis | undefined
  /** What the round that goes on is to write. */
  writing: Millis | undefined
  next: Millis | undefined
}

export const createProgress = (families: readonly IPFamily[], clock: Pick<Clock, 'now'>): Progress => {
  const times = new Map<IPFamily, Times>(
    families.map(family => [family, { queuedAt: undefined, updatedAt: undefined, writing: undefined, next: undefined }]),
  )
  return {
    queued: only => {
      const now = clock.now()
      for (const [family, it] of times) {
        if (only !== undefined && only !== family) continue
        it.queuedAt = now
        it.next ??= now
      }
    },
    begin: () => {
      for (const it of times.values()) {
        it.writing ??= it.next
        it.next = undefined
      }
    },
    end: standing => {
      for (const family of standing) {
        const it = times.get(family)!
        it.writing = undefined
        it.updatedAt = clock.now()
      }
    },
    of: family => {
      const { queuedAt, updatedAt, writing, next } = times.get(family)!
      return { queuedAt, updatedAt, waitingSince: writing ?? next }
    },
  }
}
