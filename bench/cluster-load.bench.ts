// What a node of a cluster takes of its machine: memory without pods, processor time with 60 idle pods that are each probed by HTTP every
// 5 s, memory when 1,000 Services of 3 endpoints each have come too. A node of ours and one of the Go kubelet and kube-proxy stand side by
// side and do the same at the same time. Programs that an agent starts count with it; containerd, which both have, does not.
// Prints figures; needs what cluster-pods.bench.ts needs. BENCH_SECONDS makes the five minutes shorter for a trial.
import { serviceNameLabel } from '../api/service-types.ts'
import type { Pod } from '../api/types.ts'
import type { ClusterNode } from '../test/support/cluster-node.ts'
import type { ControlPlane } from '../test/support/control-plane.ts'
import { webImage } from '../test/support/images.ts'
import { waitFor } from '../test/support/wait.ts'
import { type BenchCluster, inCluster, pause, peer } from './cluster.ts'
import { print } from './figure.ts'
import { cpuSecondsOf, type MemoryField, memoryOf, withChildren } from './usage.ts'
import { createTimedPods, type PodManifest, type TimedPods } from './watch.ts'

const podCount = 60
const serviceCount = 1000
const seconds = Number(process.env['BENCH_SECONDS'] ?? 300)
const settleMs = Math.min(60, seconds) * 1000
const inParallel = 10

const core = '/api/v1/namespaces/default'
const indexes = (count: number) => Array.from({ length: count }, (_, index) => index)
const clusterIP = (index: number) => `10.96.${100 + Math.floor(index / 250)}.${(index % 250) + 1}`

const pod = (node: string, index: number): PodManifest => ({
  metadata: { name: `${node}-${index}` },
  spec: {
    ...{ nodeName: node, terminationGracePeriodSeconds: 1 },
    containers: [
      {
        ...{ name: 'web', image: webImage, imagePullPolicy: 'IfNotPresent' },
        readinessProbe: { httpGet: { path: '/healthz', port: 80 }, periodSeconds: 5 },
        resources: { requests: { cpu: '1m', memory: '8Mi' }, limits: { memory: '64Mi' } },
      },
    ],
  },
})

const service = (index: number) => ({
  ...{ apiVersion: 'v1', kind: 'Service' },
  metadata: { name: `service-${index}`, namespace: 'default' },
  // No selector: the slices are written here, and no controller works while the nodes are measured.
  spec: { clusterIP: clusterIP(index), ports: [{ name: 'http', port: 80, targetPort: 80 }] },
})

const slice = (index: number, addresses: readonly string[]) => ({
  ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
  metadata: { name: `service-${index}-a`, namespace: 'default', labels: { [serviceNameLabel]: `service-${index}` } },
  ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
  endpoints: addresses.map(address => ({ addresses: [address], conditions: { ready: true } })),
})

/** Runs `one` for every index, some at a time. */
const forEachIndex = async (count: number, one: (index: number) => Promise<unknown>): Promise<void> => {
  const left = indexes(count).values()
  const work = async () => {
    for (const index of left) await one(index)
  }
  await Promise.all(indexes(inParallel).map(work))
}

const startPods = async ({ nodes }: BenchCluster, pods: TimedPods): Promise<void> => {
  for (const { name } of nodes) await forEachIndex(podCount, index => pods.start(pod(name, index)))
}

const createServices = async ({ send, get }: ControlPlane): Promise<void> => {
  const { items } = await get<{ items: readonly Pod[] }>(`${core}/pods`)
  const addresses = items.map(it => it.status?.podIP ?? '')
  const endpointsOf = (index: number) => indexes(3).map(at => addresses[(index * 3 + at) % addresses.length] ?? '')
  await forEachIndex(serviceCount, async index => {
    await send('POST', `${core}/services`, service(index))
    await send('POST', '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices', slice(index, endpointsOf(index)))
  })
}

/** Whatever the rules look like: a ClusterIP that is routed stands in them. */
const whenRouted = async ({ netns, agent }: ClusterNode): Promise<void> => {
  await waitFor(
    `${serviceCount} Services in the kernel of ${agent}`,
    async () => {
      const { stdout } = await netns.run(['nft', 'list', 'ruleset'])
      return indexes(serviceCount).every(it => stdout.includes(clusterIP(it)))
    },
    120_000,
  )
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

/** Of the agent's programs and of all that they have started. */
const totalOf = async ({ pids }: ClusterNode, field: MemoryField): Promise<number> =>
  sum(await Promise.all((await withChildren(pids)).map(it => memoryOf(it, field))))

const reportMemory = async ([ours, theirs]: BenchCluster['nodes'], when: string): Promise<void> => {
  const whole = (of: number) => Math.round(of)
  const [kubelet, kubeProxy] = await Promise.all(theirs.pids.map(async it => whole(await memoryOf(it, 'VmRSS'))))
  const own = whole(sum(await Promise.all(ours.pids.map(it => memoryOf(it, 'VmRSS')))))
  for (const [field, name] of [
    ['VmRSS', 'RSS'],
    ['VmHWM', 'peak RSS'],
  ] as const) {
    print({
      ...{ figure: `${name} ${when}`, unit: 'MB', ours: await totalOf(ours, field), peer, theirs: await totalOf(theirs, field) },
      ...(field === 'VmRSS' && {
        atMost: 0.7,
        note: `ours ${own} without the programs it started; kubelet ${kubelet}, kube-proxy ${kubeProxy}`,
      }),
    })
  }
}

const reportCpu = async (nodes: BenchCluster['nodes']): Promise<void> => {
  const take = () => Promise.all(nodes.map(it => cpuSecondsOf(it.pids)))
  const before = await take()
  await pause(seconds * 1000)
  const [ours = 0, theirs = 0] = (await take()).map((after, index) => after - (before[index] ?? 0))
  print({ figure: `processor time in ${seconds} s with ${podCount} probed pods`, unit: 's', ours, peer, theirs, atMost: 1 })
}

await inCluster({ images: [webImage] }, async cluster => {
  const { controlPlane, nodes } = cluster
  await pause(settleMs)
  await reportMemory(nodes, 'of a node of a cluster, idle')
  const pods = await createTimedPods(controlPlane)
  await startPods(cluster, pods)
  await pods.close()
  await pause(settleMs)
  await reportCpu(nodes)
  await createServices(controlPlane)
  for (const node of nodes) await whenRouted(node)
  await pause(settleMs)
  await reportMemory(nodes, `with ${podCount} pods and ${serviceCount} Services`)
})
