// The parts by which pods act on this machine, built from the configuration: runtime client, cgroups, volumes, images, logs.
// The daemon and `--cleanup` build them the same way, so that one takes away exactly what the other makes.
import { dirname, join } from 'node:path'
import type { Cri } from '../api/cri/cri.ts'
import type { ConfigMap, Secret } from '../api/types.ts'
import { createCgroups } from '../host/cgroup.ts'
import type { CgroupDriver } from '../host/cgroup-name.ts'
import type { Clock } from '../host/clock.ts'
import type { Exec } from '../host/exec.ts'
import type { Log } from '../host/log.ts'
import { type Machine, readMachine } from '../host/machine.ts'
import { createPodCgroups, type PodCgroups } from './cgroups.ts'
import type { AgentConfig } from './config/agent-config.ts'
import type { CredentialProvidersDeps } from './credential-providers.ts'
import { createImages, type Images } from './images.ts'
import { createPodLogs, type PodLogs } from './podlogs.ts'
import type { ResourceContext } from './resources.ts'
import { createSelf, resourceContext, type Self } from './self.ts'
import type { Lookup } from './sources/references.ts'
import type { TokenProvider } from './volumes/executors.ts'
import { type ClaimSource, createVolumes, type Volumes } from './volumes/volumes.ts'

export interface MachineryDeps {
  readonly config: AgentConfig
  readonly runtime: Cri
  readonly cgroupDriver: CgroupDriver
  readonly configMaps: Lookup<ConfigMap>
  readonly secrets: Lookup<Secret>
  /** Of service accounts; absent: there is no control plane to issue them. */
  readonly tokens?: TokenProvider
  /** Of persistent volumes; absent: there is no control plane to bind them. */
  readonly claims?: ClaimSource
  /** Tokens for credential providers, with the accounts themselves. */
  readonly accounts?: CredentialProvidersDeps['accounts']
  /** Labels that the Node has now; absent: those of the configuration are all there are. */
  readonly nodeLabels?: () => Readonly<Record<string, string>> | undefined
  /** The node's own, the preferred one first. */
  readonly addresses: readonly string[]
  readonly version: string
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Log
}

export interface Machinery {
  readonly machine: Machine
  readonly cgroups: PodCgroups
  readonly resources: ResourceContext
  readonly volumes: Volumes
  readonly images: Images
  readonly logs: PodLogs
  readonly containersDir: string
  readonly self: Self
}

/** Where log collectors look; beside podLogsDir where that is not the default, so that two nodes of one machine keep apart. */
export const containersDirOf = (podLogsDir: string): string =>
  podLogsDir === '/var/log/pods' ? '/var/log/containers' : join(dirname(podLogsDir), 'containers')

/** Of the images' registries; loaded only where the configuration names them. */
const credentialProvidersOf = async ({ config, accounts, exec, clock, log }: MachineryDeps) => {
  const { imageCredentialProviderConfig: file, imageCredentialProviderBinDir: binDir } = config
  if (file === undefined || binDir === undefined) return undefined
  const { createCredentialProviders, loadCredentialProviders } = await import('./credential-providers.ts')
  const providers = await loadCredentialProviders(file, binDir)
  return createCredentialProviders({
    ...{ providers, binDir, exec, clock, log: log.child({ part: 'images' }) },
    ...(accounts && { accounts }),
  })
}

export const createMachinery = async (deps: MachineryDeps): Promise<Machinery> => {
  const { config, runtime, configMaps, secrets, exec, clock, log } = deps
  const machine = await readMachine()
  const cgroup = await createCgroups({ driver: deps.cgroupDriver, exec, clock })
  const resources = resourceContext(machine, cgroup.version, config)
  const cgroups = createPodCgroups({
    cgroup,
    cgroupRoot: config.cgroupRoot,
    cgroupsPerQOS: config.cgroupsPerQOS,
    context: { ...resources, podPidsLimit: config.podPidsLimit },
    log: log.child({ part: 'cgroups' }),
  })
  const self = await createSelf({
    name: config.nodeName,
    machine,
    rootDir: config.rootDir,
    settings: config,
    allowedUnsafeSysctls: config.allowedUnsafeSysctls,
    labels: config.nodeLabels,
    ...(deps.nodeLabels && { nodeLabels: deps.nodeLabels }),
    addresses: () => deps.addresses,
    version: deps.version,
    clock,
  })
  const volumes = createVolumes({
    rootDir: config.rootDir,
    exec,
    clock,
    log: log.child({ part: 'volumes' }),
    configMaps,
    secrets,
    ...(deps.tokens && { tokens: deps.tokens }),
    ...(deps.claims && { claims: deps.claims }),
    node: () => ({ name: config.nodeName, labels: deps.nodeLabels?.() ?? self.labels }),
    allocatable: () => self.allocatable,
    clusterDomain: config.clusterDomain,
  })
  const providers = await credentialProvidersOf(deps)
  const images = createImages({
    ...(providers && { providers }),
    cri: runtime,
    clock,
    log: log.child({ part: 'images' }),
    secrets,
    serialize: config.serializeImagePulls,
    ...(config.maxParallelImagePulls !== undefined && { maxParallel: config.maxParallelImagePulls }),
    qps: config.registryPullQPS,
    burst: config.registryBurst,
  })
  const containersDir = containersDirOf(config.podLogsDir)
  const logs = createPodLogs({ podLogsDir: config.podLogsDir, containersDir })
  return { machine, cgroups, resources, volumes, images, logs, containersDir, self }
}
