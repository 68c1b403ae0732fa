// Both ends of test/support/traffic.ts as a test uses them: a server in a pod, run by the Node of this checkout, and callers in a
// network namespace that write down what went wrong.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Pod } from '../../api/types.ts'
import { systemExec } from '../../host/exec.ts'
import { busyboxImage } from './images.ts'
import type { Netns } from './netns.ts'

const script = join(import.meta.dirname, 'traffic.ts')

/** What of this machine the program needs inside a container: Node, its libraries, the script. */
const files = async (): Promise<readonly string[]> => {
  const { stdout } = await systemExec.run(['ldd', process.execPath])
  const libraries = [...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path = '']) => path)
  return [process.execPath, script, ...libraries]
}

/** Spec of a pod that runs the program: `serve 7000`. Ready as soon as its port, if any, is open. */
export const trafficPod = async (args: readonly string[], port?: number, hostPort?: number) => {
  const paths = await files()
  const readinessProbe = { tcpSocket: { port }, periodSeconds: 1 }
  return {
    terminationGracePeriodSeconds: 1,
    containers: [
      {
        name: 'traffic',
        image: busyboxImage,
        command: ['catatonit', '--', process.execPath, script, ...args],
        ...(port !== undefined && { readinessProbe }),
        ...(hostPort !== undefined && { ports: [{ containerPort: port, hostPort }] }),
        volumeMounts: paths.map((mountPath, index) => ({ name: `f${index}`, mountPath, readOnly: true })),
      },
    ],
    volumes: paths.map((path, index) => ({ name: `f${index}`, hostPath: { path, type: 'File' } })),
  }
}

export interface Caller {
  /** What went wrong so far. */
  readonly problems: readonly string[]
  /** Ends it. @returns the number of good answers */
  stop(): Promise<number>
}

/** Starts `stream` or `knock` in a namespace; resolves when it is under way. */
export const call = async (netns: Netns, mode: 'stream' | 'knock', address: string, port: number): Promise<Caller> => {
  const [command = '', ...args] = netns.wrap([process.execPath, script, mode, address, String(port)])
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const problems: string[] = []
  let good = 0
  const lines = createInterface({ input: child.stdout })
  const started = once(lines, 'line')
  lines.on('line', line => {
    const [word, count] = line.split(' ')
    if (word === 'done') good = Number(count)
    else if (word !== 'connected' && word !== 'knocking') problems.push(line)
  })
  await started
  return {
    problems,
    stop: async () => {
      child.kill('SIGTERM')
      await ended
      return good
    },
  }
}

/** What `stream` in a pod has printed so far. */
export const streamLog = (podLogs: string, { metadata: { namespace, name, uid } }: Pod): Promise<string> =>
  readFile(join(podLogs, `${namespace}_${name}_${uid}`, 'traffic', '0.log'), 'utf8')
