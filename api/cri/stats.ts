// Usage figures and metrics as the CRI answers them, in proto-loader's form: see types.ts for the rules.
// Times are nanoseconds since the epoch. A figure that the runtime does not know is null, not 0.

import type { ContainerMetadata, PodSandboxMetadata, StringMap } from './types.ts'

export interface UInt64Value {
  readonly value: number
}

export interface PsiData {
  /** Microseconds since boot that tasks were stalled. */
  readonly Total: number
  readonly Avg10: number
  readonly Avg60: number
  readonly Avg300: number
}

export interface PsiStats {
  readonly Full: PsiData | null
  readonly Some: PsiData | null
}

export interface CpuUsage {
  readonly timestamp: number
  readonly usageCoreNanoSeconds: UInt64Value | null
  readonly usageNanoCores: UInt64Value | null
  readonly psi: PsiStats | null
}

export interface MemoryUsage {
  readonly timestamp: number
  readonly workingSetBytes: UInt64Value | null
  readonly availableBytes: UInt64Value | null
  readonly usageBytes: UInt64Value | null
  readonly rssBytes: UInt64Value | null
  readonly pageFaults: UInt64Value | null
  readonly majorPageFaults: UInt64Value | null
  readonly psi: PsiStats | null
}

export interface SwapUsage {
  readonly timestamp: number
  readonly swapAvailableBytes: UInt64Value | null
  readonly swapUsageBytes: UInt64Value | null
}

export interface IoUsage {
  readonly timestamp: number
  readonly psi: PsiStats | null
}

export interface FilesystemUsage {
  readonly timestamp: number
  readonly fsId: { readonly mountpoint: string } | null
  readonly usedBytes: UInt64Value | null
  readonly inodesUsed: UInt64Value | null
}

export interface ImageFsInfoResponse {
  readonly imageFilesystems: readonly FilesystemUsage[]
  readonly containerFilesystems: readonly FilesystemUsage[]
}

export interface ContainerAttributes {
  readonly id: string
  readonly metadata: ContainerMetadata
  readonly labels: StringMap
  readonly annotations: StringMap
}

export interface ContainerStats {
  readonly attributes: ContainerAttributes
  readonly cpu: CpuUsage | null
  readonly memory: MemoryUsage | null
  readonly writableLayer: FilesystemUsage | null
  readonly swap: SwapUsage | null
  readonly io: IoUsage | null
}

export interface ContainerStatsFilter {
  readonly id?: string
  readonly podSandboxId?: string
  readonly labelSelector?: StringMap
}

export interface NetworkInterfaceUsage {
  readonly name: string
  readonly rxBytes: UInt64Value | null
  readonly rxErrors: UInt64Value | null
  readonly txBytes: UInt64Value | null
  readonly txErrors: UInt64Value | null
}

export interface NetworkUsage {
  readonly timestamp: number
  readonly defaultInterface: NetworkInterfaceUsage | null
  readonly interfaces: readonly NetworkInterfaceUsage[]
}

export interface PodSandboxStats {
  readonly attributes: {
    readonly id: string
    readonly metadata: PodSandboxMetadata
    readonly labels: StringMap
    readonly annotations: StringMap
  }
  readonly linux: {
    readonly cpu: CpuUsage | null
    readonly memory: MemoryUsage | null
    readonly network: NetworkUsage | null
    readonly process: { readonly timestamp: number; readonly processCount: UInt64Value | null } | null
    readonly containers: readonly ContainerStats[]
    readonly io: IoUsage | null
  } | null
}

export interface PodSandboxStatsFilter {
  readonly id?: string
  readonly labelSelector?: StringMap
}

export interface MetricDescriptor {
  readonly name: string
  readonly help: string
  readonly labelKeys: readonly string[]
}

export interface Metric {
  readonly name: string
  readonly timestamp: number
  readonly metricType: 'COUNTER' | 'GAUGE'
  readonly labelValues: readonly string[]
  readonly value: UInt64Value | null
}

export interface PodSandboxMetrics {
  readonly podSandboxId: string
  readonly metrics: readonly Metric[]
  readonly containerMetrics: readonly { readonly containerId: string; readonly metrics: readonly Metric[] }[]
}
