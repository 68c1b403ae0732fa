// A node as its user has it: the real daemon (`bin/nodelet agent`) with files of configuration, a containerd of its own and a network
// namespace of its own, a folder of manifests in front. What a test learns of it comes by the ways a user has: the socket, the command
// line, files, packets. `close` leaves nothing.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { KubeObject, List, Problem } from '../../agent/server/wire.ts'
import type { ContainerStatus } from '../../api/pod-status.ts'
import type { Pod } from '../../api/types.ts'
import { createDaemon } from '../../cli/socket.ts'
import { type RunResult, systemExec } from '../../host/exec.ts'
import { isFault } from '../../host/fault.ts'
import { type ContainerdOptions, createContainerd, type TestContainerd } from './containerd.ts'
import { createNetns, type Netns } from './netns.ts'
import { waitFor } from './wait.ts'

const program = join(import.meta.dirname, '../../bin/nodelet')

/** The node's own address, and its name. */
export const nodeIP = '192.0.2.1'
export const nodeName = 'n1'

export interface NodeOptions {
  /** Fields of KubeletConfiguration over the test's own. */
  readonly config?: Readonly<Record<string, unknown>>
  /** Fields of NodeletConfiguration over the test's own. */
  readonly nodelet?: Readonly<Record<string, unknown>>
  readonly containerd?: Omit<ContainerdOptions, 'netns'>
  /** More variables for the daemon; `PATH` goes before its own. */
  readonly env?: Readonly<Record<string, string>>
  /** Called before the daemon starts, with the folder of the node. */
  readonly prepare?: (dir: string) => Promise<void>
}

export interface TestNode {
  readonly dir: string
  readonly manifests: string
  readonly podLogs: string
  readonly rootDir: string
  readonly socket: string
  readonly netns: Netns
  readonly containerd: TestContainerd
  /** The daemon's process; undefined while it does not run. */
  readonly pid: number | undefined
  /** Puts a file into the folder as an editor does: written aside, then renamed. Objects become JSON, several of them a List. */
  write(name: string, content: string | object | readonly object[]): Promise<void>
  remove(name: string): Promise<void>
  /** The pod with its status; undefined when the daemon has none of that name. */
  pod(name: string): Promise<Pod | undefined>
  list<T extends KubeObject>(path: string): Promise<readonly T[]>
  problems(): Promise<readonly Problem[]>
  /** Asks until the pod is as wanted, and returns it then. `gone`: until there is none. */
  until(name: string, wanted: (pod: Pod) => unknown, timeoutMs?: number): Promise<Pod>
  gone(name: string, timeoutMs?: number): Promise<void>
  /** Runs a program in a container and returns what it printed. @throws when it fails */
  exec(pod: string, argv: readonly string[], container?: string): Promise<string>
  /** The same, whatever its exit code is. */
  tryExec(pod: string, argv: readonly string[], container?: string): Promise<RunResult>
  /** `nodelet …` with the node's socket. */
  cli(argv: readonly string[], input?: string): Promise<RunResult>
  /** A request from the node's namespace: the body, without the newline at its end. @throws when nobody answers */
  curl(url: string, ...options: readonly string[]): Promise<string>
  /** What the daemon has logged since the node was made. */
  log(): Promise<string>
  /** The messages of its log, without their fields. */
  messages(): Promise<readonly string[]>
  start(): Promise<void>
  /** SIGTERM, and waits until it has ended. */
  stop(): Promise<void>
  kill9(): Promise<void>
  /** `nodelet agent --cleanup` with the daemon's configuration. */
  cleanup(): Promise<RunResult>
  close(): Promise<void>
}

const toText = (fields: object) => JSON.stringify(fields, null, 1)

/** A default route that leads nowhere: without any route the kernel refuses a Service's address before it looks at the rules. */
export const addUplink = async (netns: Netns) => {
  const lines = [
    'link add uplink0 type veth peer name uplink1',
    `addr add ${nodeIP}/24 dev uplink0`,
    'link set uplink0 up',
    'link set uplink1 up',
    'route add default via 192.0.2.254 dev uplink0',
  ]
  await netns.run(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` })
}

const toManifest = (content: string | object | readonly object[]): string => {
  if (typeof content === 'string') return content
  return toText(Array.isArray(content) ? { apiVersion: 'v1', kind: 'List', items: content } : content)
}

const configFiles = (dir: string, containerd: TestContainerd, { config, nodelet }: NodeOptions) => ({
  'kubelet.json': {
    ...{ apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration' },
    ...{ staticPodPath: `${dir}/manifests`, containerRuntimeEndpoint: containerd.endpoint, podLogsDir: `${dir}/logs` },
    ...{ cgroupRoot: containerd.cgroupParent, cgroupDriver: 'cgroupfs' },
    ...config,
  },
  'nodelet.json': {
    ...{ apiVersion: 'nodelet.dev/v1alpha1', kind: 'NodeletConfiguration' },
    ...{ socket: `${dir}/nodelet.sock`, stateDir: `${dir}/state` },
    cni: { mode: 'enabled', binDir: containerd.cniBin, confDir: containerd.cniConf },
    ...nodelet,
  },
})

/** The status of a container of any kind. */
export const statusOf = ({ status }: Pod, container?: string): ContainerStatus | undefined => {
  const all = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
  return container === undefined ? status?.containerStatuses?.[0] : all.find(it => it.name === container)
}

export const isReady = ({ status }: Pod): boolean =>
  status?.conditions?.some(it => it.type === 'Ready' && it.status === 'True') === true

/** What a container waits for, as `kubectl get` would show it. */
export const waitingReason = (pod: Pod, container?: string): string | undefined =>
  statusOf(pod, container)?.state?.waiting?.reason

const idOf = (pod: Pod, container: string | undefined): string =>
  statusOf(pod, container)?.containerID?.replace('containerd://', '') ?? ''

/** Starts a node with an empty folder of manifests, and waits until its socket answers. */
export const createNode = async (options: NodeOptions = {}): Promise<TestNode> => {
  const netns = await createNetns()
  const undo: (() => Promise<unknown>)[] = [() => netns.remove()]
  const close = async () => {
    for (const step of undo.splice(0).reverse()) await step()
  }
  try {
    await addUplink(netns)
    const containerd = await createContainerd({ ...options.containerd, netns })
    undo.push(() => containerd.close())
    // Our plugin must do without Debian's.
    await rm(join(containerd.cniBin, 'loopback'), { force: true })
    const node = await createDaemonOn(netns, containerd, options)
    undo.push(() => node.kill9())
    await options.prepare?.(node.dir)
    await node.start()
    // The getters must stay getters.
    return Object.defineProperties({ close } as TestNode, Object.getOwnPropertyDescriptors(node))
  } catch (error) {
    await close()
    throw error
  }
}

const createDaemonOn = async (netns: Netns, containerd: TestContainerd, options: NodeOptions) => {
  const dir = `${containerd.dir}/node`
  const files = configFiles(dir, containerd, options)
  const { socket } = files['nodelet.json']
  for (const folder of ['manifests', 'logs']) await mkdir(join(dir, folder), { recursive: true })
  for (const [name, fields] of Object.entries(files)) await writeFile(join(dir, name), toText(fields))
  const daemon = createDaemon(socket)
  const { cri } = containerd
  const { PATH: before, ...more } = options.env ?? {}
  const env = { ...process.env, ...more, PATH: before === undefined ? process.env['PATH'] : `${before}:${process.env['PATH']}` }
  const flags = [
    ...['--config', `${dir}/kubelet.json`, '--nodelet-config', `${dir}/nodelet.json`],
    ...['--hostname-override', nodeName, '--root-dir', `${dir}/kubelet`, '--v', '2'],
  ]
  let child: ChildProcess | undefined

  const log = () => readFile(`${dir}/daemon.log`, 'utf8')
  const toMessage = (line: string) => (line.startsWith('{') ? (JSON.parse(line) as { msg: string }).msg : line)
  const messages = async () => (await log()).split('\n').slice(0, -1).map(toMessage)
  const end = async (signal: 'SIGTERM' | 'SIGKILL') => {
    const ending = child
    child = undefined
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return
    ending.kill(signal)
    await once(ending, 'exit')
  }
  const start = async () => {
    const [command = '', ...args] = netns.wrap([program, 'agent', ...flags])
    const file = await open(`${dir}/daemon.log`, 'a')
    const started = spawn(command, args, { stdio: ['ignore', file.fd, file.fd], env })
    child = started
    await file.close()
    const ended = once(started, 'exit').then(async () => Promise.reject(new Error(`the daemon has ended:\n${await log()}`)))
    ended.catch(() => undefined)
    await Promise.race([ended, waitFor('the daemon to answer', () => daemon.text('/healthz'))])
  }
  const pod = async (name: string) =>
    daemon.json<Pod>(`/v1/pods/default/${name}`).catch(error => {
      if (isFault(error, 'not-found')) return undefined
      throw error
    })
  const until = async (name: string, wanted: (pod: Pod) => unknown, timeoutMs = 20_000) => {
    let last: Pod | undefined
    const check = async () => {
      last = await pod(name)
      return last !== undefined && wanted(last) ? last : undefined
    }
    return waitFor(`pod ${name} (${wanted})`, check, timeoutMs).catch(async error => {
      const why = await daemon.text(`/v1/pods/default/${name}/timeline`).catch(() => '')
      throw new Error(`${error.message}\n${JSON.stringify(last?.status, null, 1)}\n${why}`, { cause: error.cause })
    })
  }
  const tryExec = async (name: string, argv: readonly string[], container?: string): Promise<RunResult> => {
    const found = await pod(name)
    if (found === undefined) throw new Error(`there is no pod ${name}`)
    const { exitCode, stdout, stderr } = await cri.execSync(idOf(found, container), argv, 20)
    return { exitCode, stdout: String(stdout), stderr: String(stderr) }
  }
  return {
    ...{ dir, socket, netns, containerd, start, log, messages, pod, until, tryExec },
    ...{ manifests: `${dir}/manifests`, podLogs: `${dir}/logs`, rootDir: `${dir}/kubelet` },
    get pid() {
      return child?.pid
    },
    write: async (name: string, content: string | object | readonly object[]) => {
      await writeFile(join(dir, 'manifests', `.${name}`), toManifest(content))
      await rename(join(dir, 'manifests', `.${name}`), join(dir, 'manifests', name))
    },
    remove: (name: string) => rm(join(dir, 'manifests', name)),
    list: async <T extends KubeObject>(path: string) => (await daemon.json<List<T>>(path)).items,
    problems: async () => (await daemon.json<{ items: readonly Problem[] }>('/v1/problems')).items,
    gone: async (name: string, timeoutMs = 20_000) =>
      void (await waitFor(`pod ${name} to be gone`, async () => (await pod(name)) === undefined, timeoutMs)),
    exec: async (name: string, argv: readonly string[], container?: string) => {
      const { exitCode, stdout, stderr } = await tryExec(name, argv, container)
      if (exitCode !== 0) throw new Error(`${argv.join(' ')}: exit code ${exitCode}: ${stdout}${stderr}`)
      return stdout.trimEnd()
    },
    cli: ([command = '', ...args]: readonly string[], input?: string) =>
      systemExec.try([program, command, '--socket', socket, ...args], input === undefined ? {} : { input }),
    curl: async (url: string, ...more: readonly string[]) =>
      (await netns.run(['curl', '-sS', '--fail', '--noproxy', '*', '--max-time', '5', ...more, url])).stdout.trimEnd(),
    stop: () => end('SIGTERM'),
    kill9: () => end('SIGKILL'),
    cleanup: () => systemExec.try(netns.wrap([program, 'agent', '--cleanup', ...flags]), { timeoutMs: 120_000 }),
  }
}
