// Which fields of a KubeletConfiguration are read and checked but have no effect yet, so that the log can say so.
// A field leaves this list when the part that obeys it lands.
import type { Fields } from '../../api/config/document.ts'
import type { KubeletFields } from './kubelet-schema.ts'

/** Fields without effect; what they ask for is not there yet. */
export const withoutEffect: readonly (keyof KubeletFields)[] = [
  'containerLogMaxWorkers',
  'contentType',
  'cpuManagerPolicy',
  'cpuManagerPolicyOptions',
  'cpuManagerReconcilePeriod',
  'enableContentionProfiling',
  'enableDebugFlagsHandler',
  'enableProfilingHandler',
  'enableSystemLogQuery',
  'enforceNodeAllocatable',
  'featureGates',
  'hairpinMode',
  'httpCheckFrequency',
  'imagePullCredentialsVerificationPolicy',
  'iptablesDropBit',
  'iptablesMasqueradeBit',
  'kubeAPIBurst',
  'kubeAPIQPS',
  'kubeletCgroups',
  'kubeReservedCgroup',
  'makeIPTablesUtilChains',
  'maxOpenFiles',
  'memoryManagerPolicy',
  'memoryReservationPolicy',
  'memoryThrottlingFactor',
  'preloadedImagesVerificationAllowlist',
  'protectKernelDefaults',
  'qosReserved',
  'reservedMemory',
  'reservedSystemCPUs',
  'showHiddenMetricsForVersion',
  'staticPodURL',
  'staticPodURLHeader',
  'systemCgroups',
  'systemReservedCgroup',
  'tlsCurvePreferences',
  'topologyManagerPolicy',
  'topologyManagerPolicyOptions',
  'topologyManagerScope',
  'tracing',
  'userNamespaces',
  'volumePluginDir',
  'volumeStatsAggPeriod',
]

/** Fields that are obeyed in part, with what they do. */
export const partialEffect: { readonly [K in keyof KubeletFields]?: string } = {
  kernelMemcgNotification: 'memory is looked at every second',
  logging: 'verbosity only',
}

const isNothing = (value: unknown): boolean =>
  value === '' ||
  value === 0 ||
  value === '0' ||
  value === '0s' ||
  (typeof value === 'object' && value !== null && Object.values(value).every(isNothing))

const isAsked = (given: Fields, field: string): boolean => field in given && !isNothing(given[field])

/** One warning that names the given fields without full effect; empty ones are nothing anybody would miss. */
export const effectWarnings = (given: Fields): readonly string[] => {
  const idle = withoutEffect.filter(field => isAsked(given, field))
  const { verbosity: _, ...logging } = (given['logging'] ?? {}) as Fields
  const partly = Object.entries(partialEffect).filter(([field]) => isAsked({ ...given, logging }, field))
  return [
    ...(idle.length === 0 ? [] : [`these fields of the KubeletConfiguration have no effect yet: ${idle.join(', ')}`]),
    ...partly.map(([field, what]) => `${field} in the KubeletConfiguration: ${what}`),
  ]
}
