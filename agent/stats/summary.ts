// The body of /stats/summary from what was sampled. Pure: figures come in, the upstream shape goes out.
// Follows k8s.io/kubelet v0.36, pkg/apis/stats/v1alpha1 and how the kubelet fills it.
import { namespaceOf } from '../../api/pod.ts'
import type { Psi } from '../../host/cgroup-usage.ts'
import type { Millis } from '../../host/clock.ts'
import type { InterfaceUse, NetworkUse } from '../../host/net-dev.ts'
import { rfc3339 } from '../status.ts'
import type { ContainerSample, Measured, NodeSample, PodSample } from './sample.ts'
import type { NodeStorage, PodStorage } from './storage.ts'
import type { ContainerStats, InterfaceStats, NetworkStats, NodeStats, PodStats, Summary, UsageStats } from './wire.ts'

/** What `only_cpu_and_memory` leaves out. */
export interface PodExtras {
  readonly storage: PodStorage
  readonly network: NetworkUse | undefined
  readonly processes: number
}

export interface NodeExtras {
  readonly storage: NodeStorage
  readonly network: NetworkUse | undefined
  readonly processes: number
  readonly processLimit: number
}

export interface SummaryInput {
  readonly nodeName: string
  readonly bootedAt: Millis
  readonly sample: NodeSample
  readonly node?: NodeExtras
  /** By the pods' uids. */
  readonly pods?: ReadonlyMap<string, PodExtras>
}

const psiOf = (psi: Psi | undefined) => (psi === undefined ? {} : { psi })

const toSwap = (time: string, memory: Measured['memory']): Pick<UsageStats, 'swap'> => {
  if (memory === undefined) return {}
  const { swapBytes, swapLimitBytes } = memory
  const available = swapLimitBytes === undefined ? {} : { swapAvailableBytes: Math.max(swapLimitBytes - swapBytes, 0) }
  return { swap: { time, ...available, swapUsageBytes: swapBytes } }
}

const toUsage = (use: Measured | undefined): UsageStats => {
  if (use === undefined) return {}
  const { cpu, memory, nanoCores, psi } = use
  const time = rfc3339(use.at)
  return {
    ...(cpu && {
      cpu: {
        time,
        ...(nanoCores !== undefined && { usageNanoCores: nanoCores }),
        usageCoreNanoSeconds: cpu.usageNs,
        ...psiOf(psi.cpu),
      },
    }),
    ...(memory && {
      memory: {
        time,
        ...(memory.limitBytes !== undefined && { availableBytes: Math.max(memory.limitBytes - memory.workingSetBytes, 0) }),
        usageBytes: memory.usageBytes,
        workingSetBytes: memory.workingSetBytes,
        rssBytes: memory.rssBytes,
        pageFaults: memory.pageFaults.all,
        majorPageFaults: memory.majorPageFaults.all,
        ...psiOf(psi.memory),
      },
    }),
    ...toSwap(time, memory),
    ...(psi.io && { io: { time, psi: psi.io } }),
  }
}

const toInterface = ({ name, rxBytes, rxErrors, txBytes, txErrors }: InterfaceUse): InterfaceStats => ({
  name,
  rxBytes,
  rxErrors,
  txBytes,
  txErrors,
})

const toNetwork = (at: Millis, use: NetworkUse | undefined): { readonly network?: NetworkStats } => {
  if (use === undefined) return {}
  // a pod without a default route still has the interface that everybody means
  const main = use.main ?? use.interfaces.find(it => it.name === 'eth0')
  return { network: { time: rfc3339(at), ...(main && toInterface(main)), interfaces: use.interfaces.map(toInterface) } }
}

const toContainer = ({ name, startedAt, use }: ContainerSample, storage: PodStorage | undefined): ContainerStats => {
  const { rootfs, logs } = storage?.containers.get(name) ?? {}
  return {
    name,
    startTime: rfc3339(startedAt),
    ...toUsage(use),
    ...(rootfs && { rootfs }),
    ...(logs && { logs }),
  }
}

const toPod = (at: Millis, { pod, containers, use }: PodSample, extras: PodExtras | undefined): PodStats => ({
  podRef: { name: pod.metadata.name, namespace: namespaceOf(pod), uid: pod.metadata.uid ?? '' },
  startTime: pod.status?.startTime ?? rfc3339(at),
  containers: containers.map(it => toContainer(it, extras?.storage)),
  ...toUsage(use),
  ...(extras && {
    ...toNetwork(at, extras.network),
    ...(extras.storage.volumes.length > 0 && { volume: extras.storage.volumes }),
    ...(extras.storage.ephemeral && { 'ephemeral-storage': extras.storage.ephemeral }),
    process_stats: { process_count: extras.processes },
  }),
})

const toNode = ({ nodeName, bootedAt, sample, node }: SummaryInput): NodeStats => {
  const { imageFs, containerFs, rootFs } = node?.storage ?? {}
  const startTime = rfc3339(bootedAt)
  return {
    nodeName,
    systemContainers: sample.system.map(({ name, use }) => ({ name, startTime, ...toUsage(use) })),
    startTime,
    ...toUsage(sample.node),
    ...(node && {
      ...toNetwork(sample.at, node.network),
      ...(rootFs && { fs: rootFs }),
      runtime: { ...(imageFs && { imageFs }), ...(containerFs && { containerFs }) },
      rlimit: { time: rfc3339(sample.at), maxpid: node.processLimit, curproc: node.processes },
    }),
  }
}

/** The summary; without `node` and `pods` it is what `only_cpu_and_memory=true` asks for. */
export const toSummary = (input: SummaryInput): Summary => ({
  node: toNode(input),
  pods: input.sample.pods.map(pod => toPod(input.sample.at, pod, input.pods?.get(pod.pod.metadata.uid ?? ''))),
})
