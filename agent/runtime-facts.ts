// What the container runtime says of itself: version, health, and of containerd's own configuration the folders of the pod network.
// The only place that reads the JSON which containerd puts into the verbose status.
import type { Cri } from '../api/cri/cri.ts'
import type { StatusResponse } from '../api/cri/types.ts'
import type { CgroupDriver } from '../host/cgroup-name.ts'
import { describe, except } from '../host/fault.ts'
import type { RuntimeFacts } from './self.ts'

/** Where the runtime looks for network plugins and their configuration. */
export interface CniFolders {
  readonly binDir: string
  readonly confDir: string
}

/** containerd's and CRI-O's own defaults. */
const defaultFolders: CniFolders = { binDir: '/opt/cni/bin', confDir: '/etc/cni/net.d' }

/** The runtime's health in the kubelet's words; a runtime that does not answer is a trouble, not an error. */
export const readRuntimeFacts = async (runtime: Pick<Cri, 'version' | 'status'>): Promise<RuntimeFacts> => {
  try {
    const [{ runtimeName, runtimeVersion }, status] = await Promise.all([
      runtime.version({ timeoutMs: 2000 }),
      runtime.status(false, { timeoutMs: 2000 }),
    ])
    return { version: `${runtimeName}://${runtimeVersion}`, ...toRuntimeFacts(status) }
  } catch (error) {
    return { version: '', troubles: [`container runtime is down: ${describe(error)}`] }
  }
}

const required = [
  ['RuntimeReady', 'container runtime not ready'],
  ['NetworkReady', 'container runtime network not ready'],
] as const

/** Of the answer to Status: what is not ready, and what the runtime can do; handlers by name, so that two answers compare equal. */
export const toRuntimeFacts = ({ status, runtimeHandlers, features }: StatusResponse): Omit<RuntimeFacts, 'version'> => {
  const handlers = runtimeHandlers
    .map(it => ({ name: it.name, ...(it.features && { features: it.features }) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  return {
    troubles: required.flatMap(([type, words]) => {
      const condition = status?.conditions.find(it => it.type === type)
      if (condition?.status === true) return []
      if (condition === undefined) return [`${words}: the runtime does not say ${type}`]
      return [`${words}: ${type}=false reason:${condition.reason} message:${condition.message}`]
    }),
    ...(handlers.length > 0 && { handlers }),
    ...(features && { features: { supplementalGroupsPolicy: features.supplementalGroupsPolicy } }),
  }
}

/**
 * The cgroup driver that the runtime uses, which must be ours too: asked by RuntimeConfig, read from containerd's own configuration
 * where the runtime has no such call (1.x).
 * @throws Fault when the runtime is away
 */
export const readCgroupDriver = async (runtime: Pick<Cri, 'status' | 'runtimeConfig'>): Promise<CgroupDriver> => {
  const told = await except(runtime.runtimeConfig({ timeoutMs: 2000 }), 'unsupported')
  if (told?.linux) return told.linux.cgroupDriver === 'SYSTEMD' ? 'systemd' : 'cgroupfs'
  const { info } = await runtime.status(true, { timeoutMs: 2000 })
  return toCgroupDriver(info['config'])
}

/** Reads SystemdCgroup of the default runtime from the `config` entry of a verbose status. */
export const toCgroupDriver = (config: string | undefined): CgroupDriver => {
  interface Shown {
    containerd?: { defaultRuntimeName?: string; runtimes?: Record<string, { options?: { SystemdCgroup?: boolean } }> }
  }
  const { containerd = {} } = parseConfig<Shown>(config)
  const runtime = containerd.runtimes?.[containerd.defaultRuntimeName ?? 'runc']
  return runtime?.options?.SystemdCgroup === true ? 'systemd' : 'cgroupfs'
}

const parseConfig = <T extends object>(config: string | undefined): Partial<T> => {
  try {
    return JSON.parse(config ?? '{}') as Partial<T>
  } catch {
    return {}
  }
}

/** The folders in containerd's configuration; its defaults where it does not say. @throws Fault when the runtime is away */
export const readCniFolders = async (runtime: Pick<Cri, 'status'>): Promise<CniFolders> => {
  const { info } = await runtime.status(true, { timeoutMs: 2000 })
  return toCniFolders(info['config'])
}

/** Reads the `config` entry of a verbose status: containerd 1.x has one binDir, 2.x a list. */
export const toCniFolders = (config: string | undefined): CniFolders => {
  const { cni = {} } = parseConfig<{ cni: { binDir?: string; binDirs?: string[]; confDir?: string } }>(config)
  return { binDir: cni.binDirs?.[0] ?? (cni.binDir || defaultFolders.binDir), confDir: cni.confDir || defaultFolders.confDir }
}
