// A node of a cluster as kubeadm join leaves one: a namespace on the control plane's fabric, a containerd, credentials and configuration,
// and the agent that runs it. It can lose its agent or be rebooted; `close` leaves nothing.
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { removeCgroups, unmountBelow } from './clean.ts'
import { type Agent, agentCommands, type NodeFacts, nodeFiles } from './cluster-files.ts'
import { createContainerd, type TestContainerd, writeConflist } from './containerd.ts'
import type { ControlPlane } from './control-plane.ts'
import { busyboxImage, importArchives, webImage } from './images.ts'
import { makeCgroupRoot } from './kubelet.ts'
import type { Netns } from './netns.ts'
import { peer } from './peers.ts'
import { type Program, startProgram } from './programs.ts'
import { waitFor } from './wait.ts'

export interface ClusterNodeOptions {
  readonly controlPlane: ControlPlane
  readonly name: string
  /** The last number of its address on the fabric. */
  readonly host: number
  readonly agent: Agent
  /** Another program than this checkout's bin/nodelet. */
  readonly nodelet?: string
  readonly images?: readonly string[]
  /** Archives of more images. */
  readonly archives?: readonly string[]
  /** Fields of KubeletConfiguration over the usual ones. */
  readonly config?: Readonly<Record<string, unknown>>
  /** The mode of Services; SERVICE_MODE names it for all nodes of a test. */
  readonly serviceMode?: string
  /** Called with the node's folder before the agent starts for the first time. */
  readonly prepare?: (dir: string) => Promise<void>
}

export interface ClusterNode {
  readonly name: string
  readonly address: string
  readonly agent: Agent
  readonly dir: string
  /** Of its static pods. */
  readonly manifests: string
  readonly netns: Netns
  readonly containerd: TestContainerd
  /** The processes of the agent that run now. */
  readonly pids: readonly number[]
  /** Starts the agent; does not wait for anything. */
  start(): Promise<void>
  /** SIGTERM, and waits until it has ended. */
  stop(): Promise<void>
  kill9(): Promise<void>
  /** Ends the agent in order and starts the other one on what it leaves. */
  handOver(to: Agent): Promise<void>
  /** Ends everything, pods included, at once; builds the host anew and starts containerd and agent. Disks stay, /run does not. */
  reboot(): Promise<void>
  /** Waits until the apiserver says that it is Ready. @returns milliseconds from the agent's last start */
  whenReady(timeoutMs?: number): Promise<number>
  /** What its agent has logged. */
  log(): Promise<string>
  close(): Promise<void>
}

interface NodeObject {
  readonly spec: { readonly podCIDR?: string }
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] }
}

/** Files and credentials of the node's folder. */
const prepareFolder = async (facts: NodeFacts, { controlPlane, config }: ClusterNodeOptions): Promise<void> => {
  const { name, dir } = facts
  for (const folder of ['manifests', 'logs', 'kubelet/pki']) await mkdir(`${dir}/${folder}`, { recursive: true })
  for (const [file, fields] of Object.entries(nodeFiles(facts, config))) {
    await writeFile(`${dir}/${file}`, JSON.stringify(fields, null, 1))
  }
  const identities = {
    'kubelet.conf': { user: `system:node:${name}`, groups: ['system:nodes'] },
    'kube-proxy.conf': { user: 'system:kube-proxy' },
  }
  for (const [file, identity] of Object.entries(identities)) {
    await copyFile(await controlPlane.credentials(identity), `${dir}/${file}`)
  }
}

/** What no agent of the Go project does by itself: Debian's plugins get the range, the others a route to it. */
const connectPods = async (netns: Netns, dir: string, own: string, others: readonly (readonly [string, string])[]) => {
  await writeConflist(dir, own)
  for (const [range, via] of others) await netns.run(['ip', 'route', 'replace', range, 'via', via])
}

/** A node without an agent yet: `start` begins with it. */
export const createClusterNode = async (options: ClusterNodeOptions): Promise<ClusterNode> => {
  const { controlPlane, name, host, agent, images = [busyboxImage, webImage], archives = [], prepare } = options
  const { fabric } = controlPlane
  const address = fabric.address(host)
  const netns = await fabric.host(host)
  const containerd = await createContainerd({ netns, images, hostname: name, ...(agent === 'kubelet' && { bridge: 'later' }) })
  await importArchives(containerd.socket, archives)
  // Our plugin must do without Debian's.
  if (agent === 'nodelet') await rm(`${containerd.cniBin}/loopback`, { force: true })
  const dir = `${containerd.dir}/node`
  const { endpoint, cgroupParent, cniBin, cniConf } = containerd
  const clientCa = controlPlane.ca.certificate
  const serviceMode = options.serviceMode ?? process.env['SERVICE_MODE']
  const facts: NodeFacts = { name, address, dir, endpoint, cgroupRoot: cgroupParent, clientCa, cniBin, cniConf, serviceMode }
  await prepareFolder(facts, options)
  await prepare?.(dir)
  const commandsOf = async (who: Agent) => {
    const programs = who === 'kubelet' ? { kubelet: await peer('kubelet'), kubeProxy: await peer('kube-proxy') } : undefined
    return agentCommands(who, facts, programs ?? { kubelet: '', kubeProxy: '', nodelet: options.nodelet })
  }
  let current = agent
  let commands = await commandsOf(agent)
  let running: readonly Program[] = []
  let startedAt = 0

  const ask = () => controlPlane.get<NodeObject>(`/api/v1/nodes/${name}`)
  const isReady = ({ status }: NodeObject) => status?.conditions?.some(it => it.type === 'Ready' && it.status === 'True')
  const start = async () => {
    startedAt = performance.now()
    if (current === 'kubelet') await makeCgroupRoot(cgroupParent)
    const starting = Object.entries(commands).map(([log, argv]) => startProgram({ netns, log: `${dir}/${log}.log`, argv }))
    running = await Promise.all(starting)
  }
  const end = async (signal: 'SIGTERM' | 'SIGKILL') => {
    for (const program of running) await program.end(signal)
    running = []
  }
  const log = async () => {
    const texts = Object.keys(commands).map(it => readFile(`${dir}/${it}.log`, 'utf8').catch(() => ''))
    return (await Promise.all(texts)).join('\n')
  }
  const whenReady = async (timeoutMs = 30_000) => {
    const wait = waitFor(`node ${name}`, async () => isReady(await ask()), timeoutMs)
    await wait.catch(async error => {
      throw new Error(`${error.message}\n${(await log()).split('\n').slice(-25).join('\n')}`, { cause: error.cause })
    })
    return performance.now() - startedAt
  }
  const reboot = async () => {
    // At once: nobody gets to say goodbye, and the agent sees none of it.
    for (const program of running.toReversed()) await program.end('SIGKILL')
    running = []
    await containerd.kill()
    await netns.remove()
    await removeCgroups(cgroupParent.slice(1))
    await unmountBelow(containerd.dir)
    for (const folder of ['state', 'ipam']) await rm(`${containerd.dir}/${folder}`, { recursive: true, force: true })
    await fabric.host(host, netns.name)
    await containerd.start()
    await start()
  }
  return {
    ...{ name, address, dir, manifests: `${dir}/manifests`, netns, containerd, start, log, whenReady, reboot },
    get agent() {
      return current
    },
    get pids() {
      return running.map(it => it.pid)
    },
    stop: () => end('SIGTERM'),
    kill9: () => end('SIGKILL'),
    handOver: async to => {
      await end('SIGTERM')
      current = to
      commands = await commandsOf(to)
      await start()
    },
    close: async () => {
      await end('SIGKILL')
      await containerd.close()
      await netns.remove()
    },
  }
}

/** Routes between pods of nodes that are run by the Go agent, and from the control plane's host, which runs no agent, to all pods. */
export const connectNodes = async (controlPlane: ControlPlane, nodes: readonly ClusterNode[]): Promise<void> => {
  const rangeOf = async ({ name }: ClusterNode) =>
    waitFor(
      `the pod range of ${name}`,
      async () => (await controlPlane.get<NodeObject>(`/api/v1/nodes/${name}`)).spec.podCIDR,
      30_000,
    )
  const ranges = await Promise.all(nodes.map(async it => [await rangeOf(it), it.address] as const))
  for (const [range, via] of ranges) await controlPlane.netns.run(['ip', 'route', 'replace', range, 'via', via])
  for (const [index, { agent, netns, containerd }] of nodes.entries()) {
    if (agent !== 'kubelet') continue
    const others = ranges.filter((_, at) => at !== index)
    await connectPods(netns, containerd.dir, ranges[index]![0], others)
  }
}
