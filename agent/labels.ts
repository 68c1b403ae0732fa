// Names that the runtime keeps for us: labels, annotations, the container hash and log paths, all under the kubelet's own keys,
// so that crictl, log collectors and a kubelet that takes over (or gave way) read them.
// Facts from pkg/kubelet/kuberuntime/labels.go and pkg/kubelet/container/helpers.go of Kubernetes 1.36.
import { namespaceOf } from '../api/pod.ts'
import type { Container, Pod } from '../api/types.ts'

export const podNameLabel = 'io.kubernetes.pod.name'
export const podNamespaceLabel = 'io.kubernetes.pod.namespace'
export const podUidLabel = 'io.kubernetes.pod.uid'
export const containerNameLabel = 'io.kubernetes.container.name'
export const hashAnnotation = 'io.kubernetes.container.hash'
export const restartCountAnnotation = 'io.kubernetes.container.restartCount'
export const messagePathAnnotation = 'io.kubernetes.container.terminationMessagePath'
export const messagePolicyAnnotation = 'io.kubernetes.container.terminationMessagePolicy'
const preStopAnnotation = 'io.kubernetes.container.preStopHandler'
const portsAnnotation = 'io.kubernetes.container.ports'
export const podGraceAnnotation = 'io.kubernetes.pod.terminationGracePeriod'
const podDeletionGraceAnnotation = 'io.kubernetes.pod.deletionGracePeriod'

const identity = (pod: Pod): Record<string, string> => ({
  [podNameLabel]: pod.metadata.name,
  [podNamespaceLabel]: namespaceOf(pod),
  [podUidLabel]: pod.metadata.uid ?? '',
})

export const sandboxLabels = (pod: Pod): Record<string, string> => ({ ...pod.metadata.labels, ...identity(pod) })

export const sandboxAnnotations = (pod: Pod): Record<string, string> => ({ ...pod.metadata.annotations })

export const containerLabels = (pod: Pod, container: Container): Record<string, string> => ({
  ...identity(pod),
  [containerNameLabel]: container.name,
})

export const containerAnnotations = (pod: Pod, container: Container, restartCount: number): Record<string, string> => ({
  [hashAnnotation]: containerHash(container),
  [restartCountAnnotation]: String(restartCount),
  [messagePathAnnotation]: container.terminationMessagePath ?? '/dev/termination-log',
  [messagePolicyAnnotation]: container.terminationMessagePolicy ?? 'File',
  ...(pod.metadata.deletionGracePeriodSeconds !== undefined && {
    [podDeletionGraceAnnotation]: String(pod.metadata.deletionGracePeriodSeconds),
  }),
  ...(pod.spec.terminationGracePeriodSeconds !== undefined && {
    [podGraceAnnotation]: String(pod.spec.terminationGracePeriodSeconds),
  }),
  ...(container.lifecycle?.preStop && { [preStopAnnotation]: JSON.stringify(container.lifecycle.preStop) }),
  ...(container.ports && container.ports.length > 0 && { [portsAnnotation]: JSON.stringify(container.ports) }),
})

/**
 * The hash by which a running container is told from one of a changed spec: FNV-32a, in hex, over the debug print that
 * the kubelet makes of the JSON of name and image (DeepHashObject), so that its containers are adopted and ours by it.
 */
export const containerHash = ({ name, image }: Pick<Container, 'name' | 'image'>): string => {
  const json = new TextEncoder().encode(JSON.stringify({ image, name }))
  return fnv32a(`([]uint8)[${[...json].join(' ')}]`).toString(16)
}

const fnv32a = (text: string): number => {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0
  return hash
}

/** The folder of a pod's logs below podLogsDir: `<namespace>_<name>_<uid>`. */
export const podLogFolder = (pod: Pod): string => `${namespaceOf(pod)}_${pod.metadata.name}_${pod.metadata.uid ?? ''}`

/** A container's log relative to its pod's folder: `<container>/<restart count>.log`. */
export const containerLogPath = (container: string, restartCount: number): string => `${container}/${restartCount}.log`

/** The name below /var/log/containers by which log collectors find a container's log; cut as the kubelet cuts it. */
export const legacyLogName = (pod: Pod, container: string, containerId: string): string => {
  const base = `${pod.metadata.name}_${namespaceOf(pod)}_${container}-${containerId}`
  return `${base.slice(0, 251)}.log`
}
