// What a node of a cluster tells and answers: its Node and Lease, its pods' status and mirrors, routes to the other nodes' pods, and
// the kubelet API. Puts these parts together and owns their life; each of them knows by itself how to go on without an apiserver.

import type { Cri } from '../../api/cri/cri.ts'
import type { Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import { connectedNetworks } from '../../host/addresses.ts'
import type { CgroupDriver } from '../../host/cgroup-name.ts'
import type { Clock } from '../../host/clock.ts'
import type { Exec } from '../../host/exec.ts'
import { describe } from '../../host/fault.ts'
import { createLink } from '../../host/link.ts'
import type { Log } from '../../host/log.ts'
import type { AgentConfig } from '../config/agent-config.ts'
import { toHealth } from '../eviction/node-pressure.ts'
import { createKubeletApi } from '../kubelet-api/kubelet-api.ts'
import type { Machinery } from '../machinery.ts'
import { keepTrying } from '../patience.ts'
import { createLeaseKeeper } from '../report/lease.ts'
import { createMirrors } from '../report/mirror.ts'
import { createFindings } from '../report/node-findings.ts'
import { podCIDRTroubles } from '../report/node-object.ts'
import { createNodeReporter } from '../report/node-reporter.ts'
import { createPodReporter } from '../report/pod-status.ts'
import { createNodeRoutes } from '../routes/node-routes.ts'
import type { NodeView } from '../server/view.ts'
import type { ManifestSources } from '../sources/manifests.ts'
import type { KubeletMetrics } from '../stats/kubelet-metrics.ts'
import { statsRoutes } from '../stats/routes.ts'
import type { Stats } from '../stats/stats.ts'
import type { Membership } from './membership.ts'

export interface ReportingDeps {
  readonly config: AgentConfig
  readonly membership: Membership
  readonly manifests: ManifestSources
  readonly machinery: Machinery
  readonly cgroupDriver: CgroupDriver
  readonly runtime: Cri
  readonly live: Source<Pod>
  readonly view: NodeView
  /** What is wrong with the loop that runs pods, or undefined. */
  readonly syncLoop: () => string | undefined
  readonly metrics: KubeletMetrics
  readonly version: string
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Log
}

export interface Reporting {
  /** Something about the node may have changed: the runtime, its network. */
  nudge(): void
  /** Pods of which the apiserver has not been told the latest. */
  untold(): number
  stop(): Promise<void>
}

const nodeReporterOf = ({ config, membership, machinery, runtime, version, clock, log }: ReportingDeps) => {
  const { kubelet, nodeName: name } = config
  const { client: api, node: source, recorder } = membership
  return createNodeReporter({
    ...{ api, name, source, recorder, clock, log: log.child({ part: 'node' }) },
    findings: createFindings({
      ...{ name, machine: machinery.machine, rootDir: config.rootDir, settings: config, runtime, version, clock },
      labels: machinery.self.labels,
      port: kubelet.port,
      maxImages: kubelet.nodeStatusMaxImages,
      addresses: machinery.self.addresses,
      volumesInUse: () => [],
      pressure: () => toHealth(machinery.self.pressure.current()),
      troubles: node => [...machinery.self.closing.troubles(), ...(config.cni.mode === 'disabled' ? [] : podCIDRTroubles(node))],
    }),
    registration: {
      taints: config.registerWithTaints ?? [],
      providerID: config.providerID,
      externalCloudProvider: config.cloudProvider === 'external',
      nodeIPs: config.nodeIPs,
      enableControllerAttachDetach: kubelet.enableControllerAttachDetach,
    },
    registerNode: config.registerNode,
    updateMs: kubelet.nodeStatusUpdateFrequency,
    reportMs: kubelet.nodeStatusReportFrequency,
  })
}

const kubeletApiOf = (deps: ReportingDeps) => {
  const { config, membership, machinery, cgroupDriver, runtime: cri, live: pods, view, metrics, version, clock, log } = deps
  const { nodeName, rootDir, podLogsDir, cgroupRoot } = config
  const { identity, client: api } = membership
  let stats: Stats | undefined
  metrics.measureClaims(machinery.volumes.claimFolder)
  const loadStats = async () => {
    const { createStats } = await import('../stats/stats.ts')
    stats = createStats({
      ...{ nodeName, rootDir, podLogsDir, cgroupRoot, cgroupDriver, version, pods, cri, clock },
      machine: machinery.machine,
      parentOf: machinery.cgroups.parentOf,
      claimFolder: machinery.volumes.claimFolder,
    })
    return stats
  }
  const server = createKubeletApi({
    ...{ config, api, view, cri, clock, log: log.child({ part: 'kubelet-api' }) },
    servingCertificate: { current: identity.servingCertificate, onChange: identity.onChange },
    syncLoop: deps.syncLoop,
    extra: { ...statsRoutes(loadStats), ...metrics.routes() },
    onRequest: metrics.onRequest,
  })
  return { server, closeStats: () => stats?.close() }
}

/** Starts to tell and to answer. */
export const startReporting = async (deps: ReportingDeps): Promise<Reporting> => {
  const { config, membership, manifests, live, exec, clock, log } = deps
  const { client: api, apiserverPods: apiserver, identity } = membership
  const stopping = new AbortController()
  const reporter = nodeReporterOf(deps)
  const lease = createLeaseKeeper({
    ...{ api, nodeName: config.nodeName, node: reporter.node, clock, log: log.child({ part: 'lease' }) },
    durationSeconds: config.kubelet.nodeLeaseDurationSeconds,
  })
  const pods = createPodReporter({
    ...{ api, live, apiserver, clock, log: log.child({ part: 'status' }) },
    onWritten: (_, tookMs) => deps.metrics.statusSynced(tookMs / 1000),
  })
  const mirrors = createMirrors({
    ...{ api, statics: manifests.pods, apiserver, live, nodeName: config.nodeName, clock, log: log.child({ part: 'mirrors' }) },
    // By the watch that calls for a retry, not by the reporter, who may be told of a Node that is there already after it.
    nodeUid: () => membership.node.get('', config.nodeName)?.metadata.uid,
  })
  const unfollow = membership.node.subscribe({ changed: before => before === undefined && mirrors.retry() })
  const routes = createNodeRoutes({
    ...{ nodes: membership.nodes, ownName: config.nodeName, link: createLink(exec), networks: connectedNetworks, clock },
    log: log.child({ part: 'routes' }),
  })
  const sorry = (what: string) => (error: unknown) =>
    stopping.signal.aborted || log.error({ err: error }, `${what}: ${describe(error)}`)
  const { server, closeStats } = kubeletApiOf(deps)
  await identity.startServing(api).catch(sorry('there is no serving certificate'))
  const serving = keepTrying('the kubelet API is not served', () => server.listen(), { clock, log })
  const running = [
    reporter.run(stopping.signal).catch(sorry('the node is not reported')),
    lease.run(stopping.signal).catch(sorry('the Lease is not renewed')),
  ]
  return {
    nudge: reporter.nudge,
    untold: pods.pending,
    stop: async () => {
      stopping.abort(new Error('the daemon is stopping'))
      serving.giveUp()
      await server.close()
      closeStats()
      deps.metrics.stop()
      unfollow()
      pods.stop()
      mirrors.stop()
      routes.stop()
      await Promise.all(running)
    },
  }
}
