// KubeProxyConfiguration, kubeproxy.config.k8s.io/v1alpha1: shape, defaults, rules. Pure. Durations in milliseconds.
// Follows kube-proxy 1.36; an empty mode means nftables here (iptables there), and the warnings say so.
import { isIPv6 } from 'node:net'
import { array, boolean, type InferOutput, number, record, string, union } from 'valibot'
import { hostPort, onePerFamily } from '../../host/address.ts'
import { ipAddress, isCidr } from '../validate/names.ts'
import type { Report } from '../validate/problem.ts'
import { flag, int32, oneOf, optional, quantity, strict, text, texts } from '../validate/shape.ts'
import { duration } from './document.ts'
import { formatDuration } from './duration.ts'

const routing = optional(strict({ splitStream: optional(flag), infoBufferSize: optional(quantity) }))
const periods = { syncPeriod: optional(duration), minSyncPeriod: optional(duration) }

export const kubeProxySchema = strict({
  featureGates: optional(record(string(), boolean())),
  clientConnection: optional(
    strict({
      kubeconfig: optional(text),
      acceptContentTypes: optional(text),
      contentType: optional(text),
      qps: optional(number()),
      burst: optional(int32),
    }),
  ),
  logging: optional(
    strict({
      format: optional(oneOf(['text', 'json', ''])),
      flushFrequency: optional(union([number(), duration], 'want a duration such as 5s')),
      verbosity: optional(int32),
      vmodule: optional(array(strict({ filePattern: text, verbosity: int32 }))),
      options: optional(strict({ text: routing, json: routing })),
    }),
  ),
  hostnameOverride: optional(text),
  bindAddress: optional(text),
  healthzBindAddress: optional(text),
  metricsBindAddress: optional(text),
  bindAddressHardFail: optional(flag),
  enableProfiling: optional(flag),
  showHiddenMetricsForVersion: optional(text),
  mode: optional(oneOf(['', 'nftables', 'iptables', 'ipvs'])),
  iptables: optional(
    strict({ ...periods, masqueradeBit: optional(int32), masqueradeAll: optional(flag), localhostNodePorts: optional(flag) }),
  ),
  ipvs: optional(
    strict({
      ...periods,
      scheduler: optional(text),
      excludeCIDRs: optional(texts),
      strictARP: optional(flag),
      tcpTimeout: optional(duration),
      tcpFinTimeout: optional(duration),
      udpTimeout: optional(duration),
    }),
  ),
  nftables: optional(strict({ ...periods, masqueradeBit: optional(int32), masqueradeAll: optional(flag) })),
  winkernel: optional(
    strict({
      networkName: optional(text),
      sourceVip: optional(text),
      enableDSR: optional(flag),
      rootHnsEndpointName: optional(text),
      forwardHealthCheckVip: optional(flag),
    }),
  ),
  detectLocalMode: optional(oneOf(['', 'ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix'])),
  detectLocal: optional(strict({ bridgeInterface: optional(text), interfaceNamePrefix: optional(text) })),
  clusterCIDR: optional(text),
  nodePortAddresses: optional(texts),
  oomScoreAdj: optional(int32),
  conntrack: optional(
    strict({
      maxPerCore: optional(int32),
      min: optional(int32),
      tcpEstablishedTimeout: optional(duration),
      tcpCloseWaitTimeout: optional(duration),
      tcpBeLiberal: optional(flag),
      udpTimeout: optional(duration),
      udpStreamTimeout: optional(duration),
    }),
  ),
  configSyncPeriod: optional(duration),
  portRange: optional(text),
  windowsRunAsService: optional(flag),
})

export type KubeProxyFields = InferOutput<typeof kubeProxySchema>

const withPort = (address: string, port: number): string => {
  return ipAddress.ok(address) ? hostPort(address, port) : address
}

const addressesOf = (given: KubeProxyFields) => {
  const bindAddress = given.bindAddress || '0.0.0.0'
  const v6 = isIPv6(bindAddress)
  return {
    bindAddress,
    healthzBindAddress: withPort(given.healthzBindAddress || (v6 ? '::' : '0.0.0.0'), 10_256),
    metricsBindAddress: withPort(given.metricsBindAddress || (v6 ? '::1' : '127.0.0.1'), 10_249),
  }
}

const modesOf = (given: KubeProxyFields) => ({
  iptables: {
    masqueradeBit: given.iptables?.masqueradeBit ?? 14,
    masqueradeAll: given.iptables?.masqueradeAll ?? false,
    localhostNodePorts: given.iptables?.localhostNodePorts ?? true,
    syncPeriod: given.iptables?.syncPeriod || 30_000,
    minSyncPeriod: given.iptables?.minSyncPeriod || 1000,
  },
  ipvs: {
    syncPeriod: given.ipvs?.syncPeriod || 30_000,
    minSyncPeriod: given.ipvs?.minSyncPeriod ?? 0,
    scheduler: given.ipvs?.scheduler ?? '',
    excludeCIDRs: given.ipvs?.excludeCIDRs ?? [],
    strictARP: given.ipvs?.strictARP ?? false,
    tcpTimeout: given.ipvs?.tcpTimeout ?? 0,
    tcpFinTimeout: given.ipvs?.tcpFinTimeout ?? 0,
    udpTimeout: given.ipvs?.udpTimeout ?? 0,
  },
  nftables: {
    masqueradeBit: given.nftables?.masqueradeBit ?? 14,
    masqueradeAll: given.nftables?.masqueradeAll ?? false,
    syncPeriod: given.nftables?.syncPeriod || 30_000,
    minSyncPeriod: given.nftables?.minSyncPeriod || 1000,
  },
})

/** The whole configuration with kube-proxy's defaults; `mode` as it was asked for, empty when it was not. */
export const withKubeProxyDefaults = (given: KubeProxyFields) => ({
  featureGates: given.featureGates ?? {},
  clientConnection: {
    kubeconfig: given.clientConnection?.kubeconfig ?? '',
    acceptContentTypes: given.clientConnection?.acceptContentTypes ?? '',
    contentType: given.clientConnection?.contentType || 'application/vnd.kubernetes.protobuf',
    qps: given.clientConnection?.qps || 5,
    burst: given.clientConnection?.burst || 10,
  },
  logging: { ...given.logging, format: given.logging?.format ?? ('' as const), verbosity: given.logging?.verbosity ?? 0 },
  hostnameOverride: given.hostnameOverride ?? '',
  ...addressesOf(given),
  bindAddressHardFail: given.bindAddressHardFail ?? false,
  enableProfiling: given.enableProfiling ?? false,
  showHiddenMetricsForVersion: given.showHiddenMetricsForVersion ?? '',
  mode: given.mode ?? ('' as const),
  ...modesOf(given),
  detectLocalMode: given.detectLocalMode || ('ClusterCIDR' as const),
  detectLocal: {
    bridgeInterface: given.detectLocal?.bridgeInterface ?? '',
    interfaceNamePrefix: given.detectLocal?.interfaceNamePrefix ?? '',
  },
  /** Of both families where there are two. */
  clusterCIDRs: (given.clusterCIDR ?? '').split(',').filter(range => range !== ''),
  nodePortAddresses: given.nodePortAddresses ?? [],
  oomScoreAdj: given.oomScoreAdj ?? -999,
  conntrack: {
    maxPerCore: given.conntrack?.maxPerCore ?? 32 * 1024,
    min: given.conntrack?.min ?? 128 * 1024,
    tcpEstablishedTimeout: given.conntrack?.tcpEstablishedTimeout ?? 24 * 3_600_000,
    tcpCloseWaitTimeout: given.conntrack?.tcpCloseWaitTimeout ?? 3_600_000,
    tcpBeLiberal: given.conntrack?.tcpBeLiberal ?? false,
    udpTimeout: given.conntrack?.udpTimeout ?? 0,
    udpStreamTimeout: given.conntrack?.udpStreamTimeout ?? 0,
  },
  configSyncPeriod: given.configSyncPeriod || 15 * 60_000,
})

export type KubeProxyConfiguration = Readonly<ReturnType<typeof withKubeProxyDefaults>>
export type ProxyMode = 'nftables' | 'iptables' | 'ipvs'

/** The mode that runs, and what to say about it. */
export const chooseMode = (
  asked: KubeProxyConfiguration['mode'],
): { readonly mode: ProxyMode; readonly warnings: readonly string[] } =>
  asked === ''
    ? { mode: 'nftables', warnings: ['no proxy mode is given: nftables is used (kube-proxy would use iptables)'] }
    : { mode: asked, warnings: [] }

const isHostPort = (text: string): boolean => {
  const [, v6, v4, port] = /^(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(text) ?? []
  return ipAddress.ok(v6 ?? v4 ?? '') && Number(port) >= 1 && Number(port) <= 65_535
}

const checkRange = (report: Report, path: string, value: number, least: number, most: number): void => {
  if (value < least || value > most) report(path, value, `want a number from ${least} to ${most}`)
}

const checkTimes = (report: Report, config: KubeProxyConfiguration): void => {
  for (const mode of ['nftables', 'iptables', 'ipvs'] as const) {
    const { syncPeriod, minSyncPeriod } = config[mode]
    if (syncPeriod < 0) report(`${mode}.syncPeriod`, formatDuration(syncPeriod), 'want more than 0s')
    if (minSyncPeriod < 0) report(`${mode}.minSyncPeriod`, formatDuration(minSyncPeriod), 'want at least 0s')
    if (minSyncPeriod > syncPeriod)
      report(`${mode}.minSyncPeriod`, formatDuration(minSyncPeriod), `want at most syncPeriod, ${formatDuration(syncPeriod)}`)
  }
  const times = {
    ipvs: ['tcpTimeout', 'tcpFinTimeout', 'udpTimeout'],
    conntrack: ['tcpEstablishedTimeout', 'tcpCloseWaitTimeout', 'udpTimeout', 'udpStreamTimeout'],
  } as const
  for (const field of times.ipvs)
    if (config.ipvs[field] < 0) report(`ipvs.${field}`, formatDuration(config.ipvs[field]), 'want at least 0s')
  for (const field of times.conntrack)
    if (config.conntrack[field] < 0) report(`conntrack.${field}`, formatDuration(config.conntrack[field]), 'want at least 0s')
  if (config.configSyncPeriod < 0) report('configSyncPeriod', formatDuration(config.configSyncPeriod), 'want more than 0s')
}

const checkLocal = (report: Report, { detectLocalMode, detectLocal, clusterCIDRs }: KubeProxyConfiguration): void => {
  if (detectLocalMode === 'BridgeInterface' && detectLocal.bridgeInterface === '')
    report('detectLocal.bridgeInterface', undefined, 'required with detectLocalMode: BridgeInterface')
  if (detectLocalMode === 'InterfaceNamePrefix' && detectLocal.interfaceNamePrefix === '') {
    report('detectLocal.interfaceNamePrefix', undefined, 'required with detectLocalMode: InterfaceNamePrefix')
  }
  if (!clusterCIDRs.every(isCidr) || !onePerFamily(clusterCIDRs)) {
    report(
      'clusterCIDR',
      clusterCIDRs.join(','),
      'want a range such as 10.244.0.0/16, or one of each family with a comma between',
    )
  }
}

/** Reports everything that is wrong with a configuration that has its defaults. */
export const checkKubeProxy = (report: Report, config: KubeProxyConfiguration): void => {
  if (!ipAddress.ok(config.bindAddress)) report('bindAddress', config.bindAddress, ipAddress.want)
  for (const field of ['healthzBindAddress', 'metricsBindAddress'] as const) {
    if (!isHostPort(config[field])) report(field, config[field], 'want an address and a port such as 0.0.0.0:10256 or [::]:10256')
  }
  checkRange(report, 'iptables.masqueradeBit', config.iptables.masqueradeBit, 0, 31)
  checkRange(report, 'nftables.masqueradeBit', config.nftables.masqueradeBit, 0, 31)
  checkRange(report, 'oomScoreAdj', config.oomScoreAdj, -1000, 1000)
  for (const field of ['maxPerCore', 'min'] as const)
    checkRange(report, `conntrack.${field}`, config.conntrack[field], 0, 2 ** 31 - 1)
  if (config.clientConnection.burst < 0)
    report('clientConnection.burst', config.clientConnection.burst, 'want a number of at least 0')
  for (const [index, range] of config.ipvs.excludeCIDRs.entries())
    if (!isCidr(range)) report(`ipvs.excludeCIDRs[${index}]`, range, 'want a range such as 10.0.0.0/8')
  for (const [index, range] of config.nodePortAddresses.entries()) {
    if (range === 'primary' ? config.nodePortAddresses.length > 1 : !isCidr(range)) {
      report(`nodePortAddresses[${index}]`, range, 'want ranges such as 10.0.0.0/8, or primary alone')
    }
  }
  checkTimes(report, config)
  checkLocal(report, config)
}
