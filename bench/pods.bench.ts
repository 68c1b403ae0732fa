// Pods from a folder: the daemon beside the Go kubelet, which runs standalone on static pods. Each node has a namespace and a
// containerd of its own with the same images; turn by turn; Ready is what the agent says, the rest is what the runtime shows.
// Prints figures; needs root, Debian's containerd and CNI plugins, and the kubelet (test/support/peers.ts).
import { rename, rm, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ContainerConfig, PodSandboxConfig } from '../api/cri/types.ts'
import type { Pod } from '../api/types.ts'
import { systemClock as clock } from '../host/clock.ts'
import { webImage } from '../test/support/images.ts'
import { alone } from './alone.ts'
import { median, print } from './figure.ts'
import { createKubeletNode } from './kubelet-node.ts'
import type { Node } from './node.ts'
import { createNodeletNode } from './nodelet-node.ts'

const rounds = 12
const pollMs = 5
// What an agent does after a pod is gone is not part of what comes next.
const settleMs = 1000
const patienceMs = 60_000

const until = async (what: string, check: () => Promise<boolean>): Promise<void> => {
  const deadline = clock.monotonic() + patienceMs
  while (!(await check())) {
    if (clock.monotonic() > deadline) throw new Error(`waited too long for ${what}`)
    await sleep(pollMs)
  }
}

/** `usual` has volumes, as every static pod that kubeadm writes has; the kubelet's own volume manager is part of its way to Ready. */
type Shape = 'usual' | 'bare' | 'probed'

const volumes = [
  { name: 'time', hostPath: { path: '/etc/localtime', type: '' } },
  { name: 'scratch', emptyDir: {} },
]
const mounts = [
  { name: 'time', mountPath: '/etc/localtime', readOnly: true },
  { name: 'scratch', mountPath: '/scratch' },
]

const manifest = (name: string, shape: Shape) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', labels: { app: name } },
  spec: {
    terminationGracePeriodSeconds: 5,
    ...(shape !== 'bare' && { volumes }),
    containers: [
      {
        ...{ name: 'web', image: webImage, imagePullPolicy: 'IfNotPresent' },
        ...(shape !== 'bare' && { volumeMounts: mounts }),
        ...(shape === 'probed' && { readinessProbe: { httpGet: { path: '/healthz', port: 80 }, periodSeconds: 1 } }),
      },
    ],
  },
})

const isReady = (pods: readonly Pod[], name: string): boolean =>
  pods.some(
    pod =>
      pod.metadata.name === `${name}-bench` && pod.status?.conditions?.some(it => it.type === 'Ready' && it.status === 'True'),
  )

const ofPod = (name: string) => ({ labelSelector: { 'io.kubernetes.pod.name': `${name}-bench` } })

const isSandboxUp = async ({ containerd }: Node, name: string): Promise<boolean> =>
  (await containerd.cri.listPodSandbox(ofPod(name))).some(it => it.state === 'SANDBOX_READY')

const runningContainer = async ({ containerd }: Node, name: string): Promise<string | undefined> =>
  (await containerd.cri.listContainers(ofPod(name))).find(it => it.state === 'CONTAINER_RUNNING')?.id

const pidOf = async ({ containerd }: Node, id: string): Promise<number> => {
  const { info } = await containerd.cri.containerStatus(id, true)
  return (JSON.parse(info['info'] ?? '{}') as { pid: number }).pid
}

interface Times {
  readonly start: number
  readonly alone: number
  readonly bareStart: number
  readonly probedStart: number
  readonly restart: number
  readonly stop: number
}

const startPod = async (node: Node, name: string, shape: Shape): Promise<number> => {
  // written aside and renamed, so that neither side can read half a file
  await writeFile(`${node.manifests}/.${name}`, JSON.stringify(manifest(name, shape)))
  const began = clock.monotonic()
  await rename(`${node.manifests}/.${name}`, `${node.manifests}/${name}.json`)
  await until(`${node.agent}: ${name} to be ready`, async () => isReady(await node.pods(), name))
  return clock.monotonic() - began
}

const stopPod = async (node: Node, name: string): Promise<number> => {
  const began = clock.monotonic()
  await rm(`${node.manifests}/${name}.json`)
  await until(`${node.agent}: the sandbox of ${name} to be gone`, async () => !(await isSandboxUp(node, name)))
  return clock.monotonic() - began
}

const killContainer = async (node: Node, name: string): Promise<number> => {
  const first = await runningContainer(node, name)
  if (first === undefined) throw new Error(`${node.agent}: ${name} does not run`)
  const pid = await pidOf(node, first)
  const began = clock.monotonic()
  process.kill(pid, 'SIGKILL')
  await until(`${node.agent}: ${name} to run again`, async () => ![undefined, first].includes(await runningContainer(node, name)))
  return clock.monotonic() - began
}

/** The same pod with nobody in between: what no agent can be faster than. */
const callAlone = async ({ containerd, address }: Node, index: number): Promise<number> => {
  const { cri, cgroupParent, dir } = containerd
  const name = `alone-${index}`
  const sandbox: PodSandboxConfig = {
    metadata: { name, uid: `${name}-${address}`, namespace: 'default', attempt: 0 },
    ...{ hostname: name, logDirectory: `${dir}/logs/${name}`, labels: {}, annotations: {}, portMappings: [] },
    linux: { cgroupParent: `${cgroupParent}/alone`, securityContext: { namespaceOptions: {} } },
  }
  const container: ContainerConfig = {
    metadata: { name: 'web', attempt: 0 },
    image: { image: webImage },
    logPath: 'web.log',
    linux: {},
  }
  const began = clock.monotonic()
  const id = await cri.runPodSandbox(sandbox)
  await cri.startContainer(await cri.createContainer(id, container, sandbox))
  const took = clock.monotonic() - began
  await cri.stopPodSandbox(id)
  await cri.removePodSandbox(id)
  return took
}

const startAndStop = async (node: Node, name: string, shape: Shape): Promise<number> => {
  const start = await startPod(node, name, shape)
  await stopPod(node, name)
  await sleep(settleMs)
  return start
}

const round = async (node: Node, index: number): Promise<Times> => {
  const usual = `usual-${index}`
  const start = await startPod(node, usual, 'usual')
  const restart = await killContainer(node, usual)
  await until(`${node.agent}: ${usual} to be ready again`, async () => isReady(await node.pods(), usual))
  const stop = await stopPod(node, usual)
  await sleep(settleMs)
  const probedStart = await startAndStop(node, `probed-${index}`, 'probed')
  const bareStart = await startAndStop(node, `bare-${index}`, 'bare')
  const alone = await callAlone(node, index)
  await sleep(settleMs)
  return { start, alone, bareStart, probedStart, restart, stop }
}

const figures: readonly (readonly [keyof Times, string, number | undefined])[] = [
  ['start', 'pod from the folder: file written to Ready', 0.5],
  ['probedStart', 'the same with a readiness probe', undefined],
  ['bareStart', 'a pod with neither volume nor probe', undefined],
  ['alone', 'the CRI calls alone, each with its pod network', undefined],
  ['stop', 'file removed to sandbox gone', 0.5],
  ['restart', 'container killed to running again, first restart', 0.5],
]

const measure = async (nodes: readonly [Node, Node]): Promise<void> => {
  const times: [Times[], Times[]] = [[], []]
  for (let index = 0; index <= rounds; index++) {
    for (const [at, node] of nodes.entries()) {
      const result = await round(node, index)
      // The first makes bridges, and reads from disk what later comes from memory.
      if (index > 0) times[at]?.push(result)
      if (process.env['BENCH_ROUNDS']) process.stderr.write(`${node.agent} ${JSON.stringify(result)}\n`)
    }
  }
  for (const [key, figure, atMost] of figures) {
    const [ours, theirs] = times.map(of => median(of.map(it => it[key]))) as [number, number]
    print({ figure, unit: 'ms', ours, peer: 'kubelet', theirs, of: rounds, ...(atMost !== undefined && { atMost }) })
  }
}

await alone(async () => {
  const nodes: Node[] = []
  try {
    nodes.push(await createNodeletNode())
    nodes.push(await createKubeletNode())
    await measure(nodes as [Node, Node])
  } finally {
    for (const node of nodes) await node.close()
  }
})
