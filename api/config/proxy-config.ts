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
  /** Where this program's own settings are, when given. */
  readonly nodeletConfig?: string
  /** The apiserver's address, over the kubeconfig's. */
  readonly master?: string
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

// The modes that there are; a mode joins when its backend lands.
const available: readonly ProxyMode[] = ['nftables']

/** Reads a KubeProxyConfiguration from its layers. */
export const readProxyLayers = (
  layers: readonly Layer[],
): { readonly config: ProxyConfig; readonly warnings: readonly string[] } => {
  const recipe = {
    schema: kubeProxySchema,
    complete: withKubeProxyDefaults,
    rules: checkKubeProxy,
    name: 'KubeProxyConfiguration',
  }
  const { whole } = readLayers(layers, recipe)
  const { mode, warnings } = chooseMode(whole.mode, available)
  return { config: { ...whole, mode, verbosity: whole.logging.verbosity }, warnings }
}

/** The fields of a KubeProxyConfiguration file. */
export const readProxyFile = async (file: string, flag: string, readText: ReadText): Promise<Layer> => {
  const text = await readConfigText(readText, file, flag)
  return { fields: parseConfigFile(file, text, 'kubeproxy.config.k8s.io/v1alpha1', 'KubeProxyConfiguration'), origin: file }
}

// With a file, kube-proxy looks at no flag but these.
const overFile = ['hostnameOverride', 'logging']

/**
 * The configuration of `nodelet proxy`.
 * @throws Fault `bad-config`, one line that names the flag, or file and field, and what would be right
 */
export const loadProxyConfig = async (argv: readonly string[], readText: ReadText): Promise<LoadedProxyConfig> => {
  const flags = readFlags(argv, kubeProxyFlags)
  const {
    config: file,
    cleanup = false,
    master,
    'nodelet-config': nodeletConfig,
  } = flags.options as Record<string, string | undefined> & { cleanup?: boolean }
  const fields: Fields =
    file === undefined
      ? flags.fields
      : Object.fromEntries(Object.entries(flags.fields).filter(([name]) => overFile.includes(name)))
  const unused = Object.keys(flags.fields).filter(name => !(name in fields))
  const layers = [
    ...(file === undefined ? [] : [await readProxyFile(file, '--config', readText)]),
    { fields, origin: flags.origins },
  ]
  const { config, warnings } = readProxyLayers(layers)
  return {
    config,
    cleanup,
    ...(nodeletConfig !== undefined && { nodeletConfig }),
    ...(master !== undefined && { master }),
    warnings: [
      ...flags.warnings,
      ...(unused.length > 0 ? [`with --config these are taken from the file, not from flags: ${unused.join(', ')}`] : []),
      ...warnings,
    ],
  }
}
