// The pods' part of the cgroup tree: kubepods, its QoS classes, one cgroup for each pod; made, limited, listed, removed.
// It never leaves its own cgroupRoot, so that two nodes on one machine do not see each other's pods.
// Follows k8s.io: Node Allocatable (the tree's shape and names, which other node software relies on).
import type { QosClass } from '../api/pod-status.ts'
import type { Pod } from '../api/types.ts'
import type { Cgroups } from '../host/cgroup.ts'
import type { CgroupLimits } from '../host/cgroup-files.ts'
import { type CgroupName, cgroupPath, toCgroupName } from '../host/cgroup-name.ts'
import { describe, Fault, isFault } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import { qosClass } from './qos.ts'
import { type PodCgroupContext, podCgroupLimits, qosCgroupLimits, toShares } from './resources.ts'

/** What all pods together may use: the node's capacity less what is reserved. Eviction thresholds are not taken off here. */
export interface EnforcedAllocatable {
  readonly milliCpu: number
  readonly memoryBytes: number
  readonly pids?: number
}

export interface PodCgroupsDeps {
  readonly cgroup: Cgroups
  /** KubeletConfiguration cgroupRoot: `/`, `/lab-n1`. */
  readonly cgroupRoot: string
  /** KubeletConfiguration cgroupsPerQOS; false leaves the runtime's default parent and makes nothing. */
  readonly cgroupsPerQOS: boolean
  readonly context: PodCgroupContext
  readonly log: Log
}

export interface PodCgroups {
  /**
   * Makes kubepods and the QoS cgroups. A limit that the kernel refuses (more in use than allowed) is logged and left.
   * @throws Fault `kernel-refused` when a cgroup cannot be made
   */
  ensureRoots(allocatable: EnforcedAllocatable): Promise<void>
  /**
   * Makes the pod's cgroup with its limits, or sets them anew.
   * @returns the cgroup parent for the sandbox's configuration; empty when pods have no cgroups of their own
   */
  ensurePod(pod: Pod): Promise<string>
  /** The same cgroup parent without making anything. */
  parentOf(pod: Pod): string
  /** Ends what still runs in the pod's cgroup and removes it. Fine when it is gone. */
  removePod(uid: string): Promise<void>
  /**
   * How often the kernel killed something for lack of memory in containers of the pod that have ended, the one with this id among them.
   * Undefined where it does not tell (cgroup v1, no cgroups for pods).
   */
  oomKillsOfEnded(uid: string, endedContainer?: string): Promise<number | undefined>
  /** UIDs of all pods that have a cgroup here: those that are no pods any more are orphans. */
  pods(): Promise<readonly string[]>
  /** Weighs the QoS classes anew; writes only what changed. */
  updateQos(activePods: readonly Pod[]): Promise<void>
  /** Removes everything under this node's kubepods, kubepods included. */
  removeAll(): Promise<void>
}

const podPrefix = 'pod'

export const createPodCgroups = ({ cgroup, cgroupRoot, cgroupsPerQOS, context, log }: PodCgroupsDeps): PodCgroups => {
  const outer = toCgroupName(cgroupRoot)
  const root: CgroupName = [...outer, 'kubepods']
  const parents: Record<QosClass, CgroupName> = {
    Guaranteed: root,
    Burstable: [...root, 'burstable'],
    BestEffort: [...root, 'besteffort'],
  }
  const nameOf = (pod: Pod): CgroupName => {
    const uid = pod.metadata.uid ?? ''
    if (!/^[A-Za-z0-9][A-Za-z0-9.-]*$/.test(uid)) {
      throw new Fault('container-config', `pod UID ${JSON.stringify(uid)} cannot name a cgroup`, { retry: 'never' })
    }
    return [...parents[qosClass(pod)], `${podPrefix}${uid}`]
  }
  const parentOf = (pod: Pod): string => (cgroupsPerQOS ? cgroupPath(nameOf(pod), cgroup.driver) : '')
  const applied = new Map<CgroupName, string>()

  const limitOrWarn = async (name: CgroupName, limits: CgroupLimits): Promise<void> => {
    try {
      await cgroup.set(name, limits)
    } catch (error) {
      if (!isFault(error, 'kernel-refused')) throw error
      log.warn({ cgroup: cgroupPath(name, cgroup.driver), err: error }, `cgroup limit not set: ${describe(error)}`)
    }
  }

  const podsIn = async (parent: CgroupName): Promise<readonly (readonly [uid: string, name: CgroupName])[]> =>
    (await cgroup.children(parent))
      .filter(child => child.startsWith(podPrefix) && child.length > podPrefix.length)
      .map(child => [child.slice(podPrefix.length), [...parent, child]] as const)

  const weigh = async (activePods: readonly Pod[]): Promise<void> => {
    const { burstable, besteffort } = qosCgroupLimits(activePods, context.hugePageSizes)
    for (const [name, limits] of [
      [parents.Burstable, burstable],
      [parents.BestEffort, besteffort],
    ] as const) {
      const text = JSON.stringify(limits)
      if (applied.get(name) === text) continue
      await limitOrWarn(name, limits)
      applied.set(name, text)
    }
  }
  let lastWeighing: Promise<void> = Promise.resolve()
  // One after the other: of two that overlap, the older could be written last and stay.
  const updateQos = (activePods: readonly Pod[]): Promise<void> => {
    if (!cgroupsPerQOS) return Promise.resolve()
    const weighing = lastWeighing.then(() => weigh(activePods))
    lastWeighing = weighing.catch(() => undefined)
    return weighing
  }

  return {
    ensureRoots: async ({ milliCpu, memoryBytes, pids }) => {
      if (!cgroupsPerQOS) return
      for (const name of [root, parents.Burstable, parents.BestEffort]) await cgroup.ensure(name)
      await limitOrWarn(root, { cpuShares: toShares(milliCpu), memoryBytes, ...(pids !== undefined && { pidsMax: pids }) })
      // not the weight of burstable: pods that already run would count for nothing until the first updateQos
      const { burstable, besteffort } = qosCgroupLimits([], context.hugePageSizes)
      await limitOrWarn(parents.BestEffort, besteffort)
      await limitOrWarn(parents.Burstable, { hugePageBytes: burstable.hugePageBytes ?? {} })
      applied.clear()
    },
    ensurePod: async pod => {
      if (!cgroupsPerQOS) return ''
      await cgroup.ensure(nameOf(pod), podCgroupLimits(pod, context))
      return parentOf(pod)
    },
    parentOf,
    removePod: async uid => {
      if (!cgroupsPerQOS) return
      for (const parent of Object.values(parents)) {
        const name = [...parent, `${podPrefix}${uid}`]
        // asked by each hierarchy's directories, since one removed half way exists in some only
        const killed = await cgroup.kill(name)
        if (killed > 0) log.info({ uid, killed }, 'ended processes that were left in a pod cgroup')
        await cgroup.remove(name)
      }
    },
    oomKillsOfEnded: async (uid, endedContainer) => {
      if (!cgroupsPerQOS || cgroup.version === 1) return undefined
      const names = Object.values(parents).map((parent): CgroupName => [...parent, `${podPrefix}${uid}`])
      const kills = await Promise.all(names.map(name => cgroup.oomKillsOfGone(name, endedContainer)))
      return kills.reduce<number>((sum, it) => sum + (it ?? 0), 0)
    },
    pods: async () => {
      if (!cgroupsPerQOS) return []
      const found = await Promise.all(Object.values(parents).map(podsIn))
      return [...new Set(found.flat().map(([uid]) => uid))]
    },
    updateQos,
    removeAll: async () => {
      await cgroup.kill(root)
      await cgroup.remove(root)
    },
  }
}
