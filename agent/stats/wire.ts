// The bodies of /stats/summary, by the names that its readers (metrics-server, kubectl, monitoring) know. Only types.
// Follows k8s.io/kubelet v0.36, pkg/apis/stats/v1alpha1. What is not known is left out; times are RFC 3339.
import type { Psi } from '../../host/cgroup-usage.ts'

export interface Summary {
  readonly node: NodeStats
  readonly pods: readonly PodStats[]
}

export interface NodeStats extends UsageStats {
  readonly nodeName: string
  readonly systemContainers: readonly ContainerStats[]
  readonly startTime: string
  readonly network?: NetworkStats
  readonly fs?: FsStats
  readonly runtime?: { readonly imageFs?: FsStats; readonly containerFs?: FsStats }
  readonly rlimit?: { readonly time: string; readonly maxpid: number; readonly curproc: number }
}

export interface PodStats extends UsageStats {
  readonly podRef: { readonly name: string; readonly namespace: string; readonly uid: string }
  readonly startTime: string
  readonly containers: readonly ContainerStats[]
  readonly network?: NetworkStats
  readonly volume?: readonly VolumeStats[]
  readonly 'ephemeral-storage'?: FsStats
  readonly process_stats?: { readonly process_count: number }
}

export interface ContainerStats extends UsageStats {
  readonly name: string
  readonly startTime: string
  readonly rootfs?: FsStats
  readonly logs?: FsStats
}

/** What nodes, pods and containers have in common. */
export interface UsageStats {
  readonly cpu?: CpuStats
  readonly memory?: MemoryStats
  readonly swap?: SwapStats
  readonly io?: { readonly time: string; readonly psi: Psi }
}

export interface CpuStats {
  readonly time: string
  readonly usageNanoCores?: number
  readonly usageCoreNanoSeconds?: number
  readonly psi?: Psi
}

export interface MemoryStats {
  readonly time: string
  readonly availableBytes?: number
  readonly usageBytes?: number
  readonly workingSetBytes?: number
  readonly rssBytes?: number
  readonly pageFaults?: number
  readonly majorPageFaults?: number
  readonly psi?: Psi
}

export interface SwapStats {
  readonly time: string
  readonly swapAvailableBytes?: number
  readonly swapUsageBytes?: number
}

export interface InterfaceStats {
  readonly name: string
  readonly rxBytes: number
  readonly rxErrors: number
  readonly txBytes: number
  readonly txErrors: number
}

export type NetworkStats = { readonly time: string; readonly interfaces: readonly InterfaceStats[] } & Partial<InterfaceStats>

export interface FsStats {
  readonly time: string
  readonly availableBytes?: number
  readonly capacityBytes?: number
  readonly usedBytes?: number
  readonly inodesFree?: number
  readonly inodes?: number
  readonly inodesUsed?: number
}

export interface VolumeStats extends FsStats {
  readonly name: string
  readonly pvcRef?: { readonly name: string; readonly namespace: string }
}
