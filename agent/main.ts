// `nodelet agent`: the daemon. The only place that joins pods, Services and pod network, and that knows signals.
// Order of a start: the folder and Services, the socket (the CNI shim asks it), the pod network, then pods.
// Crash-only: a signal stops the daemon and nothing else; pods, rules and addresses stay and the next start adopts them.
import { mkdir } from 'node:fs/promises'
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'
import { createCri } from '../api/cri/client.ts'
import type { Cri } from '../api/cri/cri.ts'
import { chooseEvents } from '../api/events.ts'
import { createStore, type Source, type Store } from '../api/source.ts'
import type { EndpointSlice, Pod, Service } from '../api/types.ts'
import { cleanupCni } from '../cni/cleanup.ts'
import { installPlugin, uninstallPlugin } from '../cni/install.ts'
import { systemCniDeps } from '../cni/main.ts'
import { createCni } from '../cni/plugin.ts'
import { table as cniTable } from '../cni/portmap.ts'
import { createCniHandler, decodeRequest, encodeReply } from '../cni/server.ts'
import { toFault } from '../cni/spec.ts'
import { systemClock as clock, holdProcess, type Millis } from '../host/clock.ts'
import { systemExec as exec } from '../host/exec.ts'
import { describe, Fault, isFault } from '../host/fault.ts'
import { createLink } from '../host/link.ts'
import { type LinkMonitor, watchLinks } from '../host/linkmonitor.ts'
import { createLog, type Log } from '../host/log.ts'
import { createNft } from '../host/nft.ts'
import { type ForeignChange, watchTables } from '../host/nftmonitor.ts'
import { kubeletVersion } from '../host/version.ts'
import { cleanupProxy, createProxy } from '../proxy/main.ts'
import type { Agent } from './agent.ts'
import { cleanNode, type OthersCleanup } from './clean-node.ts'
import type { AgentConfig } from './config/agent-config.ts'
import { machineConfig } from './config/files.ts'
import { loadAgentConfig } from './config/load.ts'
import { imageGcSettings } from './gc.ts'
import { createHousekeeping, type Housekeeping } from './housekeeping.ts'
import { createMachinery, type Machinery } from './machinery.ts'
import { keepTrying, whenRuntimeAnswers } from './patience.ts'
import { clusterDnsOf, createPods } from './pod-agent.ts'
import { openProbeMemory } from './probe-memory.ts'
import { createLogRotation } from './rotate.ts'
import { type CniFolders, readCgroupDriver, readCniFolders, readRuntimeFacts } from './runtime-facts.ts'
import { createView } from './server/node-view.ts'
import { claimSocket, createServer } from './server/server.ts'
import { createManifestSources, type ManifestSources } from './sources/manifests.ts'
import { openAllocations } from './standalone/allocations.ts'
import { createDns, type Dns } from './standalone/dns/dns.ts'
import { dnsTable } from './standalone/dns/own-port.ts'
import { createStandaloneServices, type StandaloneServices } from './standalone/services.ts'
import { createTimeline, type Timeline } from './timeline.ts'

/** The pod range of a node that nobody gave one. */
const defaultPodCIDRs = ['10.244.0.0/24']

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
  const parts = await Promise.race([assemble(config, startedAt, log), signalled])
  // Stopped before the runtime has answered for the first time: nothing runs that would have to be told.
  if (parts === undefined) return 0
  const { runtime, machinery, manifests, network, services, agent, server } = parts
  const housekeeping = housekeepingOf(config, runtime, agent, manifests, log)
  await server.listen()
  const running = startPods({ config, runtime, machinery, network, agent, log, signal: stopping.signal })
  // A daemon that is killed writes nothing at its end: what was compiled for its start is kept for the next one now.
  running.then(
    flushCompileCache,
    error => stopping.signal.aborted || log.error({ err: error }, `pods cannot be run: ${describe(error)}`),
  )
  housekeeping.start()
  await signalled
  log.info({}, 'stopping; pods and Services go on')
  stopping.abort(new Error('the daemon is stopping'))
  housekeeping.stop()
  agent.stop()
  manifests.stop()
  await server.close()
  await services.stop()
  await network.close()
  runtime.close()
  return 0
}

/** Makes every part and joins them; nothing of the pods runs yet. */
const assemble = async (config: AgentConfig, startedAt: Millis, log: Log) => {
  const runtime = createRuntime(config, log)
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
  const { configMaps, secrets } = manifests
  const version = kubeletVersion
  const machinery = await createMachinery({ config, runtime, cgroupDriver, configMaps, secrets, version, exec, clock, log })
  const live = createStore<Pod>()
  const timeline = createTimeline({ clock })
  const probeMemory = await openProbeMemory({ path: join(config.stateDir, 'probes.json'), clock, log })
  const network = await createPodNetwork(config, timeline, log)
  const services = await startServices(config, manifests, live, machinery, network, log)
  const shared = { config, manifests, runtime, machinery, live, timeline, clock, log }
  const agent = createPods({ ...shared, startedAt, probeMemory, services: services.services })
  const server = createServer({
    path: config.socket,
    view: createView(config, { manifests, live, timeline, ...services, machinery, runtime }),
    cni: network.answer,
    cri: runtime,
    clock,
    log: log.child({ part: 'socket' }),
  })
  return { runtime, machinery, manifests, network, services, agent, server }
}

const housekeepingOf = (config: AgentConfig, runtime: Cri, agent: Agent, manifests: ManifestSources, log: Log): Housekeeping =>
  createHousekeeping({
    runtime,
    workers: agent.pods.workers,
    wanted: manifests.pods.list,
    clock,
    log: log.child({ part: 'housekeeping' }),
    rotation: createLogRotation({
      cri: runtime,
      clock,
      maxBytes: config.containerLogMaxBytes,
      maxFiles: config.containerLogMaxFiles,
    }),
    rotationMs: config.containerLogMonitorInterval,
    images: imageGcSettings(config),
  })

const createRuntime = (config: AgentConfig, log: Log): Cri =>
  createCri({
    endpoint: config.runtimeSocket,
    clock,
    log: log.child({ part: 'cri' }),
    timeouts: { requestMs: config.runtimeRequestTimeout },
  })

interface PodNetwork {
  readonly podCIDRs: readonly string[]
  /** One call of the plugin: the shim's request in, its answer out. */
  answer(body: string): Promise<string>
  /** Puts the plugin where the runtime looks, and releases what no sandbox holds any more. */
  install(folders: CniFolders, sandboxIds: Iterable<string>): Promise<void>
  /** Puts back what somebody else took away of our rules. */
  repair(): void
  close(): Promise<void>
}

const cniDataDir = (config: AgentConfig): string => join(config.stateDir, 'cni')

const createPodNetwork = async (config: AgentConfig, timeline: Timeline, log: Log): Promise<PodNetwork> => {
  const cniLog = log.child({ part: 'cni' })
  const cni = createCni(await systemCniDeps(cniLog), cniDataDir(config))
  const call = createCniHandler({ cni })
  const podCIDRs = config.podCIDRs.length > 0 ? config.podCIDRs : defaultPodCIDRs
  const sorry = (error: unknown) => cniLog.error({ err: error }, `the pod network cannot be set up: ${describe(error)}`)
  const ensureBase = () => cni.ensureBase().catch(sorry)
  const heal = async () => {
    const healed = await cni.heal()
    if (healed.length > 0) cniLog.warn({ interfaces: healed }, 'somebody else removed interfaces; they were made anew')
  }
  let links: LinkMonitor | undefined
  return {
    podCIDRs,
    answer: async body => {
      const request = decodeRequest(body)
      const { CNI_COMMAND: verb, CNI_ARGS: args = '' } = request.env
      const podUid = /(?:^|;)K8S_POD_UID=([^;]+)/.exec(args)?.[1]
      const end = verb === 'ADD' && podUid !== undefined ? timeline.begin(podUid, { stage: 'cni' }) : undefined
      const reply = await call(request)
      end?.(reply.exitCode === 0 ? undefined : toFault(reply))
      return encodeReply(reply)
    },
    install: async (folders, sandboxIds) => {
      if (config.cni.mode === 'disabled') return
      const installed = await installPlugin({
        ...folders,
        socket: config.socket,
        // The entry of the program, sources or bundle: with CNI_COMMAND in its environment it is the plugin.
        standalone: [process.execPath, process.argv[1] ?? ''],
        podCIDRs,
        dataDir: cniDataDir(config),
      })
      cniLog.info({ ...installed, ...folders }, 'network plugin installed')
      if (installed.conflist === 'foreign')
        cniLog.warn({ confDir: folders.confDir }, 'another network configuration stands there: pods get their network from it')
      await ensureBase()
      const released = await cni.releaseUnknown(sandboxIds)
      if (released.length > 0) cniLog.info({ released: released.length }, 'released the addresses of sandboxes that are gone')
      const onGone = (name: string | undefined) => {
        if (name === undefined || cni.isNeeded(name)) heal().catch(sorry)
      }
      links = watchLinks({ exec, clock, log: cniLog }, onGone)
      onGone(undefined)
    },
    repair: () => void ensureBase(),
    close: () => {
      links?.stop()
      return cni.close()
    },
  }
}

interface RunningServices {
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  readonly standalone: StandaloneServices
  stop(): Promise<void>
}

/** Services of the folder: allocated, routed, and answered by name. What the host cannot do is said, and pods run without it. */
const startServices = async (
  config: AgentConfig,
  manifests: ManifestSources,
  pods: Store<Pod>,
  { self }: Machinery,
  network: PodNetwork,
  log: Log,
): Promise<RunningServices> => {
  const { serviceCIDRs, nodePortRange } = config.standalone
  const { nodeName, clusterDomain } = config
  const allocations = await openAllocations({ path: join(config.stateDir, 'services.json'), clock, log })
  const clusterDNS = clusterDnsOf(config)
  const standalone = createStandaloneServices({
    ...{
      manifestServices: manifests.services,
      pods,
      allocations,
      clock,
      log: log.child({ part: 'services' }),
      serviceCIDRs,
      nodePortRange,
    },
    ...{ clusterDNS, nodeName },
  })
  const { services, endpointSlices } = standalone
  const dns = createDns({
    ...{ services, endpointSlices, pods, addresses: clusterDNS, clusterDomain, serviceCIDRs, resolvConf: config.resolvConf },
    ...{ clock, log, link: createLink(exec), nft: createNft(exec) },
  })
  const watch = { tables: [cniTable, dnsTable], onForeignChange: repairTables(network, dns, log) }
  const proxy =
    config.proxy.mode === 'disabled'
      ? undefined
      : keepTrying(
          'Services are not routed',
          () => startProxy(config, { services, endpointSlices }, self.addresses(), { podCIDRs: network.podCIDRs, watch }, log),
          { clock, log },
        )
  const monitor = proxy === undefined ? watchTables({ exec, clock, log }, watch.tables, watch.onForeignChange) : undefined
  const names = clusterDNS.length === 0 ? undefined : keepTrying('cluster DNS does not answer', dns.start, { clock, log })
  // The first attempts are over before pods start: they are to find names and Services.
  await Promise.all([proxy?.tried, names?.tried])
  return {
    services,
    endpointSlices,
    standalone,
    stop: async () => {
      standalone.stop()
      monitor?.stop()
      names?.giveUp()
      await proxy?.giveUp()?.stop()
      await allocations.flush()
    },
  }
}

interface TableWatch {
  readonly tables: readonly string[]
  readonly onForeignChange: (change: ForeignChange) => void
}

const repairTables =
  (network: PodNetwork, dns: Dns, log: Log): TableWatch['onForeignChange'] =>
  ({ table, gone }) => {
    if (!gone.includes('unknown')) log.warn({ table, gone }, 'somebody else removed rules; they are written anew')
    if (table === cniTable) return network.repair()
    dns.repair().catch(error => log.error({ err: error }, `cluster DNS could not be repaired: ${describe(error)}`))
  }

const startProxy = (
  config: AgentConfig,
  sources: { services: Source<Service>; endpointSlices: Source<EndpointSlice> },
  nodeIPs: readonly string[],
  { podCIDRs, watch }: { readonly podCIDRs: readonly string[]; readonly watch: TableWatch },
  log: Log,
) => {
  const { nodePortAddresses, mode, nftables } = config.proxy.config
  return createProxy({
    ...sources,
    ...{ nodeName: config.nodeName, mode, exec, clock, log: log.child({ part: 'proxy' }) },
    settings: {
      nodeIPs,
      nodePortAddresses: nodePortAddresses.length === 0 || nodePortAddresses.includes('primary') ? 'primary' : nodePortAddresses,
      localTraffic: { by: 'cidr', cidrs: podCIDRs },
      masqueradeAll: nftables.masqueradeAll,
      masqueradeBit: nftables.masqueradeBit,
    },
    alsoWatch: watch,
  })
}

interface PodsStart {
  readonly config: AgentConfig
  readonly runtime: Cri
  readonly machinery: Machinery
  readonly network: PodNetwork
  readonly agent: Agent
  readonly log: Log
  readonly signal: AbortSignal
}

const startPods = async ({ config, runtime, machinery, network, agent, log, signal }: PodsStart): Promise<void> => {
  const { cgroups, self } = machinery
  await cgroups.ensureRoots(self.enforced)
  const folders = await whenRuntimeAnswers(() => readCniFolders(runtime), { clock, log })
  const sandboxes = await whenRuntimeAnswers(() => runtime.listPodSandbox(), { clock, log })
  const { binDir = folders.binDir, confDir = folders.confDir } = config.cni
  await network.install(
    { binDir, confDir },
    sandboxes.map(it => it.id),
  )
  await agent.start(signal)
  log.info({ node: config.nodeName, runtime: (await readRuntimeFacts(runtime)).version }, 'running pods')
  const { onEvent, onConnected, onLost } = agent.follower
  const watched = await chooseEvents({
    endpoint: config.runtimeSocket,
    clock,
    log: log.child({ part: 'events' }),
    onEvent,
    onConnected,
    onLost,
    signal,
  })
  if (watched === 'none') log.warn({}, 'the runtime has no event stream: ends of containers are noticed within a second')
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
  const runtime = createRuntime(config, log)
  try {
    return await cleanNode({ config, runtime, others, log, out, err })
  } finally {
    runtime.close()
  }
}
