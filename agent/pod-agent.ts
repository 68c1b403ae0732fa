// The pods' half for a given configuration: what main.ts would otherwise spell out. Decides nothing but what goes where.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cri } from '../api/cri/cri.ts'
import { fullName } from '../api/pod.ts'
import type { Source, Store } from '../api/source.ts'
import type { Pod, Service } from '../api/types.ts'
import type { Clock } from '../host/clock.ts'
import type { Log } from '../host/log.ts'
import type { StateFile } from '../host/state-file.ts'
import type { SavedResult } from '../probes/table.ts'
import { type Agent, createAgent } from './agent.ts'
import type { AgentConfig } from './config/agent-config.ts'
import type { Machinery } from './machinery.ts'
import { createParts } from './parts.ts'
import type { ManifestSources } from './sources/manifests.ts'
import { clusterDnsAddresses } from './standalone/dns/dns.ts'
import type { Timeline } from './timeline.ts'

/** The addresses that answer for names: those of the configuration, else the tenth of each service range. */
export const clusterDnsOf = (config: AgentConfig): readonly string[] =>
  config.clusterDNS.length > 0 ? config.clusterDNS : clusterDnsAddresses(config.standalone.serviceCIDRs)

export interface PodsParts {
  readonly config: AgentConfig
  readonly manifests: ManifestSources
  readonly runtime: Cri
  readonly machinery: Machinery
  readonly live: Store<Pod>
  readonly timeline: Timeline
  readonly startedAt: number
  readonly probeMemory: StateFile<readonly SavedResult[]>
  readonly services: Source<Service>
  readonly clock: Clock
  readonly log: Log
}

/** What becomes of a pod is an event: a line of the log until there is an apiserver to tell. */
export const createPods = ({
  config,
  manifests,
  runtime,
  machinery,
  live,
  timeline,
  startedAt,
  probeMemory,
  services,
  clock,
  log,
}: PodsParts): Agent => {
  const { self, volumes, resources, images, cgroups, logs, machine } = machinery
  const { configMaps, secrets } = manifests
  const onEvent = (pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string) => {
    const fields = { pod: fullName(pod), reason }
    if (type === 'Warning') log.warn(fields, message)
    else log.info(fields, message)
  }
  const parts = createParts({
    ...{ configMaps, secrets, services, volumes, resources, nodeIPs: self.addresses },
    podLogsDir: config.podLogsDir,
    clusterDomain: config.clusterDomain,
    clusterDNS: clusterDnsOf(config),
    nodeResolv: () => (config.resolvConf === '' ? undefined : readFileSync(config.resolvConf, 'utf8')),
    allocatable: () => self.allocatable,
    security: {
      seccompRoot: join(config.rootDir, 'seccomp'),
      seccompDefault: config.seccompDefault,
      maskedPaths: machine.thermalPaths,
    },
    warn: (pod, reason, message) => onEvent(pod, 'Warning', reason, message),
  })
  return createAgent({
    ...{
      wanted: manifests.pods,
      live,
      configMaps,
      secrets,
      runtime,
      parts,
      images,
      volumes,
      cgroups,
      logs,
      timeline,
      clock,
      log,
      onEvent,
    },
    admit: self.admit,
    nodeIPs: self.addresses,
    limits: { longestPauseMs: config.maxContainerRestartPeriod, keepDead: config.maxDeadContainersPerContainer },
    startedAt,
    probeMemory,
  })
}
