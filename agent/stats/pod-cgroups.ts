// Which cgroup belongs to which running container: a pod's cgroup holds one for each container and one for its sandbox, named
// after their ids in the way of the runtime (`ID`, `cri-containerd-ID.scope`, `crio-ID.scope`).
import type { ContainerStatus } from '../../api/pod-status.ts'
import type { Pod } from '../../api/types.ts'
import type { CgroupReader } from '../../host/cgroup-read.ts'
import type { Millis } from '../../host/clock.ts'

export interface RunningContainer {
  readonly name: string
  readonly id: string
  readonly startedAt: Millis
  /** Undefined when it has none where it should be. */
  readonly path: string | undefined
}

export interface PodPlace {
  readonly pod: Pod
  /** Undefined when pods have no cgroups of their own, or this one has none yet. */
  readonly path: string | undefined
  readonly containers: readonly RunningContainer[]
  readonly sandboxPath: string | undefined
}

/** The id in the name of a container's cgroup; undefined for other cgroups, such as that of the process that watches a container. */
export const containerIdOf = (directory: string): string | undefined =>
  directory.includes('conmon') ? undefined : /(?:^|[-:])([0-9a-f]{32,})(?:\.scope)?$/.exec(directory)?.[1]

const statuses = ({ status }: Pod): readonly ContainerStatus[] => [
  ...(status?.initContainerStatuses ?? []),
  ...(status?.containerStatuses ?? []),
  ...(status?.ephemeralContainerStatuses ?? []),
]

/** The pods that run something, with the cgroups of what they run. */
export const podPlaces = (
  pods: readonly Pod[],
  reader: Pick<CgroupReader, 'children'>,
  parentOf: (pod: Pod) => string,
): readonly PodPlace[] =>
  pods.flatMap((pod): PodPlace[] => {
    const parent = parentOf(pod)
    const children = new Map<string, string>()
    for (const directory of parent === '' ? [] : reader.children(parent)) {
      const id = containerIdOf(directory)
      if (id !== undefined) children.set(id, `${parent}/${directory}`)
    }
    const known = new Set<string>()
    const containers = statuses(pod).flatMap(({ name, containerID, state }): RunningContainer[] => {
      const id = containerID?.replace(/^.*:\/\//, '')
      if (id === undefined) return []
      known.add(id)
      if (state?.running === undefined) return []
      return [{ name, id, startedAt: Date.parse(state.running.startedAt), path: children.get(id) }]
    })
    if (containers.length === 0 && children.size === 0) return []
    const sandboxPath = [...children].find(([id]) => !known.has(id))?.[1]
    return [{ pod, path: parent === '' || children.size === 0 ? undefined : parent, containers, sandboxPath }]
  })
