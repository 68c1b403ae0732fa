// /configz: the KubeletConfiguration in force, as a file would say it. Pure.
// Held in milliseconds here, durations are written as Go writes them, so that clients read the same type back.
import { formatDuration } from '../../api/config/duration.ts'
import type { KubeletConfiguration } from '../config/kubelet-defaults.ts'
import { type Answer, json } from './answer.ts'

/** Fields that are durations, wherever they stand. */
const durations = new Set([
  'cacheAuthorizedTTL',
  'cacheTTL',
  'cacheUnauthorizedTTL',
  'containerLogMonitorInterval',
  'cpuCFSQuotaPeriod',
  'cpuManagerReconcilePeriod',
  'evictionPressureTransitionPeriod',
  'fileCheckFrequency',
  'flushFrequency',
  'httpCheckFrequency',
  'imageMaximumGCAge',
  'imageMinimumGCAge',
  'maxContainerRestartPeriod',
  'nodeStatusReportFrequency',
  'nodeStatusUpdateFrequency',
  'runtimeRequestTimeout',
  'shutdownGracePeriod',
  'shutdownGracePeriodCriticalPods',
  'streamingConnectionIdleTimeout',
  'syncFrequency',
  'volumeStatsAggPeriod',
])
/** Fields whose every value is one. */
const durationMaps = new Set(['evictionSoftGracePeriod'])

const write = (value: unknown, name: string): unknown => {
  if (typeof value === 'number') return durations.has(name) ? formatDuration(value) : value
  if (Array.isArray(value)) return value.map(it => write(it, ''))
  if (typeof value !== 'object' || value === null) return value
  const isMap = durationMaps.has(name)
  return Object.fromEntries(
    Object.entries(value).map(([key, it]) => [key, isMap && typeof it === 'number' ? formatDuration(it) : write(it, key)]),
  )
}

/** Header values of staticPodURL may be credentials. */
const masked = (headers: KubeletConfiguration['staticPodURLHeader']) =>
  Object.fromEntries(Object.entries(headers).map(([name, values]) => [name, values.map(() => '<masked>')]))

export const serveConfigz = (config: KubeletConfiguration): Answer => {
  const fields = write({ ...config, staticPodURLHeader: masked(config.staticPodURLHeader) }, '') as object
  return json({ kubeletconfig: { ...fields, kind: 'KubeletConfiguration', apiVersion: 'kubelet.config.k8s.io/v1beta1' } })
}
