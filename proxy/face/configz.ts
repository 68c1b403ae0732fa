// The KubeProxyConfiguration in force as a file would say it, for /configz and --write-config-to. Pure.
// Held in milliseconds here, durations are written as Go writes them, so that clients read the same type back.
import { stringify } from 'yaml'
import { formatDuration } from '../../api/config/duration.ts'
import type { ProxyConfig } from '../../api/config/proxy-config.ts'

/** Fields that are durations, wherever they stand. */
const durations = new Set([
  'configSyncPeriod',
  'minSyncPeriod',
  'syncPeriod',
  'tcpCloseWaitTimeout',
  'tcpEstablishedTimeout',
  'tcpFinTimeout',
  'tcpTimeout',
  'udpStreamTimeout',
  'udpTimeout',
])

const write = (value: unknown, name: string): unknown => {
  if (typeof value === 'number') return durations.has(name) ? formatDuration(value) : value
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, it]) => [key, write(it, key)]))
}

/** As a configuration file has it, in nested values. */
const toFields = ({ clusterCIDRs, verbosity: _, ...config }: ProxyConfig): object => ({
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  ...(write({ ...config, clusterCIDR: clusterCIDRs.join(',') }, '') as object),
})

/** The answer's text. */
export const toConfigz = (config: ProxyConfig): string => JSON.stringify({ 'kubeproxy.config.k8s.io': toFields(config) })

/** The text of a file that `--config` takes. */
export const toConfigFile = (config: ProxyConfig): string => stringify(toFields(config))
