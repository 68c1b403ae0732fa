// Builds the proxy from its parts: the only file here that knows which backend, which tools and which watch belong together.
// Runs inside the daemon; the sources are an apiserver's or the manifest folder's, which the proxy cannot tell apart.
import type { Source } from '../api/source.ts'
import type { EndpointSlice, IPFamily, Service } from '../api/types.ts'
import type { Clock } from '../host/clock.ts'
import { createConntrack, createFlowFinder } from '../host/conntrack.ts'
import type { Exec } from '../host/exec.ts'
import { describe, Fault } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import { createSlices } from '../host/loop.ts'
import { createNft, createNftElements, type Nft } from '../host/nft.ts'
import { type ForeignChange, signedRemoval, watchTables } from '../host/nftmonitor.ts'
import type { Backend } from './backend.ts'
import { createDrift, fleetingSets, proxyTables } from './drift.ts'
import type { InspectionDeps, ProxyDiff, Traced } from './inspect.ts'
import type { NodeView } from './model.ts'
import { createNftBackend } from './nftables/backend.ts'
import { ip } from './nftables/ip.ts'
import { ip6 } from './nftables/ip6.ts'
import { type FamilyWords, tableName } from './nftables/words.ts'
import { createProxier, type Proxier, type ProxierStatus, type Round, type Stranded, type SyncReport } from './proxier.ts'
import { defaultSettings, type LocalTraffic, type ProxySettings } from './settings.ts'
import { prepareSysctls } from './sysctls.ts'
import type { TraceQuery } from './trace-types.ts'

export type ProxyMode = 'nftables' | 'iptables' | 'ipvs'

export interface ProxyDeps {
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  readonly nodeName: string
  /** The label topology.kubernetes.io/zone; '' when there is none. */
  readonly zone?: string
  /** Modes other than nftables are answered by nftables and a warning. */
  readonly mode?: ProxyMode
  /** What is not given is as kube-proxy's nftables mode has it. */
  readonly settings?: Partial<ProxySettings>
  /** Further tables for the proxy's watch, so that one child serves all: the pod network's. */
  readonly alsoWatch?: { readonly tables: readonly string[]; readonly onForeignChange: (change: ForeignChange) => void }
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Log
  readonly onSynced?: (report: SyncReport) => void
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

/** The families whose table the kernel and nft would take. @throws Fault `unsupported` when there is none */
const usableFamilies = async (nft: Nft, log: Log): Promise<readonly FamilyWords[]> => {
  const usable: FamilyWords[] = []
  const refusals: string[] = []
  for (const words of [ip, ip6])
    try {
      const table = `${words.table} ${tableName}`
      await nft.check(`add table ${table}\nadd chain ${table} probe { type nat hook prerouting priority -100 ; }\n`)
      usable.push(words)
    } catch (error) {
      refusals.push(describe(error))
      log.warn({ err: error, family: words.family }, 'Services of this family cannot be routed here')
    }
  if (usable.length === 0)
    throw new Fault('unsupported', `this host has no nftables with NAT, which Service routing needs: ${refusals.join('; ')}`)
  return usable
}

/**
 * Starts the proxy. It writes nothing before both sources have synced.
 * @throws Fault `unsupported` when the host cannot route Services at all
 */
export const createProxy = async (deps: ProxyDeps): Promise<Proxy> => {
  const { exec, clock, log } = deps
  if (deps.mode !== undefined && deps.mode !== 'nftables')
    log.warn({ mode: deps.mode }, 'this mode is not there yet; Services are routed by nftables')
  const nft = createNft(exec)
  const families = await usableFamilies(nft, log)
  await (deps.prepareKernel ?? prepareSysctls)({ exec, log })

  let settings: ProxySettings = { ...defaultSettings, ...deps.settings }
  let node: NodeView = { name: deps.nodeName, zone: deps.zone ?? '', ips: settings.nodeIPs }
  const slices = createSlices(clock)
  const followers = new Set<(round: Round) => void>()
  const backends: Backend[] = families.map(words =>
    createNftBackend({ nft, elements: createNftElements(exec), words, settings: () => settings, slices }),
  )
  const proxier = createProxier({
    services: deps.services,
    endpointSlices: deps.endpointSlices,
    node,
    backends,
    conntrack: createConntrack(exec),
    clock,
    log,
    slices,
    onRound: round => {
      for (const follower of followers) follower(round)
    },
    ...(deps.onSynced && { onSynced: deps.onSynced }),
  })
  const drift = createDrift({ resync: proxier.resync, log })
  const also = deps.alsoWatch
  const monitor = watchTables(
    { exec, clock, log },
    [...proxyTables, ...(also?.tables ?? [])],
    change => (proxyTables.includes(change.table) ? drift.onForeignChange(change) : also?.onForeignChange(change)),
    fleetingSets,
  )

  const inspection = (): InspectionDeps => ({
    ...{ services: deps.services, endpointSlices: deps.endpointSlices, backends, node, settings, clock },
    flows: createFlowFinder(exec),
    settled: proxier.settled,
  })

  return {
    status: () => ({
      ...proxier.status(),
      mode: 'nftables',
      families: families.map(({ family }) => family),
      drifts: drift.count,
      watching: monitor.isRunning,
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
      monitor.stop()
      await proxier.stop()
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
  return ours.map(table => `nftables table ${table}`)
}
