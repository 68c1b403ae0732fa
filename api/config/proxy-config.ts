// `nodelet proxy` and `--proxy-config`: kube-proxy's flags and file to one configuration. Files are read through `readText`.
import { isErrno } from '../../host/errno.ts'
import { isFault } from '../../host/fault.ts'
import { badConfig, type Fields, parseConfigFile } from './document.ts'
import { readFlags } from './flags.ts'
import {
  checkKubeProxy,
  chooseMode,
  type KubeProxyConfiguration,
  kubeProxySchema,
  type ProxyMode,
  withKubeProxyDefaults,
} from './kube-proxy.ts'
import { proxyEffectWarnings } from './kube-proxy-effects.ts'
import { kubeProxyFlags } from './kube-proxy-flags.ts'
import { type Layer, readLayers } from './read.ts'

export type ReadText = (file: string) => Promise<string>

export interface ProxyConfig extends Omit<KubeProxyConfiguration, 'mode'> {
  /** What runs; `warnings` tell when it is not what was asked for. */
  readonly mode: ProxyMode
  readonly verbosity: number
}

export interface LoadedProxyConfig {
  readonly config: ProxyConfig
  /** Takes the kernel's rules away instead of running. */
  readonly cleanup: boolean
  /** Makes the settings that need a privileged process instead of running. */
  readonly initOnly: boolean
  /** Where the configuration is to be written instead of running. */
  readonly writeConfigTo?: string
  /** The configuration's file: a change of it ends the program, which is then started with the new one. */
  readonly file?: string
  /** The apiserver's address, over the kubeconfig's. */
  readonly master?: string
  /** Where `nodelet trace` and `nodelet diff` ask; '' for nowhere. */
  readonly socket: string
  readonly warnings: readonly string[]
}

/** @throws Fault `bad-config` naming the flag and the file when it cannot be read */
export const readConfigText = async (readText: ReadText, file: string, flag: string): Promise<string> => {
  try {
    return await readText(file)
  } catch (error) {
    if (isFault(error)) throw error
    throw badConfig([`${flag}: ${file}: ${isErrno(error, 'ENOENT') ? 'no such file' : String((error as Error).message)}`])
  }
}

/** Reads a KubeProxyConfiguration from its layers. @param inDaemon where no process of its own obeys it */
export const readProxyLayers = (
  layers: readonly Layer[],
  { inDaemon = false }: { readonly inDaemon?: boolean } = {},
): { readonly config: ProxyConfig; readonly warnings: readonly string[] } => {
  const recipe = {
    schema: kubeProxySchema,
    complete: withKubeProxyDefaults,
    rules: checkKubeProxy,
    name: 'KubeProxyConfiguration',
  }
  const { whole, given } = readLayers(layers, recipe)
  const { mode, warnings } = chooseMode(whole.mode)
  return {
    config: { ...whole, mode, verbosity: whole.logging.verbosity },
    warnings: [...warnings, ...proxyEffectWarnings(given, mode, inDaemon)],
  }
}

/** The fields of a KubeProxyConfiguration file. */
export const readProxyFile = async (file: string, flag: string, readText: ReadText): Promise<Layer> => {
  const text = await readConfigText(readText, file, flag)
  return { fields: parseConfigFile(file, text, 'kubeproxy.config.k8s.io/v1alpha1', 'KubeProxyConfiguration'), origin: file }
}

// With a file, kube-proxy looks at no flag but these.
const overFile = ['hostnameOverride', 'logging']

/** Flags of one mode's name that speak of whichever mode runs. */
const ofEveryMode = ({ iptables, ipvs, nftables, ...others }: Fields): Fields => {
  const { syncPeriod, minSyncPeriod } = (iptables ?? {}) as Fields
  const { masqueradeAll } = (nftables ?? {}) as Fields
  const periods = { ...(syncPeriod !== undefined && { syncPeriod }), ...(minSyncPeriod !== undefined && { minSyncPeriod }) }
  const masquerade = masqueradeAll !== undefined && { masqueradeAll }
  const modes = { iptables: { ...(iptables as Fields), ...masquerade }, nftables: { ...periods, ...masquerade }, ipvs }
  return { ...others, ...Object.fromEntries(Object.entries(modes).filter(([, it]) => Object.keys(it ?? {}).length > 0)) }
}

type Ports = Readonly<Record<'healthz' | 'metrics', number | undefined>>

/** What flags say of a server's address: an empty one, and a port of 0, mean that there is no such server. */
const ofServers = (config: ProxyConfig, fields: Fields, ports: Ports): ProxyConfig => {
  const address = (server: keyof Ports): string => {
    const field = `${server}BindAddress` as const
    return fields[field] === '' || ports[server] === 0 ? '' : config[field]
  }
  return { ...config, healthzBindAddress: address('healthz'), metricsBindAddress: address('metrics') }
}

interface ProxyOptions {
  readonly config?: string
  readonly cleanup?: boolean
  readonly 'init-only'?: boolean
  readonly 'write-config-to'?: string
  readonly 'healthz-port'?: number
  readonly 'metrics-port'?: number
  readonly master?: string
  readonly socket?: string
}

// Not the daemon's: both may run on one node, and either may be the first.
const defaultSocket = '/run/nodelet/proxy.sock'

/**
 * The configuration of `nodelet proxy`.
 * @throws Fault `bad-config`, one line that names the flag, or file and field, and what would be right
 */
export const loadProxyConfig = async (argv: readonly string[], readText: ReadText): Promise<LoadedProxyConfig> => {
  const flags = readFlags(argv, kubeProxyFlags)
  const options = flags.options as ProxyOptions
  const { config: file, master, 'write-config-to': writeConfigTo } = options
  const fields: Fields =
    file === undefined
      ? ofEveryMode(flags.fields)
      : Object.fromEntries(Object.entries(flags.fields).filter(([name]) => overFile.includes(name)))
  const unused = file === undefined ? [] : Object.keys(flags.fields).filter(name => !(name in fields))
  const layers = [
    ...(file === undefined ? [] : [await readProxyFile(file, '--config', readText)]),
    { fields, origin: flags.origins },
  ]
  const { config, warnings } = readProxyLayers(layers)
  const ports = { healthz: options['healthz-port'], metrics: options['metrics-port'] }
  const oldPorts = Object.entries(ports).filter(([, port]) => port !== undefined && port !== 0)
  return {
    config: file === undefined ? ofServers(config, fields, ports) : config,
    cleanup: options.cleanup ?? false,
    initOnly: options['init-only'] ?? false,
    ...(writeConfigTo !== undefined && { writeConfigTo }),
    ...(file !== undefined && { file }),
    ...(master !== undefined && { master }),
    socket: options.socket ?? defaultSocket,
    warnings: [
      ...flags.warnings,
      ...oldPorts.map(([server]) => `--${server}-port: only 0 means something; a port is given by --${server}-bind-address`),
      ...(unused.length > 0 ? [`with --config these are taken from the file, not from flags: ${unused.join(', ')}`] : []),
      ...warnings,
    ],
  }
}
