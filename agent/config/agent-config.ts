// What main.ts builds the daemon from: one flat, read-only value. Durations in milliseconds, sizes in bytes.
// Only types; load.ts makes it.
import type { ProxyConfig } from '../../api/config/proxy-config.ts'
import type { ResourceList } from '../../api/meta.ts'
import type { Millis } from '../../host/clock.ts'
import type { KubeletConfiguration } from './kubelet-defaults.ts'
import type { Mode, PortRange } from './nodelet.ts'

export interface AgentConfig {
  /** Lower case: the host's name, or --hostname-override. */
  readonly nodeName: string
  /** As given by --node-ip, of both families where there are two; empty: to be found out. */
  readonly nodeIPs: readonly string[]
  readonly nodeLabels: Readonly<Record<string, string>>
  readonly registerNode: boolean
  readonly registerWithTaints: KubeletConfiguration['registerWithTaints']
  readonly providerID: string
  readonly cloudProvider: string

  /** Absent: no control plane. */
  readonly kubeconfig?: string
  readonly bootstrapKubeconfig?: string
  readonly certDir: string
  readonly rootDir: string
  readonly podLogsDir: string
  /** Absent: no folder of manifests. */
  readonly staticPodPath?: string
  readonly fileCheckFrequency: Millis

  /** Paths of unix sockets. */
  readonly runtimeSocket: string
  readonly imageSocket: string
  readonly runtimeRequestTimeout: Millis

  readonly maxPods: number
  readonly podsPerCore: number
  /** -1: as many as the node allows. */
  readonly podPidsLimit: number
  readonly podCIDRs: readonly string[]
  readonly hairpinMode: 'promiscuous-bridge' | 'hairpin-veth' | 'none'

  /** `/` when not given. */
  readonly cgroupRoot: string
  readonly cgroupDriver: 'cgroupfs' | 'systemd'
  /** Whether somebody said so; otherwise the runtime is asked first. */
  readonly cgroupDriverGiven: boolean
  readonly cgroupsPerQOS: boolean
  readonly cpuCFSQuota: boolean
  readonly cpuCFSQuotaPeriod: Millis
  readonly failCgroupV1: boolean
  readonly failSwapOn: boolean
  readonly memorySwapBehavior: 'NoSwap' | 'LimitedSwap'
  readonly systemReserved: ResourceList
  readonly kubeReserved: ResourceList
  readonly enforceNodeAllocatable: readonly string[]
  /** Signal to amount or percentage. */
  readonly evictionHard: Readonly<Record<string, string>>

  /** `cluster.local` when not given and there is no control plane. */
  readonly clusterDomain: string
  readonly clusterDNS: readonly string[]
  /** Empty: none is used. */
  readonly resolvConf: string

  /** 0: no limit. */
  readonly registryPullQPS: number
  readonly registryBurst: number
  readonly serializeImagePulls: boolean
  /** Absent: no limit. */
  readonly maxParallelImagePulls?: number
  readonly imageGCHighThresholdPercent: number
  readonly imageGCLowThresholdPercent: number
  readonly imageMinimumGCAge: Millis
  readonly imageMaximumGCAge: Millis
  readonly imageCredentialProviderConfig?: string
  readonly imageCredentialProviderBinDir?: string

  readonly containerLogMaxBytes: number
  readonly containerLogMaxFiles: number
  readonly containerLogMonitorInterval: Millis
  readonly maxContainerRestartPeriod: Millis
  readonly maxDeadContainersPerContainer: number

  readonly seccompDefault: boolean
  readonly allowedUnsafeSysctls: readonly string[]

  readonly shutdownGracePeriod: Millis
  readonly shutdownGracePeriodCriticalPods: Millis
  readonly shutdownGracePeriodByPodPriority: KubeletConfiguration['shutdownGracePeriodByPodPriority']

  readonly socket: string
  readonly stateDir: string
  /** Directories that are not given are found out from the runtime. */
  readonly cni: { readonly mode: Mode; readonly binDir?: string; readonly confDir?: string }
  readonly standalone: { readonly serviceCIDRs: readonly string[]; readonly nodePortRange: PortRange }
  /** `isGiven`: by a file; without one the configuration is that of kube-proxy's defaults. */
  readonly proxy: { readonly mode: Mode; readonly config: ProxyConfig; readonly isGiven: boolean }
  /** What is kept on the disk, for root alone, so that pods start while the apiserver is away. */
  readonly offline: { readonly pods: boolean; readonly secrets: boolean }

  readonly verbosity: number
  /** Takes everything away that the daemon made, instead of running. */
  readonly cleanup: boolean
  /** All of it, for /configz and for parts that need a field more. */
  readonly kubelet: KubeletConfiguration
}

export interface LoadedAgentConfig {
  readonly config: AgentConfig
  /** One line each, for the log. */
  readonly warnings: readonly string[]
}
