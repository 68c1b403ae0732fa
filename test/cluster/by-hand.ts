// A cluster to look at: `npm run cluster -- up` starts a control plane and two nodes and leaves them running, `kubectl ARGS` asks it,
// `node NAME COMMAND` runs a command in a node's network, `down` ends all of it. AGENT=kubelet makes it one of the Go programs.
// A process of its own keeps the cluster, since its programs are that process's children; what is known of it is in .cache/cluster.json.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { agent, type Cluster, createCluster } from '../support/cluster.ts'
import { waitFor } from '../support/wait.ts'

const cacheDir = join(import.meta.dirname, '../../.cache')
const stateFile = join(cacheDir, 'cluster.json')
const logFile = join(cacheDir, 'cluster.log')
const usage = 'usage: npm run cluster -- up | kubectl ARGS | node NAME COMMAND | down'
// The programs are built when they are not there yet.
const upLimitMs = 3_600_000
const downLimitMs = 120_000

interface State {
  readonly pid: number
  readonly kubeconfig: string
  /** What stands before a command that asks the apiserver, and before one in a node's network. */
  readonly kubectl: readonly string[]
  readonly nodes: Readonly<Record<string, readonly string[]>>
}

const say = (line: string) => process.stdout.write(`${line}\n`)

const toState = ({ controlPlane, nodes }: Cluster): State => ({
  pid: process.pid,
  kubeconfig: controlPlane.kubeconfig,
  kubectl: controlPlane.netns.wrap(controlPlane.kubectlArgv([])),
  nodes: Object.fromEntries(nodes.map(it => [it.name, it.netns.wrap([])])),
})

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** What runs now. @returns undefined when nothing does */
const readState = async (): Promise<State | undefined> => {
  const text = await readFile(stateFile, 'utf8').catch(() => undefined)
  const state = text === undefined ? undefined : (JSON.parse(text) as State)
  return state && isAlive(state.pid) ? state : undefined
}

/** Holds the cluster until it is told to end. */
const keep = async (): Promise<number> => {
  const asked = Promise.withResolvers<void>()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => asked.resolve())
  const cluster = await createCluster()
  try {
    await writeFile(stateFile, JSON.stringify(toState(cluster)), { mode: 0o600 })
    await asked.promise
  } finally {
    await rm(stateFile, { force: true })
    await cluster.close()
  }
  return 0
}

const up = async (): Promise<number> => {
  if (await readState()) {
    say('it is up already')
    return 0
  }
  await mkdir(dirname(stateFile), { recursive: true })
  await rm(stateFile, { force: true })
  const log = await open(logFile, 'w')
  const keeper = spawn(process.execPath, [import.meta.filename, 'keep'], { detached: true, stdio: ['ignore', log.fd, log.fd] })
  await log.close()
  const ended = once(keeper, 'exit').then(() => 'ended' as const)
  const state = await Promise.race([ended, waitFor('the cluster', readState, upLimitMs)])
  if (state === 'ended') {
    say(`it did not start:\n${await readFile(logFile, 'utf8')}`)
    return 1
  }
  keeper.unref()
  say(`two nodes of ${agent} are Ready; the administrator's kubeconfig, good in the control plane's network: ${state.kubeconfig}`)
  return 0
}

const down = async (): Promise<number> => {
  const state = await readState()
  if (state === undefined) {
    say('nothing is up')
    return 0
  }
  process.kill(state.pid, 'SIGTERM')
  await waitFor('the cluster to end', () => !isAlive(state.pid), downLimitMs)
  return 0
}

/** Runs a command of the cluster with this terminal. @returns its exit code */
const runIn = async (prefix: readonly string[], args: readonly string[]): Promise<number> => {
  const [program = '', ...rest] = [...prefix, ...args]
  const [code] = (await once(spawn(program, rest, { stdio: 'inherit' }), 'exit')) as [number | null]
  return code ?? 1
}

const main = async ([verb, ...args]: readonly string[]): Promise<number> => {
  if (verb === 'up') return up()
  if (verb === 'down') return down()
  if (verb === 'keep') return keep()
  const state = await readState()
  const [node = '', ...command] = args
  const prefix = verb === 'kubectl' ? state?.kubectl : verb === 'node' && command.length > 0 ? state?.nodes[node] : undefined
  if (prefix !== undefined) return runIn(prefix, verb === 'kubectl' ? args : command)
  say(state === undefined && (verb === 'kubectl' || verb === 'node') ? 'nothing is up: npm run cluster -- up' : usage)
  return 2
}

process.exit(await main(process.argv.slice(2)))
