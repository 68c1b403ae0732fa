// How many pods, containers and volumes there are and in which state, counted anew at each scrape. Pure.
// Names and labels are those of the kubelet 1.36.
import type { ContainerStatus } from '../../api/pod-status.ts'
import type { Pod, Volume } from '../../api/types.ts'
import type { Family } from '../../host/exposition.ts'
import { createFamilySet, gauge } from './family-set.ts'
import { pluginOf } from './volume-kinds.ts'

/** From a file and not from an apiserver. */
export const isStaticPod = ({ metadata }: Pod): boolean =>
  (metadata.annotations?.['kubernetes.io/config.source'] ?? 'api') !== 'api' ||
  metadata.annotations?.['kubernetes.io/config.mirror'] !== undefined

const isOver = ({ status }: Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed'

const statusesOf = ({ status }: Pod): readonly ContainerStatus[] => [
  ...(status?.initContainerStatuses ?? []),
  ...(status?.containerStatuses ?? []),
  ...(status?.ephemeralContainerStatuses ?? []),
]

const isRunning = (it: ContainerStatus): boolean => it.state?.running !== undefined
const hasExited = ({ state, lastState }: ContainerStatus): boolean =>
  state?.terminated !== undefined || lastState?.terminated !== undefined

const otherPlugins: readonly (readonly [field: string, plugin: string])[] = [
  ['hostPath', 'host-path'],
  ['image', 'image'],
  ['persistentVolumeClaim', 'persistent-volume-claim'],
]

const pluginNameOf = (volume: Volume): string => {
  const plugin = pluginOf(volume) ?? otherPlugins.find(([field]) => volume[field] !== undefined)?.[1]
  return `kubernetes.io/${plugin ?? 'other'}`
}

/** Volumes by plugin. */
const volumesOf = (pods: readonly Pod[]): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const volume of pods.flatMap(it => it.spec.volumes ?? [])) {
    const name = pluginNameOf(volume)
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return counts
}

/**
 * @param live pods with their live status
 * @param wanted what the node is told to run
 */
export const toPodGauges = (live: readonly Pod[], wanted: readonly Pod[]): readonly Family[] => {
  const set = createFamilySet()
  const count = (pods: readonly Pod[], is: (pod: Pod) => boolean) => pods.filter(is).length
  const statuses = live.flatMap(statusesOf)
  const active = live.filter(it => !isOver(it))
  const running = live.filter(it => statusesOf(it).some(isRunning))
  set.add(gauge('kubelet_running_pods', 'Pods that run'), {}, running.length)
  const containers = gauge('kubelet_running_containers', 'Containers by state')
  set.add(containers, { container_state: 'running' }, statuses.filter(isRunning).length)
  set.add(containers, { container_state: 'exited' }, statuses.filter(hasExited).length)
  const desired = gauge('kubelet_desired_pods', 'Pods that the node is told to run')
  const considered = gauge('kubelet_active_pods', 'Pods that count when another one is admitted')
  for (const isStatic of [true, false]) {
    const labels = { static: isStatic ? 'true' : '' }
    set.add(
      desired,
      labels,
      count(wanted, it => isStaticPod(it) === isStatic),
    )
    set.add(
      considered,
      labels,
      count(active, it => isStaticPod(it) === isStatic),
    )
  }
  set.add(gauge('kubelet_mirror_pods', 'Static pods that have or are to have a mirror'), {}, count(active, isStaticPod))
  const ephemeral = active.flatMap(it => it.spec.ephemeralContainers ?? [])
  set.add(gauge('kubelet_managed_ephemeral_containers', 'Ephemeral containers of pods here'), {}, ephemeral.length)
  const volumes = gauge('volume_manager_total_volumes', 'Volumes by plugin, as wanted and as they are')
  for (const [plugin_name, total] of volumesOf(wanted.filter(it => !isOver(it)))) {
    set.add(volumes, { plugin_name, state: 'desired_state_of_world' }, total)
  }
  for (const [plugin_name, total] of volumesOf(running)) {
    set.add(volumes, { plugin_name, state: 'actual_state_of_world' }, total)
  }
  return [...set.families(), ...toWorking(live, wanted)]
}

const toWorking = (live: readonly Pod[], wanted: readonly Pod[]): readonly Family[] => {
  const uids = new Set(wanted.map(it => it.metadata.uid))
  const counts = new Map<string, number>()
  for (const pod of live) {
    const lifecycle = isOver(pod) ? 'terminated' : pod.metadata.deletionTimestamp === undefined ? 'sync' : 'terminating'
    const config = uids.has(pod.metadata.uid) ? 'desired' : 'orphan'
    const key = `${lifecycle} ${config} ${isStaticPod(pod) ? 'true' : ''}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  const set = createFamilySet()
  for (const [key, total] of counts) {
    const [lifecycle = '', config = '', isStatic = ''] = key.split(' ')
    set.add(gauge('kubelet_working_pods', 'Pods by how far they are'), { lifecycle, config, static: isStatic }, total)
  }
  return set.families()
}
