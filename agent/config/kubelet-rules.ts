// What a KubeletConfiguration may not say: ranges, and fields that do not fit each other. Pure; works on one that has its defaults.
// Follows the kubelet's own validation (pkg/kubelet/apis/config/validation of 1.36).
import { isAbsolute, normalize } from 'node:path'
import { formatDuration } from '../../api/config/duration.ts'
import { parseQuantity, toBytes } from '../../api/quantity.ts'
import { ipAddress, isCidr } from '../../api/validate/names.ts'
import type { Report } from '../../api/validate/problem.ts'
import type { KubeletConfiguration } from './kubelet-defaults.ts'

const ranges = {
  port: [1, 65_535],
  readOnlyPort: [0, 65_535],
  healthzPort: [0, 65_535],
  imageGCHighThresholdPercent: [0, 100],
  imageGCLowThresholdPercent: [0, 100],
  oomScoreAdj: [-1000, 1000],
  iptablesMasqueradeBit: [0, 31],
  iptablesDropBit: [0, 31],
  nodeLeaseDurationSeconds: [1, Number.POSITIVE_INFINITY],
  maxPods: [0, Number.POSITIVE_INFINITY],
  podsPerCore: [0, Number.POSITIVE_INFINITY],
  maxOpenFiles: [0, Number.POSITIVE_INFINITY],
  nodeStatusMaxImages: [-1, Number.POSITIVE_INFINITY],
  eventBurst: [0, Number.POSITIVE_INFINITY],
  eventRecordQPS: [0, Number.POSITIVE_INFINITY],
  kubeAPIBurst: [0, Number.POSITIVE_INFINITY],
  kubeAPIQPS: [0, Number.POSITIVE_INFINITY],
  registryBurst: [0, Number.POSITIVE_INFINITY],
  registryPullQPS: [0, Number.POSITIVE_INFINITY],
  containerLogMaxFiles: [2, Number.POSITIVE_INFINITY],
  containerLogMaxWorkers: [1, Number.POSITIVE_INFINITY],
} as const satisfies { readonly [K in keyof KubeletConfiguration]?: readonly [number, number] }

const checkRanges = (report: Report, config: KubeletConfiguration): void => {
  for (const [field, [least, most]] of Object.entries(ranges)) {
    const value = config[field as keyof typeof ranges]
    if (value < least || value > most) {
      report(
        field,
        value,
        most === Number.POSITIVE_INFINITY ? `want a number of at least ${least}` : `want a number from ${least} to ${most}`,
      )
    }
  }
}

const checkDurations = (report: Report, config: KubeletConfiguration): void => {
  const between = (field: string, value: number, least: number, most: number) => {
    if (value < least || value > most)
      report(field, formatDuration(value), `want ${formatDuration(least)} to ${formatDuration(most)}`)
  }
  between('cpuCFSQuotaPeriod', config.cpuCFSQuotaPeriod, 1, 1000)
  between('crashLoopBackOff.maxContainerRestartPeriod', config.crashLoopBackOff.maxContainerRestartPeriod, 1000, 300_000)
  if (config.containerLogMonitorInterval < 3000)
    report('containerLogMonitorInterval', formatDuration(config.containerLogMonitorInterval), 'want at least 3s')
  for (const field of ['imageMinimumGCAge', 'imageMaximumGCAge'] as const) {
    if (config[field] < 0) report(field, formatDuration(config[field]), 'want at least 0s')
  }
  if (config.imageMaximumGCAge > 0 && config.imageMaximumGCAge <= config.imageMinimumGCAge) {
    report(
      'imageMaximumGCAge',
      formatDuration(config.imageMaximumGCAge),
      `want more than imageMinimumGCAge, ${formatDuration(config.imageMinimumGCAge)}`,
    )
  }
  for (const field of ['shutdownGracePeriod', 'shutdownGracePeriodCriticalPods'] as const) {
    if (config[field] !== 0 && config[field] < 1000) report(field, formatDuration(config[field]), 'want 0s or at least 1s')
  }
  if (config.shutdownGracePeriodCriticalPods > config.shutdownGracePeriod) {
    report(
      'shutdownGracePeriodCriticalPods',
      formatDuration(config.shutdownGracePeriodCriticalPods),
      `want at most shutdownGracePeriod, ${formatDuration(config.shutdownGracePeriod)}`,
    )
  }
  if (config.shutdownGracePeriodByPodPriority.length > 0 && config.shutdownGracePeriod > 0) {
    report(
      'shutdownGracePeriodByPodPriority',
      undefined,
      'want only one of shutdownGracePeriodByPodPriority, shutdownGracePeriod',
    )
  }
}

const checkImages = (report: Report, config: KubeletConfiguration): void => {
  if (config.imageGCLowThresholdPercent >= config.imageGCHighThresholdPercent) {
    report(
      'imageGCLowThresholdPercent',
      config.imageGCLowThresholdPercent,
      `want less than imageGCHighThresholdPercent, ${config.imageGCHighThresholdPercent}`,
    )
  }
  const { maxParallelImagePulls: most } = config
  if (most !== undefined && most < 1) report('maxParallelImagePulls', most, 'want a number of at least 1')
  if (most !== undefined && most > 1 && config.serializeImagePulls)
    report('maxParallelImagePulls', most, 'needs serializeImagePulls: false')
  if (
    config.preloadedImagesVerificationAllowlist.length > 0 &&
    config.imagePullCredentialsVerificationPolicy !== 'NeverVerifyAllowlistedImages'
  ) {
    report(
      'preloadedImagesVerificationAllowlist',
      undefined,
      'needs imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages',
    )
  }
  if (toBytes(config.containerLogMaxSize) < 1) report('containerLogMaxSize', config.containerLogMaxSize, 'want an amount above 0')
}

const signals = [
  'memory.available',
  'nodefs.available',
  'nodefs.inodesFree',
  'imagefs.available',
  'imagefs.inodesFree',
  'containerfs.available',
  'containerfs.inodesFree',
  'allocatableMemory.available',
  'pid.available',
]

const checkThreshold = (report: Report, place: string, value: string): void => {
  // 0% and 100% switch a threshold off; an amount of nothing would only look as if it did.
  if (value.endsWith('%')) {
    if (Number.parseFloat(value) > 100) report(place, value, 'want at most 100%')
  } else if (toBytes(value) <= 0) report(place, value, 'want more than nothing')
}

const checkEviction = (report: Report, config: KubeletConfiguration): void => {
  for (const field of ['evictionHard', 'evictionSoft', 'evictionSoftGracePeriod', 'evictionMinimumReclaim'] as const) {
    for (const signal of Object.keys(config[field])) {
      if (!signals.includes(signal)) report(`${field}[${signal}]`, undefined, `want one of ${signals.join(', ')}`)
    }
  }
  for (const field of ['evictionHard', 'evictionSoft'] as const) {
    for (const [signal, value] of Object.entries(config[field])) checkThreshold(report, `${field}[${signal}]`, value)
  }
  for (const signal of Object.keys(config.evictionSoft)) {
    if (!(signal in config.evictionSoftGracePeriod))
      report(`evictionSoftGracePeriod[${signal}]`, undefined, 'required with evictionSoft')
  }
}

const reservable = ['cpu', 'memory', 'ephemeral-storage', 'pid']
const enforcements = [
  'none',
  'pods',
  'system-reserved',
  'system-reserved-compressible',
  'kube-reserved',
  'kube-reserved-compressible',
]

const checkReserved = (report: Report, config: KubeletConfiguration): void => {
  for (const field of ['systemReserved', 'kubeReserved'] as const) {
    for (const [name, amount] of Object.entries(config[field])) {
      if (!reservable.includes(name)) report(`${field}[${name}]`, undefined, `want one of ${reservable.join(', ')}`)
      else if (parseQuantity(amount).nano < 0n) report(`${field}[${name}]`, amount, 'want an amount of at least 0')
    }
  }
  const levels = config.enforceNodeAllocatable
  for (const [index, level] of levels.entries()) {
    const at = `enforceNodeAllocatable[${index}]`
    if (!enforcements.includes(level)) report(at, level, `want one of ${enforcements.join(', ')}`)
    if (levels.indexOf(level) !== index) report(at, level, 'want it once')
    if (level === 'none' && levels.length > 1) report(at, level, 'want none alone')
    if (level.startsWith('system-reserved') && config.systemReservedCgroup === '')
      report('systemReservedCgroup', undefined, `required with enforceNodeAllocatable: ${level}`)
    if (level.startsWith('kube-reserved') && config.kubeReservedCgroup === '')
      report('kubeReservedCgroup', undefined, `required with enforceNodeAllocatable: ${level}`)
    if (level !== 'none' && !config.cgroupsPerQOS)
      report('cgroupsPerQOS', false, `want true with enforceNodeAllocatable: ${level}`)
    const compressible = `${level}-compressible`
    if (levels.includes(compressible)) report(at, level, `want only one of ${level}, ${compressible}`)
  }
  if (config.reservedSystemCPUs !== '') {
    if (config.systemReservedCgroup !== '' || config.kubeReservedCgroup !== '')
      report('reservedSystemCPUs', config.reservedSystemCPUs, 'not with systemReservedCgroup or kubeReservedCgroup')
    if (!/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(config.reservedSystemCPUs))
      report('reservedSystemCPUs', config.reservedSystemCPUs, 'want CPUs such as 0-1,4')
  }
}

const checkNetwork = (report: Report, config: KubeletConfiguration): void => {
  for (const field of ['address', 'healthzBindAddress'] as const) {
    if (!ipAddress.ok(config[field])) report(field, config[field], ipAddress.want)
  }
  for (const [index, server] of config.clusterDNS.entries())
    if (!ipAddress.ok(server)) report(`clusterDNS[${index}]`, server, ipAddress.want)
  if (config.podCIDR === '') return
  const ranges = config.podCIDR.split(',')
  if (ranges.length > 2 || !ranges.every(isCidr))
    report('podCIDR', config.podCIDR, 'want a range such as 10.244.0.0/24, or two of different families with a comma between')
}

const checkPaths = (report: Report, config: KubeletConfiguration): void => {
  if (
    !isAbsolute(config.podLogsDir) ||
    normalize(config.podLogsDir) !== config.podLogsDir ||
    config.podLogsDir.endsWith('/') ||
    /[^ -~]/.test(config.podLogsDir)
  ) {
    report('podLogsDir', config.podLogsDir, "want an absolute ASCII path without '..', '//' or a slash at its end")
  }
  for (const field of ['containerRuntimeEndpoint', 'imageServiceEndpoint'] as const) {
    const endpoint = config[field]
    if (endpoint !== '' && !/^(unix:\/\/)?\/./.test(endpoint))
      report(field, endpoint, 'want a unix socket such as unix:///run/containerd/containerd.sock')
  }
}

/** Reports everything that is wrong with a configuration that has its defaults. */
export const checkKubelet = (report: Report, config: KubeletConfiguration): void => {
  checkRanges(report, config)
  checkDurations(report, config)
  checkImages(report, config)
  checkEviction(report, config)
  checkReserved(report, config)
  checkNetwork(report, config)
  checkPaths(report, config)
  if (config.systemCgroups !== '' && config.cgroupRoot === '') report('systemCgroups', config.systemCgroups, 'needs cgroupRoot')
  if (config.cgroupRoot !== '' && !config.cgroupRoot.startsWith('/'))
    report('cgroupRoot', config.cgroupRoot, 'want an absolute name such as /node')
  if (config.runOnce) report('runOnce', true, 'no longer supported upstream: leave it out')
  if (config.memoryThrottlingFactor <= 0 || config.memoryThrottlingFactor > 1)
    report('memoryThrottlingFactor', config.memoryThrottlingFactor, 'want more than 0, at most 1')
  if (config.enableSystemLogQuery && !config.enableSystemLogHandler)
    report('enableSystemLogQuery', true, 'needs enableSystemLogHandler: true')
  const ids = config.userNamespaces.idsPerPod
  if (ids < 65_536 || ids % 65_536 !== 0 || ids > 2 ** 32 - 1)
    report('userNamespaces.idsPerPod', ids, 'want a multiple of 65536 below 4294967296')
}
