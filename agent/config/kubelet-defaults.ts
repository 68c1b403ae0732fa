// What a KubeletConfiguration says where it says nothing. Pure. Durations in milliseconds.
// Follows k8s.io: kubelet-config v1beta1, not the flags' legacy defaults (which leave the API open); except failCgroupV1 and failSwapOn,
// which are false: this node runs on either.
import type { KubeletFields } from './kubelet-schema.ts'

const [second, minute, hour] = [1000, 60_000, 3_600_000]

/** The kubelet's hard eviction thresholds on Linux. */
export const defaultEvictionHard = {
  'memory.available': '100Mi',
  'nodefs.available': '10%',
  'nodefs.inodesFree': '5%',
  'imagefs.available': '15%',
  'imagefs.inodesFree': '5%',
} as const

const serverDefaults = (given: KubeletFields) => ({
  enableServer: given.enableServer ?? true,
  address: given.address || '0.0.0.0',
  port: given.port || 10_250,
  readOnlyPort: given.readOnlyPort ?? 0,
  tlsCertFile: given.tlsCertFile ?? '',
  tlsPrivateKeyFile: given.tlsPrivateKeyFile ?? '',
  tlsCipherSuites: given.tlsCipherSuites ?? [],
  tlsCurvePreferences: given.tlsCurvePreferences ?? [],
  tlsMinVersion: given.tlsMinVersion ?? '',
  rotateCertificates: given.rotateCertificates ?? false,
  serverTLSBootstrap: given.serverTLSBootstrap ?? false,
  authentication: {
    x509: { clientCAFile: given.authentication?.x509?.clientCAFile ?? '' },
    webhook: {
      enabled: given.authentication?.webhook?.enabled ?? true,
      cacheTTL: given.authentication?.webhook?.cacheTTL || 2 * minute,
    },
    anonymous: { enabled: given.authentication?.anonymous?.enabled ?? false },
  },
  authorization: {
    mode: given.authorization?.mode || ('Webhook' as const),
    webhook: {
      cacheAuthorizedTTL: given.authorization?.webhook?.cacheAuthorizedTTL || 5 * minute,
      cacheUnauthorizedTTL: given.authorization?.webhook?.cacheUnauthorizedTTL || 30 * second,
    },
  },
  enableDebuggingHandlers: given.enableDebuggingHandlers ?? true,
  enableContentionProfiling: given.enableContentionProfiling ?? false,
  enableProfilingHandler: given.enableProfilingHandler ?? true,
  enableDebugFlagsHandler: given.enableDebugFlagsHandler ?? true,
  enableSystemLogHandler: given.enableSystemLogHandler ?? true,
  enableSystemLogQuery: given.enableSystemLogQuery ?? false,
  healthzPort: given.healthzPort ?? 10_248,
  healthzBindAddress: given.healthzBindAddress || '127.0.0.1',
  streamingConnectionIdleTimeout: given.streamingConnectionIdleTimeout || 4 * hour,
  showHiddenMetricsForVersion: given.showHiddenMetricsForVersion ?? '',
  volumeStatsAggPeriod: given.volumeStatsAggPeriod || minute,
})

const sourceDefaults = (given: KubeletFields) => ({
  staticPodPath: given.staticPodPath ?? '',
  staticPodURL: given.staticPodURL ?? '',
  staticPodURLHeader: given.staticPodURLHeader ?? {},
  syncFrequency: given.syncFrequency || minute,
  fileCheckFrequency: given.fileCheckFrequency || 20 * second,
  httpCheckFrequency: given.httpCheckFrequency || 20 * second,
  configMapAndSecretChangeDetectionStrategy: given.configMapAndSecretChangeDetectionStrategy ?? ('Watch' as const),
  runOnce: given.runOnce ?? false,
})

const nodeDefaults = (given: KubeletFields) => ({
  registerNode: given.registerNode ?? true,
  registerWithTaints: given.registerWithTaints ?? [],
  providerID: given.providerID ?? '',
  // without a frequency of its own a report follows the update frequency that somebody set
  nodeStatusReportFrequency: given.nodeStatusReportFrequency || given.nodeStatusUpdateFrequency || 5 * minute,
  nodeStatusUpdateFrequency: given.nodeStatusUpdateFrequency || 10 * second,
  nodeLeaseDurationSeconds: given.nodeLeaseDurationSeconds || 40,
  nodeStatusMaxImages: given.nodeStatusMaxImages ?? 50,
  maxPods: given.maxPods || 110,
  podsPerCore: given.podsPerCore ?? 0,
  podCIDR: given.podCIDR ?? '',
  podPidsLimit: Math.max(given.podPidsLimit ?? -1, -1),
  maxOpenFiles: given.maxOpenFiles || 1_000_000,
  oomScoreAdj: given.oomScoreAdj ?? -999,
  contentType: given.contentType || 'application/vnd.kubernetes.protobuf',
  kubeAPIQPS: given.kubeAPIQPS ?? 50,
  kubeAPIBurst: given.kubeAPIBurst || 100,
  eventRecordQPS: given.eventRecordQPS ?? 50,
  eventBurst: given.eventBurst || 100,
  enableControllerAttachDetach: given.enableControllerAttachDetach ?? true,
  featureGates: given.featureGates ?? {},
  shutdownGracePeriod: given.shutdownGracePeriod ?? 0,
  shutdownGracePeriodCriticalPods: given.shutdownGracePeriodCriticalPods ?? 0,
  shutdownGracePeriodByPodPriority: given.shutdownGracePeriodByPodPriority ?? [],
  logging: { ...given.logging, format: given.logging?.format || ('text' as const), verbosity: given.logging?.verbosity ?? 0 },
  tracing: given.tracing ?? {},
})

const containerDefaults = (given: KubeletFields) => ({
  containerRuntimeEndpoint: given.containerRuntimeEndpoint || 'unix:///run/containerd/containerd.sock',
  imageServiceEndpoint: given.imageServiceEndpoint ?? '',
  runtimeRequestTimeout: given.runtimeRequestTimeout || 2 * minute,
  podLogsDir: given.podLogsDir || '/var/log/pods',
  containerLogMaxSize: given.containerLogMaxSize || '10Mi',
  containerLogMaxFiles: given.containerLogMaxFiles ?? 5,
  containerLogMaxWorkers: given.containerLogMaxWorkers ?? 1,
  containerLogMonitorInterval: given.containerLogMonitorInterval ?? 10 * second,
  registryPullQPS: given.registryPullQPS ?? 5,
  registryBurst: given.registryBurst || 10,
  // who asks for parallel pulls need not also say that they are not serial
  serializeImagePulls: given.serializeImagePulls ?? (given.maxParallelImagePulls ?? 1) < 2,
  ...(given.maxParallelImagePulls !== undefined && { maxParallelImagePulls: given.maxParallelImagePulls }),
  imageMinimumGCAge: given.imageMinimumGCAge || 2 * minute,
  imageMaximumGCAge: given.imageMaximumGCAge ?? 0,
  imageGCHighThresholdPercent: given.imageGCHighThresholdPercent ?? 85,
  imageGCLowThresholdPercent: given.imageGCLowThresholdPercent ?? 80,
  imagePullCredentialsVerificationPolicy: given.imagePullCredentialsVerificationPolicy || ('NeverVerifyPreloadedImages' as const),
  preloadedImagesVerificationAllowlist: given.preloadedImagesVerificationAllowlist ?? [],
  crashLoopBackOff: { maxContainerRestartPeriod: given.crashLoopBackOff?.maxContainerRestartPeriod ?? 300 * second },
  seccompDefault: given.seccompDefault ?? false,
  allowedUnsafeSysctls: given.allowedUnsafeSysctls ?? [],
  userNamespaces: { idsPerPod: given.userNamespaces?.idsPerPod ?? 65_536 },
  volumePluginDir: given.volumePluginDir || '/usr/libexec/kubernetes/kubelet-plugins/volume/exec/',
  localStorageCapacityIsolation: given.localStorageCapacityIsolation ?? true,
})

const networkDefaults = (given: KubeletFields) => ({
  clusterDomain: given.clusterDomain ?? '',
  clusterDNS: given.clusterDNS ?? [],
  resolvConf: given.resolvConf ?? '/etc/resolv.conf',
  hairpinMode: given.hairpinMode || ('promiscuous-bridge' as const),
  makeIPTablesUtilChains: given.makeIPTablesUtilChains ?? true,
  iptablesMasqueradeBit: given.iptablesMasqueradeBit ?? 14,
  iptablesDropBit: given.iptablesDropBit ?? 15,
})

const evictionHardOf = (given: KubeletFields) => {
  if (given.evictionHard === undefined) return defaultEvictionHard
  return given.mergeDefaultEvictionSettings ? { ...defaultEvictionHard, ...given.evictionHard } : given.evictionHard
}

const resourceDefaults = (given: KubeletFields) => ({
  cgroupRoot: given.cgroupRoot ?? '',
  cgroupsPerQOS: given.cgroupsPerQOS ?? true,
  cgroupDriver: given.cgroupDriver || ('cgroupfs' as const),
  kubeletCgroups: given.kubeletCgroups ?? '',
  systemCgroups: given.systemCgroups ?? '',
  failCgroupV1: given.failCgroupV1 ?? false,
  failSwapOn: given.failSwapOn ?? false,
  memorySwap: { swapBehavior: given.memorySwap?.swapBehavior || ('NoSwap' as const) },
  ...(given.singleProcessOOMKill !== undefined && { singleProcessOOMKill: given.singleProcessOOMKill }),
  cpuManagerPolicy: given.cpuManagerPolicy || ('none' as const),
  cpuManagerPolicyOptions: given.cpuManagerPolicyOptions ?? {},
  cpuManagerReconcilePeriod: given.cpuManagerReconcilePeriod || 10 * second,
  memoryManagerPolicy: given.memoryManagerPolicy || ('None' as const),
  topologyManagerPolicy: given.topologyManagerPolicy || ('none' as const),
  topologyManagerScope: given.topologyManagerScope || ('container' as const),
  topologyManagerPolicyOptions: given.topologyManagerPolicyOptions ?? {},
  qosReserved: given.qosReserved ?? {},
  cpuCFSQuota: given.cpuCFSQuota ?? true,
  cpuCFSQuotaPeriod: given.cpuCFSQuotaPeriod ?? 100,
  memoryThrottlingFactor: given.memoryThrottlingFactor ?? 0.9,
  memoryReservationPolicy: given.memoryReservationPolicy || ('None' as const),
  evictionHard: evictionHardOf(given) as Readonly<Record<string, string>>,
  evictionSoft: given.evictionSoft ?? {},
  evictionSoftGracePeriod: given.evictionSoftGracePeriod ?? {},
  evictionPressureTransitionPeriod: given.evictionPressureTransitionPeriod || 5 * minute,
  evictionMaxPodGracePeriod: given.evictionMaxPodGracePeriod ?? 0,
  evictionMinimumReclaim: given.evictionMinimumReclaim ?? {},
  mergeDefaultEvictionSettings: given.mergeDefaultEvictionSettings ?? false,
  protectKernelDefaults: given.protectKernelDefaults ?? false,
  kernelMemcgNotification: given.kernelMemcgNotification ?? false,
  systemReserved: given.systemReserved ?? {},
  kubeReserved: given.kubeReserved ?? {},
  reservedSystemCPUs: given.reservedSystemCPUs ?? '',
  reservedMemory: given.reservedMemory ?? [],
  systemReservedCgroup: given.systemReservedCgroup ?? '',
  kubeReservedCgroup: given.kubeReservedCgroup ?? '',
  enforceNodeAllocatable: given.enforceNodeAllocatable ?? ['pods'],
})

/** The whole configuration: every field there, a zero duration or an empty text counting as not given where upstream does so. */
export const withKubeletDefaults = (given: KubeletFields) => ({
  ...serverDefaults(given),
  ...sourceDefaults(given),
  ...nodeDefaults(given),
  ...containerDefaults(given),
  ...networkDefaults(given),
  ...resourceDefaults(given),
})

export type KubeletConfiguration = Readonly<ReturnType<typeof withKubeletDefaults>>
