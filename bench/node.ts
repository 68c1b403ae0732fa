// A node under measurement: an own network namespace, an own containerd, and an agent that runs the manifests of a folder.
// What is the same for both agents is here; nodelet-node.ts and kubelet-node.ts start the two.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readFile } from 'node:fs/promises'
import { Agent, type RequestOptions, request } from 'node:http'
import { json } from 'node:stream/consumers'
import type { Pod } from '../api/types.ts'
import { createContainerd, type TestContainerd } from '../test/support/containerd.ts'
import { busyboxImage, webImage } from '../test/support/images.ts'
import { createNetns, type Netns } from '../test/support/netns.ts'
import { waitFor } from '../test/support/wait.ts'
import { connectNode } from './alone.ts'

export interface Machine {
  readonly netns: Netns
  readonly containerd: TestContainerd
  /** The folder of manifests, which the agent watches. */
  readonly manifests: string
  readonly address: string
  /** Starts a program in the namespace; it ends with the machine. @returns its process id */
  start(name: string, argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<number>
  close(): Promise<void>
}

export interface Node extends Machine {
  readonly agent: 'nodelet' | 'kubelet'
  /** The pods as the agent reports them. */
  pods(): Promise<readonly Pod[]>
  /** The processes whose memory counts. */
  readonly pids: readonly number[]
}

export interface MachineOptions {
  /** The node's own address, one network for each node. */
  readonly address: string
  /** A network by Debian's bridge, host-local and portmap plugins; without it the agent brings its own. */
  readonly bridge?: string
}

const killed = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

/** A namespace with a containerd in it, and no agent yet. */
export const createMachine = async ({ address, bridge }: MachineOptions): Promise<Machine> => {
  const netns = await createNetns()
  await connectNode(netns, address)
  const images = [busyboxImage, webImage]
  const containerd = await createContainerd({ netns, images, ...(bridge !== undefined && { bridge }) })
  const manifests = `${containerd.dir}/manifests`
  await mkdir(manifests)
  const children: ChildProcess[] = []
  return {
    ...{ netns, containerd, manifests, address },
    start: async (name, argv, env = {}) => {
      const [program = '', ...args] = netns.wrap(argv)
      const log = await open(`${containerd.dir}/${name}.log`, 'a')
      // nsenter and bin/nodelet become the program itself: the process id is the program's.
      const child = spawn(program, args, { stdio: ['ignore', log.fd, log.fd], env: { ...process.env, ...env } })
      children.push(child)
      await Promise.all([once(child, 'spawn'), log.close()])
      return child.pid!
    },
    close: async () => {
      for (const child of children) await killed(child)
      await containerd.close()
      await netns.remove()
    },
  }
}

/** A connection that is kept, so that asking again costs both sides as little as can be. */
export const createAsk = (where: Pick<RequestOptions, 'socketPath' | 'host' | 'port'>) => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  return async <T>(path: string): Promise<T> => {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    request({ ...where, path, agent }, response => void (json(response) as Promise<T>).then(resolve, reject))
      .on('error', reject)
      .end()
    return promise
  }
}

/** Waits until the agent answers for its pods; when it does not, the error carries the end of its log. */
export const whenAnswering = async (node: Node): Promise<void> => {
  const log = `${node.containerd.dir}/${node.agent}.log`
  try {
    await waitFor(`${node.agent} to answer`, async () => Array.isArray(await node.pods()), 60_000)
  } catch (error) {
    throw new Error((await readFile(log, 'utf8')).split('\n').slice(-15).join('\n'), { cause: error })
  }
}
