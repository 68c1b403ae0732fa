// The order in which a pod's containers end: a pure description, carried out by agent/terminate.ts.
// App containers, ephemeral ones and plain init containers at once; then the sidecars, last started first
// (k8s.io: Sidecar Containers, "Termination of sidecars").
import { isSidecar } from '../api/pod.ts'
import type { Pod } from '../api/types.ts'
import type { Seconds } from '../host/clock.ts'
import { type ContainerSeen, isAlive, latest, type Seen } from './seen.ts'

/** Stages in order; the containers of a stage end side by side. Only what is alive is named. */
export const endingStages = (pod: Pod, seen: Seen): readonly (readonly ContainerSeen[])[] => {
  const alive = seen.containers.filter(isAlive)
  const sidecars = (pod.spec.initContainers ?? [])
    .filter(isSidecar)
    .map(it => latest(seen, it.name))
    .filter(it => it !== undefined && isAlive(it))
    .toReversed() as readonly ContainerSeen[]
  const late = new Set(sidecars.map(it => it.id))
  const stages = [alive.filter(it => !late.has(it.id)), ...sidecars.map(it => [it])]
  return stages.filter(stage => stage.length > 0)
}

/** The least time between TERM and KILL when a hook or a failed probe used the grace period up; the kubelet's figure. */
export const leastGrace: Seconds = 2

/** What is left of a grace period after `usedMs`. A period of 0 means: kill at once. */
export const remainingGrace = (grace: Seconds, usedMs: number): Seconds =>
  grace <= 0 ? 0 : Math.max(Math.ceil(grace - usedMs / 1000), leastGrace)

/** The grace period of a pod that is asked to end: a later request may only shorten an earlier one. */
export const shorterGrace = (running: Seconds | undefined, asked: Seconds): Seconds =>
  running === undefined ? asked : Math.min(running, asked)
