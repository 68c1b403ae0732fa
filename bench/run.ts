// Runs the benchmarks: `npm run bench [name]`. One bench/*.bench.ts after the other, each a process that prints its figures as JSON
// lines; then the table. A run of all of them writes docs/benchmarks.md. The exit code is 1 when a figure is not what it must be.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { glob, readFile, writeFile } from 'node:fs/promises'
import { cpus, release as kernel, totalmem } from 'node:os'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { systemExec } from '../host/exec.ts'
import { release } from '../test/support/peers.ts'
import { type Figure, isFigure, isMet } from './figure.ts'
import { toTable } from './table.ts'

const root = join(import.meta.dirname, '..')
const page = 'docs/benchmarks.md'

const say = (line: string) => process.stdout.write(`${line}\n`)

/** Runs one benchmark to its end. @returns its figures, and whether it ended well */
const runBenchmark = async (path: string): Promise<{ figures: readonly Figure[]; done: boolean }> => {
  const child = spawn(process.execPath, [join(root, path)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit') as Promise<[number | null]>
  const figures: Figure[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    say(line)
    const value = line.startsWith('{') ? (JSON.parse(line) as object) : {}
    if (isFigure(value)) figures.push(value)
  }
  const [code] = await ended
  return { figures, done: code === 0 && figures.length > 0 }
}

const versionOf = async (argv: readonly string[], pattern: RegExp): Promise<string> =>
  pattern.exec((await systemExec.try(argv).catch(() => ({ stdout: '' }))).stdout)?.[1] ?? 'unknown'

/** What the figures were measured on, a line. */
const describeMachine = async (): Promise<string> => {
  const [cpu] = cpus()
  const debian = (await readFile('/etc/debian_version', 'utf8').catch(() => 'unknown')).trim()
  const containerd = await versionOf(['containerd', '--version'], / (\d\S*) /)
  const runc = await versionOf(['runc', '--version'], /version (\S+)/)
  const nft = await versionOf(['nft', '--version'], /v(\S+)/)
  const size = `${cpus().length} cores of ${cpu?.model.trim() ?? 'an unknown kind'}, ${Math.round(totalmem() / 2 ** 30)} GiB`
  return `${size}; Debian ${debian}, kernel ${kernel()}; containerd ${containerd}, runc ${runc}, nft ${nft}; Node ${process.versions.node}; Kubernetes ${release}`
}

const toPage = (table: string, machine: string): string => `# Benchmarks

\`npm run bench\` writes this page; \`npm run bench NAME\` runs one of \`bench/*.bench.ts\` and only prints.

## Method

- Ours and theirs are measured in the same run, turn by turn, the same way from outside, and each figure is the median. What counts is
  the ratio: both sides suffer alike from whatever else the machine does.
- Ours is what a release carries: \`bin/nodelet\`, the bundle, and Node. Theirs are Debian's CNI plugins, and kubelet, kube-proxy and
  kube-apiserver ${release} built from their Go module.
- Each node is a network namespace with a containerd of its own, the same images, and nothing to pull.
- Pods from a folder: the kubelet runs standalone on static pods, with Debian's bridge, host-local and portmap plugins as pod network; the daemon runs the
  same pods from its folder with its own plugin. Without an apiserver neither side has anybody to report to.
- Ready is what the agent itself reports (the kubelet's read-only port, the daemon's socket), asked every 5 ms; everything else is what
  the CRI shows. "The CRI calls alone" is the same pod by RunPodSandbox, CreateContainer and StartContainer with nobody in between: what
  no agent can be faster than.
- Memory is the RSS in /proc a minute after the last change, with the peers' added up. kube-proxy is fed by a kube-apiserver with the
  same Services and endpoints.
- Pods of a cluster: etcd, kube-apiserver, controller-manager and scheduler in a namespace of their own, beside it a node of each side
  with credentials from kubeadm. Pods are bound to their node when they are created, have one pause container and the token volume that
  every pod has; when something was seen is when a watch of the apiserver (\`kubectl get --raw\`) told of it. Requests are counted in the
  apiserver's audit log by the node's address; Leases and the Node's own status are left out.
- A node joins: its Node is deleted before each start. Processor time and memory in a cluster count the agent and every program that it
  started, on both sides in the same minutes; containerd counts on neither.
- Services by the thousand: Services without selectors and their EndpointSlices are put into that cluster while both agents are stopped,
  then the nodes are measured one after the other, each by a client in its own network namespace. The first sync is what the agent's
  metric \`kubeproxy_sync_full_proxy_rules_duration_seconds\` says, which both have. One more: from the moment before its EndpointSlice is
  posted to the first connection. Gone: from the moment before a slice is deleted to the last connection that its endpoint took. Loads of
  more than that, and the event loop's delay, are measured on the proxy alone in its own process, with a real nft.

## Figures

Measured on ${machine}.

${table}
`

const main = async ([filter = '']: readonly string[]): Promise<number> => {
  const paths = (await Array.fromAsync(glob('bench/*.bench.ts', { cwd: root }))).sort()
  const wanted = paths.filter(path => basename(path).includes(filter))
  if (wanted.length === 0) {
    say(`usage: npm run bench [${paths.map(path => basename(path, '.bench.ts')).join('|')}]`)
    return 2
  }
  const figures: Figure[] = []
  const broken: string[] = []
  for (const path of wanted) {
    say(`# ${path}`)
    const result = await runBenchmark(path)
    figures.push(...result.figures)
    if (!result.done) broken.push(path)
  }
  const table = toTable(figures)
  say(`\n${table}`)
  for (const path of broken) say(`${path} did not end well`)
  if (filter === '' && broken.length === 0) await writeFile(join(root, page), toPage(table, await describeMachine()))
  return broken.length > 0 || figures.some(it => isMet(it) === false) ? 1 : 0
}

process.exitCode = await main(process.argv.slice(2))
