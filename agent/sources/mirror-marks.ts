// The marks that tell static pods, their mirrors in the apiserver and the apiserver's own pods apart. Pure.
// Follows the kubelet's pod sources (k8s.io: Create static Pods): annotations config.source, config.hash and config.mirror.
import type { Pod } from '../../api/types.ts'
import { configHashAnnotation, configSourceAnnotation } from './identity.ts'

export const configMirrorAnnotation = 'kubernetes.io/config.mirror'

/** Whether the pod is the apiserver's picture of a static pod: shown there, never run from there. */
export const isMirror = ({ metadata }: Pod): boolean => metadata.annotations?.[configMirrorAnnotation] !== undefined

/** Whether the pod comes from a folder of this node. */
export const isStatic = ({ metadata }: Pod): boolean => {
  const source = metadata.annotations?.[configSourceAnnotation]
  return source !== undefined && source !== 'api' && metadata.annotations?.[configMirrorAnnotation] === undefined
}

/** Whether `mirror` shows this very version of a static pod. */
export const mirrors = (mirror: Pod, pod: Pod): boolean => {
  const hash = pod.metadata.annotations?.[configHashAnnotation]
  return hash !== undefined && mirror.metadata.annotations?.[configMirrorAnnotation] === hash
}
