// A container as the runtime is asked for it: pure. What needs the machine (mounts, environment, image) is worked out before.
// Follows generateContainerConfig of the kubelet (1.36) and the CRI's ContainerConfig.
import type { ContainerConfig, Device, KeyValue, LinuxContainerConfig, Mount, Signal } from '../api/cri/types.ts'
import type { Container, Pod } from '../api/types.ts'
import { expandWords } from './expand.ts'
import { containerAnnotations, containerLabels, containerLogPath } from './labels.ts'

export interface ContainerParts {
  readonly restartCount: number
  /** What the runtime calls the image that was found or pulled. */
  readonly imageRef: string
  readonly env: readonly KeyValue[]
  readonly mounts: readonly Mount[]
  readonly devices?: readonly Device[]
  readonly linux: LinuxContainerConfig
}

export const toContainerConfig = (pod: Pod, container: Container, parts: ContainerParts): ContainerConfig => {
  const stopSignal = container.lifecycle?.stopSignal
  return {
    metadata: { name: container.name, attempt: parts.restartCount },
    image: { image: parts.imageRef, userSpecifiedImage: container.image },
    command: expandWords(container.command ?? [], parts.env),
    args: expandWords(container.args ?? [], parts.env),
    workingDir: container.workingDir ?? '',
    envs: parts.env,
    mounts: parts.mounts,
    ...(parts.devices && parts.devices.length > 0 && { devices: parts.devices }),
    labels: containerLabels(pod, container),
    annotations: containerAnnotations(pod, container, parts.restartCount),
    logPath: containerLogPath(container.name, parts.restartCount),
    stdin: container.stdin ?? false,
    stdinOnce: container.stdinOnce ?? false,
    tty: container.tty ?? false,
    linux: parts.linux,
    ...(stopSignal !== undefined && { stopSignal: stopSignal as Signal }),
  }
}
