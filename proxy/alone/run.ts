// `nodelet proxy`: kube-proxy's place, without the agent. Watches Services, EndpointSlices and its own Node, and routes.
// Crash-only: a signal stops the program and nothing else; the rules stay and keep routing, the next start takes them over.
// Follows kube-proxy 1.36: selectors of its watches, hostname override, what is waited for, what ends it.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LoadedProxyConfig, loadProxyConfig, type ProxyConfig } from '../../api/config/proxy-config.ts'
import { endpointSlices, nodes, services } from '../../api/kube/api.ts'
import { createKubeClient, type KubeClient } from '../../api/kube/client.ts'
import { readKubeconfig } from '../../api/kube/kubeconfig.ts'
import { createReflector } from '../../api/kube/reflector.ts'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { nodeAddresses } from '../../host/addresses.ts'
import { systemClock as clock, holdProcess } from '../../host/clock.ts'
import { systemExec as exec } from '../../host/exec.ts'
import { describe, Fault } from '../../host/fault.ts'
import { writeFileAtomic } from '../../host/files.ts'
import { adjustOwnOomScore } from '../../host/kernel-setting.ts'
import { createLog, type Log } from '../../host/log.ts'
import { toConfigFile } from '../face/configz.ts'
import { serveProxy } from '../face/served.ts'
import { limitConntrack } from '../limits.ts'
import { cleanupProxy, createProxy, type Proxy as ServiceProxy } from '../main.ts'
import { nodeIPsOf, type ProxyNode, podCIDRsOf, zoneOf } from '../node.ts'
import { defaultSettings, servesLoopback, toProxySettings } from '../settings.ts'
import { prepareSysctls } from '../sysctls.ts'
import { watchConfig } from './config-watch.ts'
import { createRecorder } from './events.ts'
import { writeInClusterKubeconfig } from './in-cluster.ts'
import { whenNodeIsKnown } from './own-node.ts'
import { openProxySocket } from './socket.ts'

// Services that another program routes, and headless ones, which names lead to: kube-proxy's own selectors.
const notOthers = '!service.kubernetes.io/service-proxy-name'
const notHeadless = '!service.kubernetes.io/headless'

/** The name of this machine's Node. @throws Fault `bad-config` when there is none */
export const toNodeName = (override: string, host: string): string => {
  const name = (override || host).trim().toLowerCase()
  if (name === '') throw new Fault('bad-config', 'hostnameOverride: required: this machine has no name', { retry: 'never' })
  return name
}

const watchCluster = (client: KubeClient, nodeName: string, log: Log) => ({
  services: createReflector<Service>({
    ...{ client, resource: services, clock, log },
    labelSelector: notOthers,
    fieldSelector: 'spec.clusterIP!=None',
  }),
  endpointSlices: createReflector<EndpointSlice>({
    ...{ client, resource: endpointSlices, clock, log },
    labelSelector: `${notOthers},${notHeadless}`,
  }),
  nodes: createReflector<ProxyNode>({
    ...{ client, resource: nodes, clock, log },
    fieldSelector: `metadata.name=${nodeName}`,
  }),
})

type Watches = ReturnType<typeof watchCluster>

/** What the rules depend on besides Services: the configuration, and the Node as it is now. */
const judgedBy = (config: ProxyConfig, node: ProxyNode | undefined, own: readonly string[]) => {
  const told = nodeIPsOf(node)
  const settings = toProxySettings(config, { nodeIPs: told.length > 0 ? told : own, podCIDRs: podCIDRsOf(node) })
  return { settings, zone: zoneOf(node) }
}

/** Hands the Node's changes on to the proxy, as far as the rules depend on them. @returns how to stop */
const followNode = (
  nodes: Watches['nodes'],
  proxy: Pick<ServiceProxy, 'setNode'>,
  judge: (node: ProxyNode) => ReturnType<typeof judgedBy>,
  before: ReturnType<typeof judgedBy>,
) => {
  let known = JSON.stringify(before)
  return nodes.subscribe({
    changed: (_, node) => {
      if (node === undefined) return
      const { settings, zone } = judge(node)
      const next = JSON.stringify({ settings, zone })
      if (next !== known) proxy.setNode({ ...settings, zone })
      known = next
    },
  })
}

interface Routing {
  readonly config: ProxyConfig
  /** Where trace and diff ask. */
  readonly socket: string
  readonly client: KubeClient
  readonly log: Log
}

/** Routes until the signal. @throws Fault when it cannot begin, or a server must listen and cannot */
const route = async ({ config, socket: path, client, log }: Routing, signal: AbortSignal): Promise<void> => {
  const nodeName = toNodeName(config.hostnameOverride, hostname())
  await adjustOwnOomScore(config.oomScoreAdj, log)
  const watches = watchCluster(client, nodeName, log.child({ part: 'apiserver' }))
  const own = await nodeAddresses()
  const nodeNow = () => watches.nodes.get('', nodeName)
  const record = createRecorder({ client, nodeName, clock, log })
  try {
    await whenNodeIsKnown({ nodes: watches.nodes, nodeName, config, clock, log }, signal)
    if (signal.aborted) return
    const { services, endpointSlices } = watches
    const judge = (node: ProxyNode | undefined) => judgedBy(config, node, own)
    const before = judge(nodeNow())
    const proxy = await createProxy({
      ...{ services, endpointSlices, nodeName, mode: config.mode, ipvs: config.ipvs, exec, clock, log },
      ...before,
    })
    const failed = Promise.withResolvers<never>()
    // It may fail before anybody waits for it.
    failed.promise.catch(() => undefined)
    const served = await serveProxy(proxy, {
      ...{ config, nodeName, services, endpointSlices, node: nodeNow, onEvent: record, clock, log },
      onHardFail: failed.reject,
    })
    const socket = await openProxySocket({ path, proxy, log })
    const unfollow = followNode(watches.nodes, proxy, judge, before)
    record({ kind: 'Node', name: nodeName, reason: 'Starting', message: '' }, 'Normal')
    const stopped = new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
    try {
      await Promise.race([stopped, failed.promise])
    } finally {
      unfollow()
      await socket.close()
      await served.stop()
    }
  } finally {
    for (const watch of Object.values(watches)) watch.stop()
  }
}

/** Connects and routes. @returns the exit code: a configuration that has changed ends it with 1, as it ends kube-proxy */
const runUntilStopped = async ({ config, master, file, socket }: LoadedProxyConfig, log: Log): Promise<number> => {
  const stopping = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stopping.abort())
  process.on('unhandledRejection', error => log.error({ err: error }, `a failure that nobody handled: ${describe(error)}`))
  const folder = await mkdtemp(join(tmpdir(), 'nodelet-proxy-'))
  let client: KubeClient | undefined
  let changed = false
  const onChange = () => {
    log.info({ file }, 'the configuration has changed: stopping, to be started with the new one; the rules keep routing')
    changed = true
    stopping.abort()
  }
  const unwatch = file === undefined ? () => undefined : await watchConfig(file, onChange, log)
  try {
    const kubeconfig = config.clientConnection.kubeconfig || (await writeInClusterKubeconfig(folder))
    const { server } = await readKubeconfig(kubeconfig)
    client = createKubeClient({ kubeconfig, ...(master !== undefined && { server: master }), exec, clock, log })
    log.info({ server: master ?? server, mode: config.mode }, 'routing the Services of this cluster')
    await route({ config, socket, client, log }, stopping.signal)
    if (!changed) log.info({}, 'stopped; the rules stay and keep routing')
    return changed ? 1 : 0
  } finally {
    unwatch()
    client?.close()
    await rm(folder, { recursive: true, force: true })
  }
}

const createOwnLog = ({ logging: { format }, verbosity }: ProxyConfig): Log => {
  const human = format === '' ? process.stderr.isTTY : format === 'text'
  return createLog({ verbosity, human, write: line => void process.stderr.write(line) })
}

/** Does what the flags ask for. @returns the exit code @throws Fault `bad-config`, `unsupported`, ... when it cannot begin */
export const run = async (argv: readonly string[]): Promise<number> => {
  const loaded = await loadProxyConfig(argv, file => readFile(file, 'utf8'))
  const { config, writeConfigTo, warnings } = loaded
  if (writeConfigTo !== undefined) {
    await writeFileAtomic(writeConfigTo, toConfigFile(config), { mode: 0o644 })
    return 0
  }
  if (process.getuid?.() !== 0)
    throw new Fault('unsupported', "needs root: it writes the kernel's rules and settings", { retry: 'never' })
  if (loaded.cleanup) {
    for (const removed of await cleanupProxy({ exec })) process.stdout.write(`${removed}\n`)
    return 0
  }
  const log = createOwnLog(config)
  for (const warning of warnings) log.warn({}, warning)
  if (loaded.initOnly) {
    await limitConntrack(config.conntrack, log)
    const settings = { ...defaultSettings, ...toProxySettings(config, { nodeIPs: await nodeAddresses(), podCIDRs: [] }) }
    await prepareSysctls({ exec, log, servesLoopback: servesLoopback(settings) })
    return 0
  }
  const held = holdProcess()
  try {
    return await runUntilStopped(loaded, log)
  } finally {
    held.cancel()
  }
}
