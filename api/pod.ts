// What many parts ask of a pod's spec: its containers by kind, its name in full. Pure.
// Follows the API reference of PodSpec; a sidecar is an init container that keeps running (k8s.io: Sidecar Containers).
import type { KubeObject } from './meta.ts'
import type { Container, Pod } from './types.ts'

/** The namespace of an object; that of one which names none is `default`. */
export const namespaceOf = ({ metadata }: KubeObject): string => metadata.namespace ?? 'default'

/** `namespace/name`. */
export const fullName = (object: KubeObject): string => `${namespaceOf(object)}/${object.metadata.name}`

/** Init and ordinary containers, in the order in which they start. */
export const templateContainers = ({ spec }: Pod): readonly Container[] => [...(spec.initContainers ?? []), ...spec.containers]

/** Every container of a pod, in the order init, ordinary, ephemeral. */
export const allContainers = (pod: Pod): readonly Container[] => [
  ...templateContainers(pod),
  ...(pod.spec.ephemeralContainers ?? []),
]

/** The container of that name, of whichever kind. */
export const containerOf = (pod: Pod, name: string): Container | undefined => allContainers(pod).find(it => it.name === name)

/** True for an init container that keeps running beside those after it. */
export const isSidecar = (init: Container): boolean => init.restartPolicy === 'Always'

export const sidecarsOf = ({ spec }: Pod): readonly Container[] => (spec.initContainers ?? []).filter(isSidecar)

/** Containers that run while the pod does: sidecars and ordinary ones. */
export const runningContainers = (pod: Pod): readonly Container[] => [...sidecarsOf(pod), ...pod.spec.containers]
