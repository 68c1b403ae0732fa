// Which fields of a KubeProxyConfiguration do nothing here, and why, so that the log can say so for each that is given. Pure.
// Every other field is obeyed; kube-proxy itself passes over those of Windows on Linux, too.
import type { Fields } from './document.ts'
import type { ProxyMode } from './kube-proxy.ts'

const json = 'objects travel as JSON'
const fewRequests = 'the proxy watches, and asks the apiserver for nothing else that could be too much'
const oneLog = 'the log has one verbosity and is not buffered'
const windows = 'it is for Windows'

/** Fields that do nothing, by their paths, with the reason. */
export const idleFields: Readonly<Record<string, string>> = {
  'clientConnection.acceptContentTypes': json,
  'clientConnection.contentType': json,
  'clientConnection.qps': fewRequests,
  'clientConnection.burst': fewRequests,
  'logging.flushFrequency': oneLog,
  'logging.vmodule': oneLog,
  'logging.options': oneLog,
  featureGates: 'there are no gates: what is there is on',
  enableProfiling: 'there is nothing to profile in the ways of Go',
  showHiddenMetricsForVersion: 'no metric is hidden',
  configSyncPeriod: 'watches go on where they ended, and nothing is listed again by time',
  portRange: 'no mode of today opens ports for Services',
  winkernel: windows,
  windowsRunAsService: windows,
}

const itsOwn = 'the daemon has its own'

/** In the daemon, what a kube-proxy's process would obey. */
export const idleInDaemon: Readonly<Record<string, string>> = {
  'clientConnection.kubeconfig': `${itsOwn} credentials`,
  hostnameOverride: `${itsOwn} name of the node`,
  oomScoreAdj: itsOwn,
  bindAddressHardFail: 'pods are not given up for it: the address is tried again every 5s',
  'logging.format': `${itsOwn} log`,
  'logging.verbosity': `${itsOwn} log`,
}

const isNothing = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === '' ||
  value === false ||
  value === 0 ||
  value === '0' ||
  value === '0s' ||
  (typeof value === 'object' && Object.values(value).every(isNothing))

const at = (given: Fields, path: string): unknown =>
  path.split('.').reduce<unknown>((inside, name) => (inside as Fields | null | undefined)?.[name], given)

/**
 * A line for each field that is given and does nothing; empty ones are nothing that anybody would miss.
 * @param inDaemon the proxy is a part of the daemon, and no process of its own
 */
export const proxyEffectWarnings = (given: Fields, mode: ProxyMode, inDaemon: boolean): readonly string[] => {
  const all = {
    ...idleFields,
    ...(inDaemon && idleInDaemon),
    [`${mode}.minSyncPeriod`]: 'a change costs only itself, and is written at once',
  }
  return Object.entries(all)
    .filter(([path]) => !isNothing(at(given, path)))
    .map(([path, why]) => `${path} has no effect: ${why}`)
}
