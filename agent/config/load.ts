// The daemon's configuration from its command line and the files that it names. Files and the host's name come in as functions.
// Follows the kubelet: defaults, then --config, then *.conf of --config-dir in order of name, then flags; each over the ones before.
import { dirname, resolve } from 'node:path'
import { badConfig, type Fields, parseConfigFile } from '../../api/config/document.ts'
import { type ReadFlags, readFlags } from '../../api/config/flags.ts'
import { type ProxyConfig, type ReadText, readConfigText, readProxyFile, readProxyLayers } from '../../api/config/proxy-config.ts'
import { type Layer, readLayers } from '../../api/config/read.ts'
import { toBytes } from '../../api/quantity.ts'
import { dnsSubdomain, ipAddress, labelValue, qualifiedName } from '../../api/validate/names.ts'
import { onePerFamily } from '../../host/address.ts'
import type { AgentConfig, LoadedAgentConfig } from './agent-config.ts'
import { effectWarnings } from './effects.ts'
import { type KubeletConfiguration, withKubeletDefaults } from './kubelet-defaults.ts'
import { kubeletFlags } from './kubelet-flags.ts'
import { checkKubelet } from './kubelet-rules.ts'
import { kubeletSchema } from './kubelet-schema.ts'
import { checkNodelet, type NodeletConfiguration, nodeletSchema, withNodeletDefaults } from './nodelet.ts'

export interface ConfigDeps {
  readonly readText: ReadText
  /** The paths of all files below a directory. */
  readonly filesBelow: (directory: string) => Promise<readonly string[]>
  readonly hostname: () => string
}

/** Values of the flags that set no field; the table in kubelet-flags.ts gives each its type. */
interface Options {
  readonly config?: string
  readonly 'config-dir'?: string
  readonly kubeconfig?: string
  readonly 'bootstrap-kubeconfig'?: string
  readonly 'hostname-override'?: string
  readonly 'node-ip'?: string
  readonly 'cert-dir'?: string
  readonly 'root-dir'?: string
  readonly 'cloud-provider'?: string
  readonly 'node-labels'?: Readonly<Record<string, string>>
  readonly 'image-credential-provider-config'?: string
  readonly 'image-credential-provider-bin-dir'?: string
  readonly 'maximum-dead-containers-per-container'?: number
  readonly 'nodelet-config'?: string
  readonly 'proxy-config'?: string
  readonly cleanup?: boolean
}

const kubeletVersion = 'kubelet.config.k8s.io/v1beta1'

// Paths in a file count from the file's own folder, as the kubelet reads them; those in flags from the current one.
const pathFields = ['staticPodPath', 'tlsCertFile', 'tlsPrivateKeyFile', 'resolvConf', 'volumePluginDir', 'podLogsDir']

const resolvePaths = (fields: Fields, from: string): Fields =>
  Object.fromEntries(
    Object.entries(fields).map(([field, value]) => {
      const isRelative = pathFields.includes(field) && typeof value === 'string' && value !== '' && !value.startsWith('/')
      return [field, isRelative ? resolve(from, value) : value]
    }),
  )

const readKubeletFile = async (file: string, flag: string, { readText }: ConfigDeps): Promise<Layer> => {
  const fields = parseConfigFile(file, await readConfigText(readText, file, flag), kubeletVersion, 'KubeletConfiguration')
  return { fields: resolvePaths(fields, dirname(resolve(file))), origin: file }
}

const readDropIns = async (directory: string, deps: ConfigDeps): Promise<readonly Layer[]> => {
  const files = await deps.filesBelow(directory).catch(error => {
    throw badConfig([`--config-dir: ${directory}: ${(error as Error).message}`])
  })
  const inOrder = files.filter(file => file.endsWith('.conf')).toSorted()
  return Promise.all(inOrder.map(file => readKubeletFile(file, '--config-dir', deps)))
}

const readKubelet = async (
  flags: ReadFlags,
  deps: ConfigDeps,
): Promise<{ readonly given: Fields; readonly whole: KubeletConfiguration }> => {
  const { config, 'config-dir': dropIns } = flags.options as Options
  const layers: Layer[] = []
  if (config) layers.push(await readKubeletFile(config, '--config', deps))
  if (dropIns) layers.push(...(await readDropIns(dropIns, deps)))
  layers.push({ fields: resolvePaths(flags.fields, '.'), origin: flags.origins, replaces: flags.replaces })
  return readLayers(layers, {
    schema: kubeletSchema,
    complete: withKubeletDefaults,
    rules: checkKubelet,
    name: 'KubeletConfiguration',
  })
}

/**
 * Reads a NodeletConfiguration file; without one its defaults.
 * @throws Fault `bad-config`
 */
export const readNodeletConfig = async (file: string | undefined, readText: ReadText): Promise<NodeletConfiguration> => {
  const layers: Layer[] = []
  if (file !== undefined) {
    const text = await readConfigText(readText, file, '--nodelet-config')
    layers.push({ fields: parseConfigFile(file, text, 'nodelet.dev/v1alpha1', 'NodeletConfiguration'), origin: file })
  }
  return readLayers(layers, {
    schema: nodeletSchema,
    complete: withNodeletDefaults,
    rules: (report, _, raw) => checkNodelet(report, raw),
    name: 'NodeletConfiguration',
  }).whole
}

const readProxy = async (
  file: string | undefined,
  deps: ConfigDeps,
): Promise<{ readonly config: ProxyConfig; readonly warnings: readonly string[] }> => {
  if (file !== undefined) return readProxyLayers([await readProxyFile(file, '--proxy-config', deps.readText)], { inDaemon: true })
  // nobody asked for a mode, so there is nothing to say about the one that runs
  return { config: readProxyLayers([]).config, warnings: [] }
}

const nodeNameOf = (override: string | undefined, hostname: string): string => {
  const name = (override || hostname).trim().toLowerCase()
  if (dnsSubdomain.ok(name)) return name
  const from = override ? '--hostname-override' : "the host's name"
  throw badConfig([`${from}: ${JSON.stringify(name)}: ${dnsSubdomain.want}${override ? '' : '; or give --hostname-override'}`])
}

const nodeIPsOf = (text: string | undefined): readonly string[] => {
  const addresses = (text ?? '')
    .split(',')
    .map(address => address.trim())
    .filter(address => address !== '')
  if (!addresses.every(ipAddress.ok) || !onePerFamily(addresses)) {
    throw badConfig([`--node-ip: ${JSON.stringify(text)}: want an address, or one of each family with a comma between`])
  }
  return addresses
}

const ownLabels = [
  'kubernetes.io/hostname',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region',
  'node.kubernetes.io/instance-type',
  'beta.kubernetes.io/instance-type',
  'kubernetes.io/os',
  'kubernetes.io/arch',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/arch',
]

// An apiserver lets a node set only these of the labels that belong to Kubernetes itself (NodeRestriction).
const isForbidden = (key: string): boolean => {
  const domain = key.includes('/') ? key.slice(0, key.indexOf('/')) : ''
  if (!/(^|\.)(kubernetes|k8s)\.io$/.test(domain)) return false
  return !ownLabels.includes(key) && !/(^|\.)(kubelet|node)\.kubernetes\.io$/.test(domain)
}

const nodeLabelsOf = (labels: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> => {
  for (const [key, value] of Object.entries(labels)) {
    if (!qualifiedName.ok(key)) throw badConfig([`--node-labels: ${JSON.stringify(key)}: ${qualifiedName.want}`])
    if (!labelValue.ok(value)) throw badConfig([`--node-labels: ${key}=${value}: ${labelValue.want}`])
    if (isForbidden(key))
      throw badConfig([
        `--node-labels: ${key}: a node may not set this label: want one of its own, such as node.kubernetes.io/… or example.com/…`,
      ])
  }
  return labels
}

const socketOf = (endpoint: string): string => endpoint.replace(/^unix:\/\//, '')

const placesOf = (options: Options, kubelet: KubeletConfiguration) => ({
  ...(options.kubeconfig && { kubeconfig: options.kubeconfig }),
  ...(options['bootstrap-kubeconfig'] && { bootstrapKubeconfig: options['bootstrap-kubeconfig'] }),
  certDir: options['cert-dir'] ?? '/var/lib/kubelet/pki',
  rootDir: resolve(options['root-dir'] || '/var/lib/kubelet'),
  podLogsDir: kubelet.podLogsDir,
  ...(kubelet.staticPodPath && { staticPodPath: kubelet.staticPodPath }),
  fileCheckFrequency: kubelet.fileCheckFrequency,
  runtimeSocket: socketOf(kubelet.containerRuntimeEndpoint),
  imageSocket: socketOf(kubelet.imageServiceEndpoint || kubelet.containerRuntimeEndpoint),
  runtimeRequestTimeout: kubelet.runtimeRequestTimeout,
})

const nodeOf = (options: Options, kubelet: KubeletConfiguration, hostname: string) => ({
  nodeName: nodeNameOf(options['hostname-override'], hostname),
  nodeIPs: nodeIPsOf(options['node-ip']),
  nodeLabels: nodeLabelsOf(options['node-labels']),
  registerNode: kubelet.registerNode,
  registerWithTaints: kubelet.registerWithTaints,
  providerID: kubelet.providerID,
  cloudProvider: options['cloud-provider'] ?? '',
  maxPods: kubelet.maxPods,
  podsPerCore: kubelet.podsPerCore,
  podPidsLimit: kubelet.podPidsLimit,
  podCIDRs: kubelet.podCIDR === '' ? [] : kubelet.podCIDR.split(','),
  hairpinMode: kubelet.hairpinMode,
  clusterDomain: kubelet.clusterDomain || (options.kubeconfig ? '' : 'cluster.local'),
  clusterDNS: kubelet.clusterDNS,
  resolvConf: kubelet.resolvConf,
  shutdownGracePeriod: kubelet.shutdownGracePeriod,
  shutdownGracePeriodCriticalPods: kubelet.shutdownGracePeriodCriticalPods,
  shutdownGracePeriodByPodPriority: kubelet.shutdownGracePeriodByPodPriority,
})

const resourcesOf = (kubelet: KubeletConfiguration, given: Fields) => ({
  cgroupRoot: kubelet.cgroupRoot || '/',
  cgroupDriver: kubelet.cgroupDriver,
  cgroupDriverGiven: Boolean(given['cgroupDriver']),
  cgroupsPerQOS: kubelet.cgroupsPerQOS,
  cpuCFSQuota: kubelet.cpuCFSQuota,
  cpuCFSQuotaPeriod: kubelet.cpuCFSQuotaPeriod,
  failCgroupV1: kubelet.failCgroupV1,
  failSwapOn: kubelet.failSwapOn,
  memorySwapBehavior: kubelet.memorySwap.swapBehavior,
  systemReserved: kubelet.systemReserved,
  kubeReserved: kubelet.kubeReserved,
  enforceNodeAllocatable: kubelet.enforceNodeAllocatable,
  evictionHard: kubelet.evictionHard,
})

const containersOf = (options: Options, kubelet: KubeletConfiguration) => ({
  registryPullQPS: kubelet.registryPullQPS,
  registryBurst: kubelet.registryBurst,
  serializeImagePulls: kubelet.serializeImagePulls,
  ...(kubelet.maxParallelImagePulls !== undefined && { maxParallelImagePulls: kubelet.maxParallelImagePulls }),
  imageGCHighThresholdPercent: kubelet.imageGCHighThresholdPercent,
  imageGCLowThresholdPercent: kubelet.imageGCLowThresholdPercent,
  imageMinimumGCAge: kubelet.imageMinimumGCAge,
  imageMaximumGCAge: kubelet.imageMaximumGCAge,
  ...(options['image-credential-provider-config'] && {
    imageCredentialProviderConfig: options['image-credential-provider-config'],
  }),
  ...(options['image-credential-provider-bin-dir'] && {
    imageCredentialProviderBinDir: options['image-credential-provider-bin-dir'],
  }),
  containerLogMaxBytes: toBytes(kubelet.containerLogMaxSize),
  containerLogMaxFiles: kubelet.containerLogMaxFiles,
  containerLogMonitorInterval: kubelet.containerLogMonitorInterval,
  maxContainerRestartPeriod: kubelet.crashLoopBackOff.maxContainerRestartPeriod,
  maxDeadContainersPerContainer: options['maximum-dead-containers-per-container'] ?? 1,
  seccompDefault: kubelet.seccompDefault,
  allowedUnsafeSysctls: kubelet.allowedUnsafeSysctls,
})

const advice = ({ kubeconfig, staticPodPath, cleanup }: AgentConfig): readonly string[] =>
  kubeconfig === undefined && staticPodPath === undefined && !cleanup
    ? ['neither --kubeconfig nor staticPodPath (--pod-manifest-path) is given: there is nothing to run']
    : []

/**
 * The daemon's configuration.
 * @param argv what follows `nodelet agent`
 * @throws Fault `bad-config`: one line that names the flag, or file and field, what is there, and what would be right
 */
export const loadAgentConfig = async (argv: readonly string[], deps: ConfigDeps): Promise<LoadedAgentConfig> => {
  const flags = readFlags(argv, kubeletFlags)
  const options = flags.options as Options
  const { given, whole: kubelet } = await readKubelet(flags, deps)
  const nodelet = await readNodeletConfig(options['nodelet-config'], deps.readText)
  const proxy = await readProxy(options['proxy-config'], deps)
  const config: AgentConfig = {
    ...nodeOf(options, kubelet, deps.hostname()),
    ...placesOf(options, kubelet),
    ...resourcesOf(kubelet, given),
    ...containersOf(options, kubelet),
    ...nodelet,
    proxy: { ...nodelet.proxy, config: proxy.config, isGiven: options['proxy-config'] !== undefined },
    verbosity: kubelet.logging.verbosity,
    cleanup: options.cleanup ?? false,
    kubelet,
  }
  return { config, warnings: [...flags.warnings, ...proxy.warnings, ...effectWarnings(given), ...advice(config)] }
}
