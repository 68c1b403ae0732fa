// The shape of a KubeletConfiguration, kubelet.config.k8s.io/v1beta1: every field of 1.36, and no others. Durations come out in milliseconds.
// Nothing is defaulted here (kubelet-defaults.ts) and nothing is compared with anything (kubelet-rules.ts).
import { array, boolean, check, type InferOutput, number, pipe, record, string, union } from 'valibot'
import { duration } from '../../api/config/document.ts'
import {
  flag,
  int32,
  int64,
  oneOf,
  optional,
  quantities,
  quantity,
  strict,
  text,
  textMap,
  texts,
} from '../../api/validate/shape.ts'

const outputRouting = strict({ splitStream: optional(flag), infoBufferSize: optional(quantity) })

/** LoggingConfiguration of component-base; a bare number as flushFrequency is in nanoseconds. */
export const loggingSchema = strict({
  format: optional(oneOf(['text', 'json', ''])),
  flushFrequency: optional(union([number(), duration], 'want a duration such as 5s')),
  verbosity: optional(int32),
  vmodule: optional(array(strict({ filePattern: text, verbosity: int32 }))),
  options: optional(strict({ text: optional(outputRouting), json: optional(outputRouting) })),
})

const taint = strict({
  key: text,
  value: optional(text),
  effect: oneOf(['NoSchedule', 'PreferNoSchedule', 'NoExecute']),
  timeAdded: optional(text),
})

const authentication = strict({
  x509: optional(strict({ clientCAFile: optional(text) })),
  webhook: optional(strict({ enabled: optional(flag), cacheTTL: optional(duration) })),
  anonymous: optional(strict({ enabled: optional(flag) })),
})

const authorization = strict({
  mode: optional(oneOf(['AlwaysAllow', 'Webhook', ''])),
  webhook: optional(strict({ cacheAuthorizedTTL: optional(duration), cacheUnauthorizedTTL: optional(duration) })),
})

const percentageOrQuantity = pipe(
  string(),
  check(
    value => /^\d+(\.\d+)?%$/.test(value) || quantity['~run']({ value }, {}).issues === undefined,
    'want an amount such as 100Mi or 10%',
  ),
)

const server = {
  enableServer: optional(flag),
  address: optional(text),
  port: optional(int32),
  readOnlyPort: optional(int32),
  tlsCertFile: optional(text),
  tlsPrivateKeyFile: optional(text),
  tlsCipherSuites: optional(texts),
  tlsCurvePreferences: optional(array(int32)),
  tlsMinVersion: optional(oneOf(['', 'VersionTLS10', 'VersionTLS11', 'VersionTLS12', 'VersionTLS13'])),
  rotateCertificates: optional(flag),
  serverTLSBootstrap: optional(flag),
  authentication: optional(authentication),
  authorization: optional(authorization),
  enableDebuggingHandlers: optional(flag),
  enableContentionProfiling: optional(flag),
  enableProfilingHandler: optional(flag),
  enableDebugFlagsHandler: optional(flag),
  enableSystemLogHandler: optional(flag),
  enableSystemLogQuery: optional(flag),
  healthzPort: optional(int32),
  healthzBindAddress: optional(text),
  streamingConnectionIdleTimeout: optional(duration),
  showHiddenMetricsForVersion: optional(text),
  volumeStatsAggPeriod: optional(duration),
}

const sources = {
  staticPodPath: optional(text),
  staticPodURL: optional(text),
  staticPodURLHeader: optional(record(text, texts)),
  syncFrequency: optional(duration),
  fileCheckFrequency: optional(duration),
  httpCheckFrequency: optional(duration),
  configMapAndSecretChangeDetectionStrategy: optional(oneOf(['Get', 'Cache', 'Watch'])),
  runOnce: optional(flag),
}

const node = {
  registerNode: optional(flag),
  registerWithTaints: optional(array(taint)),
  providerID: optional(text),
  nodeStatusUpdateFrequency: optional(duration),
  nodeStatusReportFrequency: optional(duration),
  nodeLeaseDurationSeconds: optional(int32),
  nodeStatusMaxImages: optional(int32),
  maxPods: optional(int32),
  podsPerCore: optional(int32),
  podCIDR: optional(text),
  podPidsLimit: optional(int64),
  maxOpenFiles: optional(int64),
  oomScoreAdj: optional(int32),
  contentType: optional(text),
  kubeAPIQPS: optional(int32),
  kubeAPIBurst: optional(int32),
  eventRecordQPS: optional(int32),
  eventBurst: optional(int32),
  enableControllerAttachDetach: optional(flag),
  featureGates: optional(record(string(), boolean())),
  shutdownGracePeriod: optional(duration),
  shutdownGracePeriodCriticalPods: optional(duration),
  shutdownGracePeriodByPodPriority: optional(array(strict({ priority: int32, shutdownGracePeriodSeconds: int64 }))),
  logging: optional(loggingSchema),
  tracing: optional(strict({ endpoint: optional(text), samplingRatePerMillion: optional(int32) })),
}

const containers = {
  containerRuntimeEndpoint: optional(text),
  imageServiceEndpoint: optional(text),
  runtimeRequestTimeout: optional(duration),
  podLogsDir: optional(text),
  containerLogMaxSize: optional(quantity),
  containerLogMaxFiles: optional(int32),
  containerLogMaxWorkers: optional(int32),
  containerLogMonitorInterval: optional(duration),
  registryPullQPS: optional(int32),
  registryBurst: optional(int32),
  serializeImagePulls: optional(flag),
  maxParallelImagePulls: optional(int32),
  imageMinimumGCAge: optional(duration),
  imageMaximumGCAge: optional(duration),
  imageGCHighThresholdPercent: optional(int32),
  imageGCLowThresholdPercent: optional(int32),
  imagePullCredentialsVerificationPolicy: optional(
    oneOf(['', 'NeverVerify', 'NeverVerifyPreloadedImages', 'NeverVerifyAllowlistedImages', 'AlwaysVerify']),
  ),
  preloadedImagesVerificationAllowlist: optional(texts),
  crashLoopBackOff: optional(strict({ maxContainerRestartPeriod: optional(duration) })),
  seccompDefault: optional(flag),
  allowedUnsafeSysctls: optional(texts),
  userNamespaces: optional(strict({ idsPerPod: optional(int64) })),
  volumePluginDir: optional(text),
  localStorageCapacityIsolation: optional(flag),
}

const network = {
  clusterDomain: optional(text),
  clusterDNS: optional(texts),
  resolvConf: optional(text),
  hairpinMode: optional(oneOf(['', 'promiscuous-bridge', 'hairpin-veth', 'none'])),
  makeIPTablesUtilChains: optional(flag),
  iptablesMasqueradeBit: optional(int32),
  iptablesDropBit: optional(int32),
}

const resources = {
  cgroupRoot: optional(text),
  cgroupsPerQOS: optional(flag),
  cgroupDriver: optional(oneOf(['', 'cgroupfs', 'systemd'])),
  kubeletCgroups: optional(text),
  systemCgroups: optional(text),
  failCgroupV1: optional(flag),
  failSwapOn: optional(flag),
  memorySwap: optional(strict({ swapBehavior: optional(oneOf(['', 'NoSwap', 'LimitedSwap'])) })),
  singleProcessOOMKill: optional(flag),
  cpuManagerPolicy: optional(oneOf(['', 'none', 'static'])),
  cpuManagerPolicyOptions: optional(textMap),
  cpuManagerReconcilePeriod: optional(duration),
  memoryManagerPolicy: optional(oneOf(['', 'None', 'Static'])),
  topologyManagerPolicy: optional(oneOf(['', 'none', 'best-effort', 'restricted', 'single-numa-node'])),
  topologyManagerScope: optional(oneOf(['', 'container', 'pod'])),
  topologyManagerPolicyOptions: optional(textMap),
  qosReserved: optional(textMap),
  cpuCFSQuota: optional(flag),
  cpuCFSQuotaPeriod: optional(duration),
  memoryThrottlingFactor: optional(number()),
  memoryReservationPolicy: optional(oneOf(['', 'None', 'TieredReservation'])),
  evictionHard: optional(record(text, percentageOrQuantity)),
  evictionSoft: optional(record(text, percentageOrQuantity)),
  evictionSoftGracePeriod: optional(record(text, duration)),
  evictionPressureTransitionPeriod: optional(duration),
  evictionMaxPodGracePeriod: optional(int32),
  evictionMinimumReclaim: optional(record(text, percentageOrQuantity)),
  mergeDefaultEvictionSettings: optional(flag),
  protectKernelDefaults: optional(flag),
  kernelMemcgNotification: optional(flag),
  systemReserved: optional(quantities),
  kubeReserved: optional(quantities),
  reservedSystemCPUs: optional(text),
  reservedMemory: optional(array(strict({ numaNode: int32, limits: quantities }))),
  systemReservedCgroup: optional(text),
  kubeReservedCgroup: optional(text),
  enforceNodeAllocatable: optional(texts),
}

/** KubeletConfiguration without apiVersion and kind. */
export const kubeletSchema = strict({ ...server, ...sources, ...node, ...containers, ...network, ...resources })

/** What a file and flags say, durations in milliseconds; fields that nobody set are absent. */
export type KubeletFields = InferOutput<typeof kubeletSchema>
