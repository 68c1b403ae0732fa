// Builds the proxy from its parts: the only file here that knows which backend, which tools and which watch belong together.
// Runs inside the daemon; the sources are an apiserver's or the manifest folder's, which the proxy cannot tell apart.
import type { ProxyMode } from '../api/config/kube-proxy.ts'
import type { EndpointSlice, IPFamily, Service } from '../api/service-types.ts'
import type { Source } from '../api/source.ts'
import { globalAddresses } from '../host/addresses.ts'
import type { Clock } from '../host/clock.ts'
import { createConntrack, createFlowFinder } from '../host/conntrack.ts'
import type { Exec } from '../host/exec.ts'
import type { Log } from '../host/log.ts'
import { createSlices } from '../host/loop.ts'
import { createNft } from '../host/nft.ts'
import { signedRemoval } from '../host/nftmonitor.ts'
import { proxyTables } from './drift.ts'
import type { InspectionDeps, ProxyDiff, Traced } from './inspect.ts'
import { cleanupIptables, openIptablesMode } from './iptables/mode.ts'
import { defaultIpvsSettings, type IpvsSettings } from './ipvs/settings.ts'
import type { AlsoWatch, Mode, ModeDeps } from './mode.ts'
import type { NodeView } from './model.ts'
import { openNftables } from './nftables/mode.ts'
import { createProxier, type Proxier, type ProxierStatus, type Round, type Stranded, type SyncReport } from './proxier.ts'
import { defaultSettings, type LocalTraffic, type ProxySettings, servesLoopback, servingAddresses } from './settings.ts'
import { prepareSysctls } from './sysctls.ts'
import type { TraceQuery } from './trace-types.ts'
import { createVanished, type Vanished } from './vanished.ts'

export interface ProxyDeps {
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  readonly nodeName: string
  /** The label topology.kubernetes.io/zone; '' when there is none. */
  readonly zone?: string
  /** Default: nftables. */
  readonly mode?: ProxyMode
  /** What only the IPVS mode takes. */
  readonly ipvs?: Partial<IpvsSettings>
  /** What is not given is as kube-proxy's nftables mode has it. */
  readonly settings?: Partial<ProxySettings>
  /** Further tables for the proxy's watch, so that one child serves all: the pod network's. */
  readonly alsoWatch?: AlsoWatch
  /** Where is told what somebody else took away, also of those tables: a flush of all is one line then. Whoever gives it stops it. */
  readonly vanished?: Vanished
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Log
  readonly onSynced?: (report: SyncReport) => void
  /** The host's own addresses; another namespace's are its owner's to tell. */
  readonly localAddresses?: () => readonly string[]
  /** Makes the kernel settings of this process's network; another namespace's are its owner's. */
  readonly prepareKernel?: (host: { readonly exec: Exec; readonly log: Log }) => Promise<void>
}

export interface ProxyStatus extends ProxierStatus {
  readonly mode: ProxyMode
  readonly families: readonly string[]
  /** How often somebody else removed rules of ours. */
  readonly drifts: number
  readonly watching: boolean
}

export interface Proxy {
  status(): ProxyStatus
  /** Resolves when everything of this moment is in the kernel. */
  settled(): Promise<void>
  /** Tells the proxy what has become known of the node; what is not given stays. */
  setNode(change: { readonly nodeIPs?: readonly string[]; readonly zone?: string; readonly localTraffic?: LocalTraffic }): void
  resync: Proxier['resync']
  /** As it is now. */
  settings(): ProxySettings
  /** Looks at every frontend of the family. */
  stranded(family: IPFamily): Stranded
  /** Tells of every round from now on that has something to do, and returns how to stop. Asked for at once, none is missed. */
  follow(onRound: (round: Round) => void): () => void
  /** The way of a packet, in words and as values. @throws Fault `not-found` with names that come near */
  trace(query: TraceQuery): Promise<Traced>
  /** What the kernel holds against what it should. Takes seconds when there is much. @throws Fault `unsupported`, `kernel-refused` */
  diff(): Promise<ProxyDiff>
  /** Stops watching and writing; the rules stay and keep routing. */
  stop(): Promise<void>
}

type Open = (deps: ModeDeps & { readonly ipvs: IpvsSettings }) => Promise<Mode>

const opened: Readonly<Record<ProxyMode, Open>> = {
  nftables: openNftables,
  iptables: openIptablesMode,
  // Loaded where it is asked for: few nodes run it.
  ipvs: async deps => {
    const { openIpvs } = await import('./ipvs/mode.ts')
    return openIpvs({ ...deps, others: { nftables: () => openNftables(deps), iptables: () => openIptablesMode(deps) } })
  },
}

/**
 * Starts the proxy. It writes nothing before both sources have synced.
 * @throws Fault `unsupported` when the host cannot route Services at all
 */
export const createProxy = async (deps: ProxyDeps): Promise<Proxy> => {
  const { exec, clock, log } = deps
  const name = deps.mode ?? 'nftables'
  const mode = await opened[name]({ exec, clock, log, ipvs: { ...defaultIpvsSettings, ...deps.ipvs } })
  let settings: ProxySettings = { ...defaultSettings, ...deps.settings }
  await (deps.prepareKernel ?? prepareSysctls)({ exec, log, servesLoopback: servesLoopback(settings) })

  let node: NodeView = { name: deps.nodeName, zone: deps.zone ?? '', ips: settings.nodeIPs }
  // Half the usual: collecting garbage and starting nft come on top. Measured, others wait 11 ms at the 99th percentile, else 19.
  const slices = createSlices(clock, 3)
  const followers = new Set<(round: Round) => void>()
  const backends = mode.backends({ settings: () => settings, slices })
  const proxier = createProxier({
    services: deps.services,
    endpointSlices: deps.endpointSlices,
    node,
    backends,
    conntrack: createConntrack(exec),
    nodeAddresses: () => servingAddresses(settings, deps.localAddresses ?? globalAddresses),
    clock,
    log,
    slices,
    ...(mode.mostPorts !== undefined && { mostPorts: mode.mostPorts }),
    onRound: round => {
      for (const follower of followers) follower(round)
    },
    ...(deps.onSynced && { onSynced: deps.onSynced }),
  })
  const vanished = deps.vanished ?? createVanished({ clock, log })
  const watch = mode.watch({
    resync: proxier.resync,
    settled: proxier.settled,
    stands: family => proxier.status().synced && proxier.status().due[family] === undefined,
    also: deps.alsoWatch,
    vanished,
  })

  let stopped = false
  // Once, and not before ours stand: nothing is unrouted for a moment.
  const handedOver = proxier.settled().then(async () => {
    if (stopped) return
    const { removePredecessors } = await import('./predecessor/predecessors.ts')
    await removePredecessors({ exec, mode: name, log })
  })

  const inspection = (): InspectionDeps => ({
    ...{ services: deps.services, endpointSlices: deps.endpointSlices, backends, node, settings, clock },
    flows: createFlowFinder(exec),
    settled: proxier.settled,
  })

  return {
    status: () => ({
      ...proxier.status(),
      mode: name,
      families: mode.families,
      drifts: watch.count,
      watching: watch.isRunning,
    }),
    settled: proxier.settled,
    stranded: proxier.stranded,
    setNode: ({ nodeIPs = settings.nodeIPs, zone = node.zone, localTraffic = settings.localTraffic }) => {
      settings = { ...settings, nodeIPs, localTraffic }
      node = { ...node, zone, ips: nodeIPs }
      proxier.setNode(node)
    },
    resync: proxier.resync,
    settings: () => settings,
    follow: onRound => {
      followers.add(onRound)
      return () => void followers.delete(onRound)
    },
    trace: async query => (await import('./inspect.ts')).trace(query, inspection()),
    diff: async () => (await import('./inspect.ts')).diff(inspection()),
    stop: async () => {
      stopped = true
      watch.stop()
      if (deps.vanished === undefined) vanished.stop()
      await proxier.stop()
      await handedOver
    },
  }
}

/**
 * Removes all that the proxy has made, for when no daemon runs any more.
 * @returns what was removed, as a person would read it
 */
export const cleanupProxy = async ({ exec }: { exec: Exec }): Promise<readonly string[]> => {
  const nft = createNft(exec)
  const there = (await nft.list(['list', 'tables'])).split('\n')
  const ours = proxyTables.filter(table => there.includes(`table ${table}`))
  for (const table of ours) await nft.apply(signedRemoval(table))
  const { cleanupIpvs } = await import('./ipvs/cleanup.ts')
  return [...ours.map(table => `nftables table ${table}`), ...(await cleanupIpvs(exec)), ...(await cleanupIptables(exec))]
}
