// Services by the thousand in a cluster, of 2 endpoints each, and how one node deals with them, as a client on that node sees it: the same
// for a node of ours and one of the Go kubelet and kube-proxy. Says nothing of what the figures must be.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { serviceNameLabel } from '../api/service-types.ts'
import type { ClusterNode } from '../test/support/cluster-node.ts'
import type { ControlPlane } from '../test/support/control-plane.ts'
import { waitFor } from '../test/support/wait.ts'
import { pause } from './cluster.ts'
import { endpointPorts, type Load, type Order } from './dialer.ts'

const core = '/api/v1/namespaces/default'
const discovery = '/apis/discovery.k8s.io/v1/namespaces/default'
const inParallel = 24
/** Dials without an endpoint that show that it is not chosen any more: by chance alone one in a thousand million. */
const dialsWithout = 30

const octets = (index: number) => `${(index >> 8) & 255}.${index & 255}`

const toService = (name: string, clusterIP?: string) => ({
  ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default' } },
  // No selector: the slices are written here.
  spec: { ...(clusterIP && { clusterIP }), ports: [{ name: 'p', port: 80, targetPort: 8080 }] },
})

const toSlice = (name: string, service: string, addresses: readonly string[], port: number) => ({
  ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
  metadata: { name, namespace: 'default', labels: { [serviceNameLabel]: service } },
  ports: [{ name: 'p', port, protocol: 'TCP' }],
  endpoints: addresses.map(address => ({ addresses: [address], conditions: { ready: true } })),
})

/** Idle Services with the numbers `from` to `to` and their slices, some at a time. */
export const fillCluster = async ({ send }: ControlPlane, from: number, to: number): Promise<void> => {
  const left = Array.from({ length: to - from }, (_, index) => from + index).values()
  const work = async () => {
    for (const index of left) {
      const name = `bulk-${index}`
      await send('POST', `${core}/services`, toService(name))
      const addresses = [`10.200.${octets(index)}`, `10.201.${octets(index)}`]
      await send('POST', `${discovery}/endpointslices`, toSlice(`${name}-a`, name, addresses, 8080))
    }
  }
  await Promise.all(Array.from({ length: inParallel }, work))
}

/** A client in the node's namespace. */
export interface Dialer {
  ask<T>(order: Order): Promise<T>
  close(): void
}

export const createDialer = async ({ netns }: ClusterNode): Promise<Dialer> => {
  const [program = '', ...args] = netns.wrap([process.execPath, join(import.meta.dirname, 'dialer.ts')])
  const endpoints = spawn(program, [...args, 'serve'], { stdio: ['ignore', 'ignore', 'inherit'] })
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  await Promise.all([once(endpoints, 'spawn'), once(child, 'spawn')])
  const waiting: ((answer: unknown) => void)[] = []
  createInterface({ input: child.stdout }).on('line', line => waiting.shift()?.(JSON.parse(line)))
  return {
    // One order at a time: answers come in the order of the questions only then.
    ask: <T>(order: Order) => {
      child.stdin.write(`${JSON.stringify(order)}\n`)
      return new Promise<T>(resolve => waiting.push(answer => resolve(answer as T)))
    },
    close: () => {
      child.kill('SIGKILL')
      endpoints.kill('SIGKILL')
    },
  }
}

const now = () => Number(process.hrtime.bigint()) / 1e6

const metrics = 'http://127.0.0.1:10249/metrics'
const firstSync = /^kubeproxy_sync_full_proxy_rules_duration_seconds_sum\{ip_family="IPv4"\} (\S+)$/m

/** Both sides serve it under kube-proxy's name; kube-proxy counts a sync a while after its rules answer. */
const firstSyncSeconds = (dialer: Dialer): Promise<number> =>
  waitFor(
    'the first sync to be counted',
    async () => Number(firstSync.exec(await dialer.ask<string>({ do: 'get', url: metrics }))?.[1]) || undefined,
    120_000,
  )

/** The Service that says when the first sync is done; made before any agent starts. */
const beacon = { name: 'beacon', clusterIP: '10.96.0.200' }
const toBeaconSlice = ({ address }: ClusterNode) => toSlice(`${beacon.name}-a`, beacon.name, [address], endpointPorts.a)

export const addBeacon = async ({ send }: ControlPlane, node: ClusterNode): Promise<void> => {
  await send('POST', `${core}/services`, toService(beacon.name, beacon.clusterIP))
  await send('POST', `${discovery}/endpointslices`, toBeaconSlice(node))
}

/** Makes the beacon lead to the endpoints of this node. */
export const moveBeacon = async ({ send }: ControlPlane, node: ClusterNode): Promise<void> => {
  await send('PUT', `${discovery}/endpointslices/${beacon.name}-a`, toBeaconSlice(node))
}

export interface Started {
  /** From the start of the agent's processes to the first answer through a Service. */
  readonly startMs: number
  /** Of it writing the rules, by the agent's own metric. */
  readonly firstSyncMs: number
}

/** Starts the agent and waits for the first answer. */
export const startAgent = async (node: ClusterNode, dialer: Dialer): Promise<Started> => {
  const began = now()
  await node.start()
  const answered = await dialer.ask<number>({ do: 'until', host: beacon.clusterIP, port: 80 })
  return {
    startMs: answered - began,
    firstSyncMs: (await firstSyncSeconds(dialer)) * 1000,
  }
}

/** One Service more, and then one of its two endpoints gone, so many times. */
export const changeServices = async (
  { send }: ControlPlane,
  node: ClusterNode,
  dialer: Dialer,
  rounds: number,
): Promise<{ readonly more: readonly number[]; readonly gone: readonly number[] }> => {
  const [more, gone]: [number[], number[]] = [[], []]
  for (let round = 0; round < rounds; round++) {
    const name = `probe-${node.agent}-${Math.round(now())}`
    const { spec } = JSON.parse(await send('POST', `${core}/services`, toService(name))) as { spec: { clusterIP: string } }
    const to = { host: spec.clusterIP, port: 80 }
    const created = now()
    await send('POST', `${discovery}/endpointslices`, toSlice(`${name}-a`, name, [node.address], endpointPorts.a))
    more.push((await dialer.ask<number>({ do: 'until', ...to })) - created)
    await send('POST', `${discovery}/endpointslices`, toSlice(`${name}-b`, name, [node.address], endpointPorts.b))
    await dialer.ask<number>({ do: 'until', ...to, name: 'b' })
    const deleted = now()
    await send('DELETE', `${discovery}/endpointslices/${name}-b`)
    gone.push(Math.max(0, (await dialer.ask<number>({ do: 'without', ...to, name: 'b', rounds: dialsWithout })) - deleted))
    await send('DELETE', `${core}/services/${name}`)
    await send('DELETE', `${discovery}/endpointslices/${name}-a`)
  }
  return { more, gone }
}

/** Connections that ended by a reset are tracked for 10 s: within two turns their ports would run out, and NAT search for free ones. */
const closedSeconds = 1

/**
 * New connections per second straight to an endpoint and through a Service, turn by turn; of each the best, since whatever else the
 * machine does only ever takes from it.
 */
export const compareRates = async (node: ClusterNode, dialer: Dialer, rounds: number, seconds: number) => {
  const [direct, through]: [number[], number[]] = [[], []]
  await node.netns.sysctl('net/netfilter/nf_conntrack_tcp_timeout_close', closedSeconds)
  const turn = async (host: string, port: number) => {
    await pause((closedSeconds + 1) * 1000)
    return dialer.ask<number>({ do: 'rate', host, port, seconds })
  }
  for (let round = 0; round < rounds; round++) {
    direct.push(await turn(node.address, endpointPorts.a))
    through.push(await turn(beacon.clusterIP, 80))
  }
  return { direct: Math.max(...direct), through: Math.max(...through) }
}

/** Requests while something happens to the agent. */
export const loadWhile = async (
  dialer: Dialer,
  perSecond: number,
  seconds: number,
  happen: () => Promise<void>,
): Promise<Load> => {
  const loading = dialer.ask<Load>({ do: 'load', host: beacon.clusterIP, port: 80, perSecond, seconds })
  await happen()
  return loading
}
