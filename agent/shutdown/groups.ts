// Which pods end when while the machine is shut down, and how long each may take. Pure.
// Follows pkg/kubelet/nodeshutdown/nodeshutdown_manager.go of 1.36 (k8s.io: Node Shutdowns): groups in the order of their priority, a pod
// belongs to the highest that is not above its own.
import type { Pod } from '../../api/types.ts'
import type { Millis, Seconds } from '../../host/clock.ts'
import { systemCriticalPriority } from '../qos.ts'

export interface ShutdownGroup {
  /** The least priority of its pods. */
  readonly priority: number
  readonly seconds: Seconds
}

export interface ShutdownSettings {
  readonly shutdownGracePeriod: Millis
  readonly shutdownGracePeriodCriticalPods: Millis
  readonly shutdownGracePeriodByPodPriority: readonly { readonly priority: number; readonly shutdownGracePeriodSeconds: number }[]
}

/** Groups in the order in which they end; none when a shutdown is not to be delayed. */
export const shutdownGroups = (settings: ShutdownSettings): readonly ShutdownGroup[] => {
  const { shutdownGracePeriodByPodPriority: given, shutdownGracePeriod, shutdownGracePeriodCriticalPods: critical } = settings
  const groups =
    given.length > 0
      ? given.map(({ priority, shutdownGracePeriodSeconds }) => ({ priority, seconds: shutdownGracePeriodSeconds }))
      : [
          { priority: 0, seconds: (shutdownGracePeriod - critical) / 1000 },
          { priority: systemCriticalPriority, seconds: critical / 1000 },
        ]
  return groups.some(it => it.seconds > 0) ? groups.toSorted((a, b) => a.priority - b.priority) : []
}

/** How long the whole shutdown may be delayed. */
export const delaySeconds = (groups: readonly ShutdownGroup[]): Seconds => groups.reduce((sum, it) => sum + it.seconds, 0)

export interface ShutdownStage<T> {
  readonly seconds: Seconds
  readonly pods: readonly T[]
}

/** The pods of each group; pods below the lowest are of the lowest. */
export const shutdownStages = <T extends { readonly pod: Pod }>(
  groups: readonly ShutdownGroup[],
  pods: readonly T[],
): readonly ShutdownStage<T>[] => {
  const groupOf = ({ pod }: T) => groups.findLast(it => it.priority <= (pod.spec.priority ?? 0)) ?? groups[0]
  return groups.map(group => ({ seconds: group.seconds, pods: pods.filter(it => groupOf(it) === group) }))
}

/** A pod's own grace period, and never more than its group has. */
export const shutdownGrace = ({ spec }: Pod, seconds: Seconds): Seconds =>
  Math.min(spec.terminationGracePeriodSeconds ?? 30, seconds)
