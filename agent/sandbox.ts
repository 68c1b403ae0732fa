// A pod's sandbox as the runtime is asked for it: pure. The pause container owns the namespaces that the pod's containers share.
// Follows generatePodSandboxConfig of the kubelet (1.36) and the CRI's PodSandboxConfig.

import type { DnsConfig, LinuxPodSandboxConfig, PodSandboxConfig, PortMapping } from '../api/cri/types.ts'
import { namespaceOf, runningContainers } from '../api/pod.ts'
import type { Pod } from '../api/types.ts'
import { podLogFolder, sandboxAnnotations, sandboxLabels } from './labels.ts'

export interface SandboxParts {
  readonly attempt: number
  readonly hostname: string
  readonly dnsConfig: DnsConfig
  /** The folder that holds all pods' logs. */
  readonly podLogsDir: string
  readonly linux: LinuxPodSandboxConfig
}

export const toSandboxConfig = (pod: Pod, parts: SandboxParts): PodSandboxConfig => ({
  metadata: {
    name: pod.metadata.name,
    namespace: namespaceOf(pod),
    uid: pod.metadata.uid ?? '',
    attempt: parts.attempt,
  },
  // A pod on the host's network has the host's name; an empty one says so to the runtime.
  hostname: pod.spec.hostNetwork ? '' : parts.hostname,
  logDirectory: `${parts.podLogsDir}/${podLogFolder(pod)}`,
  dnsConfig: parts.dnsConfig,
  portMappings: pod.spec.hostNetwork ? [] : portMappings(pod),
  labels: sandboxLabels(pod),
  annotations: sandboxAnnotations(pod),
  linux: parts.linux,
})

const portMappings = (pod: Pod): readonly PortMapping[] =>
  runningContainers(pod).flatMap(container =>
    (container.ports ?? []).map(port => ({
      protocol: port.protocol ?? 'TCP',
      containerPort: port.containerPort,
      hostPort: port.hostPort ?? 0,
      hostIp: port.hostIP ?? '',
    })),
  )
