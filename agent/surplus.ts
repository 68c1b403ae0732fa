// What the runtime keeps of a pod that nobody needs any more: pure. The last ended attempts of each container stay for `logs -p` and
// for restart counts; sandboxes that are no longer the newest and hold no container go.
// Follows the kubelet's container garbage collection (maximum-dead-containers-per-container, 1 unless told otherwise).
import type { Seen } from './seen.ts'

export interface Surplus {
  readonly containers: readonly string[]
  readonly sandboxes: readonly string[]
}

/** @param keepDead how many ended attempts of each container stay */
export const surplus = ({ containers, sandboxes }: Seen, keepDead: number): Surplus => {
  const kept = new Map<string, number>()
  const gone = containers.filter(it => {
    if (it.state !== 'exited') return false
    const count = (kept.get(it.name) ?? 0) + 1
    kept.set(it.name, count)
    return count > keepDead
  })
  const goneIds = new Set(gone.map(it => it.id))
  const held = new Set(containers.filter(it => !goneIds.has(it.id)).map(it => it.sandboxId))
  return {
    containers: [...goneIds],
    sandboxes: sandboxes.filter((it, index) => index > 0 && !it.ready && !held.has(it.id)).map(it => it.id),
  }
}
