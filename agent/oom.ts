// Whether a container that ended was killed for lack of memory, where its runtime does not know. The kernel counts such kills in each
// cgroup and in all above it (cgroup-v2: memory.events), so the pod's cgroup still tells of a container whose own is gone.
// containerd reads the container's own count after it was told of a kill; when the container's end removes that cgroup first, as on a busy
// machine, it reports `Error`. On cgroup v1 a cgroup counts only its own, and the runtime's word is all there is.

export interface OomWitness {
  /** From now on kills in the pod's cgroups are noticed. Fine when they are already. */
  watch(podUid: string): Promise<void>
  /** Whether something was killed in a container that has ended since this was last asked of the pod. */
  sawKill(podUid: string, endedContainer: string): Promise<boolean>
  forget(podUid: string): void
}

/**
 * @param killsInEnded how often something was killed in the pod's containers that have ended, the named one among them; undefined
 *   where the kernel does not tell
 */
export const createOomWitness = (
  killsInEnded: (podUid: string, endedContainer?: string) => Promise<number | undefined>,
): OomWitness => {
  const counted = new Map<string, number>()
  return {
    watch: async podUid => {
      if (!counted.has(podUid)) counted.set(podUid, (await killsInEnded(podUid)) ?? 0)
    },
    sawKill: async (podUid, endedContainer) => {
      const kills = (await killsInEnded(podUid, endedContainer)) ?? 0
      const before = counted.get(podUid) ?? kills
      counted.set(podUid, kills)
      return kills > before
    },
    forget: podUid => void counted.delete(podUid),
  }
}
