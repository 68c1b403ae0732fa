// The pods' half for a given configuration: what main.ts would otherwise spell out. Decides nothing but what goes where.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cri } from '../api/cri/cri.ts'
import { fullName } from '../api/pod.ts'
import type { Service } from '../api/service-types.ts'
import type { Source, Store } from '../api/source.ts'
import type { ConfigMap, Pod, Secret } from '../api/types.ts'
import type { Clock } from '../host/clock.ts'
import type { Log } from '../host/log.ts'
import type { StateFile } from '../host/state-file.ts'
import type { ProbeReport, SavedResult } from '../probes/table.ts'
import { type Agent, createAgent } from './agent.ts'
import type { AgentConfig } from './config/agent-config.ts'
import type { Machinery } from './machinery.ts'
import { createParts } from './parts.ts'
import type { OnPodEvent } from './pod-event.ts'
import type { WantedPods } from './pods.ts'
import { podReference } from './report/event-object.ts'
import type { EventRecorder } from './report/events.ts'
import { containerResources } from './resources.ts'
import type { Lookup } from './sources/references.ts'
import { clusterDnsAddresses } from './standalone/dns/dns.ts'
import type { Timeline } from './timeline.ts'

/** The addresses that answer for names: those of the configuration, else the tenth of each service range. */
export const clusterDnsOf = (config: AgentConfig): readonly string[] =>
  config.clusterDNS.length > 0 ? config.clusterDNS : clusterDnsAddresses(config.standalone.serviceCIDRs)

export interface PodsParts {
  readonly config: AgentConfig
  readonly wanted: WantedPods
  readonly configMaps: Lookup<ConfigMap> & Source<ConfigMap>
  readonly secrets: Lookup<Secret> & Source<Secret>
  /** What pods are told to ask for names. */
  readonly clusterDNS: readonly string[]
  /** For metrics. */
  readonly onProbed?: (report: ProbeReport) => void
  /** Absent: there is no control plane. */
  readonly cluster?: {
    readonly recorder: Pick<EventRecorder, 'record'>
    readonly handlerOf: (pod: Pod) => Promise<string>
    readonly lookAtNode: () => Promise<void>
  }
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

/** What becomes of a pod is an event: a line of the log, and an Event where there is an apiserver to tell. */
export const createPods = (deps: PodsParts): Agent => {
  const { config, configMaps, secrets, runtime, machinery, live, timeline, services, cluster, clock, log } = deps
  const { self, volumes, resources, images, cgroups, logs, machine } = machinery
  const onEvent: OnPodEvent = (pod, type, reason, message, { container, annotations } = {}) => {
    const fields = { pod: fullName(pod), ...(container !== undefined && { container }), reason }
    if (type === 'Warning') log.warn(fields, message)
    else log.info(fields, message)
    cluster?.recorder.record(podReference(pod, container), type, reason, message, annotations)
  }
  const parts = createParts({
    ...{ configMaps, secrets, services, volumes, resources, nodeIPs: self.addresses },
    podLogsDir: config.podLogsDir,
    clusterDomain: config.clusterDomain,
    clusterDNS: deps.clusterDNS,
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
      wanted: deps.wanted,
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
    resources: (pod, container) => containerResources(pod, container, resources),
    memoryUsed: async id => Number((await runtime.containerStats(id)).memory?.workingSetBytes?.value ?? 0),
    nodeIPs: self.addresses,
    limits: { longestPauseMs: config.maxContainerRestartPeriod, keepDead: config.maxDeadContainersPerContainer },
    startedAt: deps.startedAt,
    probeMemory: deps.probeMemory,
    ...(deps.onProbed && { onProbed: deps.onProbed }),
    ...(cluster && { runtimeHandler: cluster.handlerOf, lookAtNode: cluster.lookAtNode }),
  })
}
