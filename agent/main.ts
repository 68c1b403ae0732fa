// `nodelet agent`: the daemon. The only place that joins pods, Services and pod network, and that knows signals.
// Order of a start: the folder and Services, the socket (the CNI shim asks it), the pod network, then pods.
// Crash-only: a signal stops the daemon and nothing else; pods, rules and addresses stay and the next start adopts them.
import { mkdir } from 'node:fs/promises'
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'
import type { Cri } from '../api/cri/cri.ts'
import type { EndpointSlice, Service } from '../api/service-types.ts'
import { createStore, type Source, type Store } from '../api/source.ts'
import type { Pod } from '../api/types.ts'
import { cleanupCni } from '../cni/cleanup.ts'
import { createPodNetwork, type PodNetwork } from '../cni/daemon.ts'
import { uninstallPlugin } from '../cni/install.ts'
import { systemCniDeps } from '../cni/main.ts'
import { table as cniTable } from '../cni/portmap.ts'
import type { CgroupDriver } from '../host/cgroup-name.ts'
import { systemClock as clock, holdProcess, type Millis } from '../host/clock.ts'
import { systemExec as exec } from '../host/exec.ts'
import { describe, Fault, isFault } from '../host/fault.ts'
import { adjustOwnOomScore } from '../host/kernel-setting.ts'
import { createLog, type Log } from '../host/log.ts'
import { type ForeignChange, watchTables } from '../host/nftmonitor.ts'
import { ownCommand } from '../host/own-program.ts'
import { createServiceManager } from '../host/service-manager.ts'
import { claimSocket } from '../host/unix-socket.ts'
import { kubeletVersion } from '../host/version.ts'
import { cleanupProxy, createProxy } from '../proxy/main.ts'
import { toLocalTraffic, toProxySettings } from '../proxy/settings.ts'
import { createVanished, noteChange, type Vanished } from '../proxy/vanished.ts'
import type { Agent } from './agent.ts'
import { cleanNode, type OthersCleanup } from './clean-node.ts'
import type { Membership } from './cluster/membership.ts'
import type { AgentConfig } from './config/agent-config.ts'
import { machineConfig } from './config/files.ts'
import { loadAgentConfig } from './config/load.ts'
import { enterCluster, measured, measuresFor, ownAddresses } from './joining.ts'
import { createMachinery, type Machinery } from './machinery.ts'
import { whenRuntimeAnswers } from './patience.ts'
import { clusterDnsOf, createPods } from './pod-agent.ts'
import { openProbeMemory } from './probe-memory.ts'
import { createRouting, type Routing } from './routing.ts'
import { createRuntime, evictWhenShort, housekeepingOf, type PodsStart, startPods, storageWatchOf } from './running.ts'
import { readCgroupDriver } from './runtime-facts.ts'
import { refuseMachine, type Self } from './self.ts'
import { createView } from './server/node-view.ts'
import { createServer } from './server/server.ts'
import type { Problem } from './server/wire.ts'
import { createManifestSources, type ManifestSources } from './sources/manifests.ts'
import { standAside } from './stand-aside.ts'
import { dnsTable } from './standalone/dns/own-port.ts'
import { startLocalServices } from './standalone/local-services.ts'
import type { KubeletMetrics } from './stats/kubelet-metrics.ts'
import { createTimeline, type Timeline } from './timeline.ts'

/** The pod range of a node that nobody gave one. */
const defaultPodCIDRs = ['10.244.0.0/24']

const program = ownCommand()

/** Runs the daemon until a signal ends it. @returns the exit code: 0 done, 1 failed while running, 2 usage or configuration wrong */
export const run = async (argv: readonly string[]): Promise<number> => {
  const held = holdProcess()
  try {
    const { config, warnings } = await loadAgentConfig(argv, machineConfig)
    if (process.getuid?.() !== 0)
      throw new Fault('unsupported', 'needs root: it makes cgroups, mounts and network interfaces', { retry: 'never' })
    await claimSocket(config.socket)
    if (config.cleanup) return await cleanUp(config)
    const log = createLog({
      verbosity: config.verbosity,
      human: process.stderr.isTTY,
      write: line => void process.stderr.write(line),
    })
    for (const warning of warnings) log.warn({}, warning)
    await adjustOwnOomScore(config.kubelet.oomScoreAdj, log)
    return await runDaemon(config, log)
  } catch (error) {
    process.stderr.write(`nodelet agent: ${describe(error)}\n`)
    return isFault(error, 'bad-config') ? 2 : 1
  } finally {
    held.cancel()
  }
}

const runDaemon = async (config: AgentConfig, log: Log): Promise<number> => {
  const startedAt = clock.now()
  const stopping = new AbortController()
  const signalled = new Promise<void>(resolve => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve())
  })
  process.on('unhandledRejection', error => log.error({ err: error }, `a failure that nobody handled: ${describe(error)}`))
  for (const folder of [config.stateDir, config.rootDir]) await mkdir(folder, { recursive: true, mode: 0o700 })
  const parts = await Promise.race([assemble(config, startedAt, log, stopping.signal), signalled])
  // Stopped before the runtime has answered for the first time: nothing runs that would have to be told.
  if (parts === undefined) return 0
  const { runtime, machinery, manifests, membership, network, services, agent, server, reporting } = parts
  const housekeeping = housekeepingOf({ config, runtime, agent, clock, log }, parts.wanted)
  const storageWatch = storageWatchOf({ config, runtime, agent, clock, log }, parts.metrics)
  const manager = createServiceManager({ exec, clock, log, env: process.env, pid: process.pid })
  await server.listen()
  void manager.ready()
  const installNetwork: PodsStart['installNetwork'] = async (folders, sandboxIds) => {
    await network.install(folders, sandboxIds)
    reporting?.nudge()
  }
  const { signal } = stopping
  const onConditions = () => reporting?.nudge()
  const onRunning = () => {
    // A daemon that is killed writes nothing at its end: what was compiled for its start is kept for the next one now.
    flushCompileCache()
    void evictWhenShort({ ...parts, recorder: membership?.recorder, housekeeping, onConditions, clock, signal })
    const untold = reporting && { untold: reporting.untold }
    void import('./shutdown/start.ts').then(it =>
      it.delayShutdowns({ ...{ config, machinery, agent, onConditions, exec, clock, log, signal }, ...untold }),
    )
  }
  startPods({ config, runtime, machinery, installNetwork, agent, clock, log, onRunning, signal }).catch(
    error => signal.aborted || log.error({ err: error }, `pods cannot be run: ${describe(error)}`),
  )
  housekeeping.start()
  storageWatch?.start()
  await signalled
  log.info({}, 'stopping; pods and Services go on')
  void manager.stopping()
  stopping.abort(new Error('the daemon is stopping'))
  housekeeping.stop()
  storageWatch?.stop()
  agent.stop()
  manifests.stop()
  await reporting?.stop()
  await server.close()
  await services.stop()
  await network.close()
  await membership?.stop()
  runtime.close()
  return 0
}

/** Makes every part and joins them; nothing of the pods runs yet, but a node of a cluster is told of already. */
const assemble = async (config: AgentConfig, startedAt: Millis, log: Log, signal: AbortSignal) => {
  const live = createStore<Pod>()
  const version = kubeletVersion
  const measures = await measuresFor(config, { version, live, clock })
  const runtime = measured(createRuntime(config, clock, log), measures)
  const cgroupDriver = config.cgroupDriverGiven
    ? config.cgroupDriver
    : await whenRuntimeAnswers(() => readCgroupDriver(runtime), { clock, log })
  const manifests = createManifestSources({
    path: config.staticPodPath ?? join(config.stateDir, 'no-manifests'),
    nodeName: config.nodeName,
    clock,
    log: log.child({ part: 'folder' }),
    fileCheckMs: config.fileCheckFrequency,
  })
  const addresses = await ownAddresses(config, clock)
  const late: { agent?: Agent } = {}
  const onTokenRenewed = (podUid: string) => late.agent?.refreshVolumes(podUid)
  const membership = await enterCluster(
    { config, manifests, addresses: () => addresses, onTokenRenewed, x509: [...program, 'x509'], exec, clock, log },
    signal,
  )
  const { configMaps, secrets } = membership?.objects ?? manifests
  const machinery = await createMachinery({
    ...{ config, runtime, cgroupDriver, configMaps, secrets, version, addresses, exec, clock, log },
    ...(membership && { accounts: membership.accounts, nodeLabels: membership.nodeLabels }),
    ...(membership && { tokens: membership.objects.tokens, claims: membership.objects.claims }),
  })
  refuseMachine(config, machinery.machine, machinery.resources.cgroupVersion)
  const timeline = createTimeline({ clock })
  const shared = { config, manifests, runtime, machinery, live, timeline, membership, clock, log }
  const routed = await assembleNetwork(shared)
  const { services } = routed
  const wanted = membership?.wanted ?? manifests.pods
  const metrics = membership && measures?.begin(wanted, membership.identity)
  const probeMemory = await openProbeMemory({ path: join(config.stateDir, 'probes.json'), clock, log })
  const agent = createPods({
    ...{ ...shared, startedAt, probeMemory, wanted, configMaps, secrets, services: services.services },
    clusterDNS: services.clusterDNS,
    ...(metrics && { onProbed: metrics.probed }),
    ...(membership && { cluster: { ...membership, handlerOf: membership.objects.runtimeClasses.handlerOf } }),
  })
  late.agent = agent
  return {
    ...shared,
    ...routed,
    agent,
    wanted,
    metrics,
    cgroupDriver,
    ...(await assembleFaces({ ...shared, ...routed, agent, metrics, cgroupDriver, version })),
  }
}

interface Shared {
  readonly config: AgentConfig
  readonly manifests: ManifestSources
  readonly runtime: Cri
  readonly machinery: Machinery
  readonly live: Store<Pod>
  readonly timeline: Timeline
  readonly membership: Membership | undefined
  readonly log: Log
}

/** How pods get their addresses and Services their way. */
const assembleNetwork = async (shared: Shared) => {
  const { config, manifests, membership, live, machinery, timeline, log } = shared
  const podRanges = membership?.podRanges.known ?? Promise.resolve(standaloneRanges(config))
  const network = await createPodNetwork({
    ...{ ranges: podRanges, socket: config.socket, program, dataDir: cniDataDir(config), exec, clock },
    isOurs: config.cni.mode !== 'disabled',
    clusterRanges: config.proxy.config.clusterCIDRs,
    onAdd: podUid => timeline.begin(podUid, { stage: 'cni' }),
    log: log.child({ part: 'cni' }),
  })
  membership?.followClusterRanges(ranges => void network.exempt(ranges))
  const services = await startServices({ config, manifests, membership, live, self: machinery.self, network, podRanges, log })
  return { network, services }
}

/** How the node is seen: by the command line, by the CNI shim, and by a cluster. */
const assembleFaces = async (
  parts: Shared &
    Awaited<ReturnType<typeof assembleNetwork>> & {
      readonly agent: Agent
      readonly metrics: KubeletMetrics | undefined
      readonly cgroupDriver: CgroupDriver
      readonly version: string
    },
) => {
  const { config, runtime: cri, membership, agent, metrics, network, services, log } = parts
  const view = createView(config, { ...parts, ...services })
  const server = createServer({
    ...{ path: config.socket, view, cni: network.answer, cri, clock, log: log.child({ part: 'socket' }) },
  })
  if (membership === undefined || metrics === undefined) return { server, reporting: undefined }
  const { startReporting } = await import('./cluster/reporting.ts')
  return {
    server,
    reporting: await startReporting({ ...parts, membership, metrics, view, syncLoop: agent.follower.problem, exec, clock }),
  }
}

const standaloneRanges = ({ podCIDRs }: AgentConfig): readonly string[] => (podCIDRs.length > 0 ? podCIDRs : defaultPodCIDRs)

const cniDataDir = (config: AgentConfig): string => join(config.stateDir, 'cni')

interface RunningServices {
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  /** What pods are told to ask for names. */
  readonly clusterDNS: readonly string[]
  problems(): readonly Problem[]
  readonly trace: Routing['trace']
  readonly diff: Routing['diff']
  stop(): Promise<void>
}

interface ServicesStart {
  readonly config: AgentConfig
  readonly manifests: ManifestSources
  readonly membership: Membership | undefined
  readonly live: Store<Pod>
  readonly self: Self
  readonly network: PodNetwork
  readonly podRanges: Promise<readonly string[]>
  readonly log: Log
}

/** Services are routed, those of the cluster or of the folder. What the host cannot do is said, and pods run without it. */
const startServices = async (start: ServicesStart): Promise<RunningServices> => {
  const { config, manifests, membership, live, network, log } = start
  const clusterDNS = membership ? config.clusterDNS : clusterDnsOf(config)
  const local = membership ? undefined : await startLocalServices({ config, clusterDNS, manifests, pods: live, exec, clock, log })
  const { services, endpointSlices } = (membership ?? local)!
  const vanished = createVanished({ clock, log })
  const onForeignChange: OnForeignChange = change => {
    noteChange(vanished, change)
    if (change.table === cniTable) network.repair()
    else local?.repairNames()
  }
  const watch = { tables: [cniTable, ...(local ? [dnsTable] : [])], onForeignChange, vanished }
  const sources = { services, endpointSlices }
  const routing = createRouting({
    start: () => startProxy(start, sources, watch),
    watch: () => watchTables({ exec, clock, log }, watch.tables, watch.onForeignChange),
    cleanup: () => cleanupProxy({ exec }),
    ...{ clock, log },
  })
  // Pods of a machine of its own are to find names and Services; those of a cluster come when the apiserver tells of them.
  if (config.proxy.mode === 'disabled') routing.watchOnly('its configuration says proxy.mode: disabled')
  else if (membership === undefined || config.proxy.mode === 'enabled') routing.begin()
  const turns =
    membership && config.proxy.mode === 'auto'
      ? standAside({
          pods: membership.wanted,
          known: Promise.race([membership.wanted.complete, clock.sleep(5_000)]),
          ...routing,
          log,
        })
      : undefined
  if (local) await Promise.all([routing.tried(), local.tried])
  return {
    ...sources,
    clusterDNS,
    problems: () => local?.problems() ?? [],
    trace: routing.trace,
    diff: routing.diff,
    stop: async () => {
      turns?.()
      await routing.stop()
      vanished.stop()
      await local?.stop()
    },
  }
}

interface TableWatch {
  readonly tables: readonly string[]
  readonly onForeignChange: OnForeignChange
  readonly vanished: Vanished
}

type OnForeignChange = (change: ForeignChange) => void

const startProxy = async (
  { config, membership, self, podRanges, log }: ServicesStart,
  sources: { services: Source<Service>; endpointSlices: Source<EndpointSlice> },
  { vanished, ...alsoWatch }: TableWatch,
) => {
  const asked = config.proxy.config
  const podCIDRs = membership?.podRanges.now ?? standaloneRanges(config)
  const own = { nodeName: config.nodeName, ...sources, clock, log: log.child({ part: 'proxy' }) }
  const proxy = await createProxy({
    ...{ ...own, mode: asked.mode, ipvs: asked.ipvs, exec, alsoWatch, vanished },
    settings: toProxySettings(asked, { nodeIPs: self.addresses(), podCIDRs }),
  })
  void podRanges.then(ranges => proxy.setNode({ localTraffic: toLocalTraffic(asked, ranges) }))
  membership?.node.subscribe({
    changed: (_, node) => {
      const zone = node?.metadata.labels?.['topology.kubernetes.io/zone']
      if (zone !== undefined) proxy.setNode({ zone })
    },
  })
  // Nobody asks a machine of its own how its proxy is, unless its owner gives the proxy a configuration.
  if (membership === undefined && !config.proxy.isGiven) return proxy
  const { serveProxy } = await import('../proxy/face/served.ts')
  return serveProxy(proxy, {
    ...{ ...own, config: asked },
    // Without a cluster there is no Node that could be about to go.
    node: () => (membership === undefined ? { metadata: { name: config.nodeName } } : membership.node.get('', config.nodeName)),
    onEvent: ({ kind, reason, message, name, namespace = '' }) =>
      membership?.recorder.record({ apiVersion: 'v1', kind, namespace, name }, 'Warning', reason, message),
  })
}

const cleanUp = async (config: AgentConfig): Promise<number> => {
  const out = (line: string) => void process.stdout.write(`${line}\n`)
  const err = (line: string) => void process.stderr.write(`${line}\n`)
  const log = createLog({ verbosity: config.verbosity, human: true, write: line => void process.stderr.write(line) })
  const others: OthersCleanup = {
    serviceRules: () => cleanupProxy({ exec }),
    podNetwork: async () => cleanupCni(await systemCniDeps(log), cniDataDir(config)),
    plugin: uninstallPlugin,
  }
  const runtime = createRuntime(config, clock, log)
  try {
    return await cleanNode({ config, runtime, others, log, out, err })
  } finally {
    runtime.close()
  }
}
