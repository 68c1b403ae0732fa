import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { createCriFake } from '../../api/cri/cri.fake.ts'
import type { ContainerStats } from '../../api/cri/stats.ts'
import { createStore } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import type { CgroupDriver } from '../../host/cgroup-name.ts'
import { createCgroupReader } from '../../host/cgroup-read.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { readExposition, sampleValue } from '../../host/exposition.fake.ts'
import { readMachine } from '../../host/machine.ts'
import { createHostFigures } from './host-figures.ts'
import { statsRoutes } from './routes.ts'
import { createStats, type StatsDeps } from './stats.ts'
import type { Summary } from './wire.ts'

const uid = '3e672370-5c32'
const webId = 'b077a72df17edcec61f04fc9b8f98611ee3a049ee190771965d01836643bb07b'
const sandboxId = 'e61d533c8733a092ba740155e3ccee9257a8c1c8626707211633d1d048e0ae00'

const web: Pod = {
  metadata: { name: 'web', namespace: 'shop', uid },
  spec: {
    containers: [{ name: 'httpd', image: 'httpd:1' }],
    volumes: [
      { name: 'scratch', emptyDir: {} },
      { name: 'data', persistentVolumeClaim: { claimName: 'kept' } },
    ],
  },
  status: {
    phase: 'Running',
    startTime: '2026-11-21T11:38:17Z',
    containerStatuses: [
      {
        ...{ name: 'httpd', ready: true, restartCount: 0, image: 'docker.io/library/httpd:1', imageID: 'sha256:1' },
        ...{ containerID: `containerd://${webId}`, state: { running: { startedAt: '2026-11-21T11:38:18Z' } } },
      },
    ],
  },
}

interface Tree {
  readonly name: string
  readonly version: 1 | 2
  readonly driver: CgroupDriver
  readonly pods: string
  readonly pod: string
  readonly child: (id: string) => string
}

const trees: readonly Tree[] = [
  {
    ...{ name: 'version 1 with cgroupfs', version: 1, driver: 'cgroupfs', pods: '/kubepods' },
    ...{ pod: `/kubepods/burstable/pod${uid}`, child: id => id },
  },
  {
    ...{ name: 'version 2 with systemd', version: 2, driver: 'systemd', pods: '/kubepods.slice' },
    pod: '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod3e672370_5c32.slice',
    child: id => `cri-containerd-${id}.scope`,
  },
]

const setup = async (t: Test, { version, driver, pod, child }: Tree, more: Partial<StatsDeps> = {}) => {
  const root = mkdtempSync(join(tmpdir(), 'stats-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  const use = (path: string, cpuMs: number, memoryBytes: number) => {
    if (version === 1) {
      write(`cgroup${path}/cpuacct.usage`, `${cpuMs}000000\n`)
      write(`cgroup${path}/memory.usage_in_bytes`, `${memoryBytes}\n`)
      write(`cgroup${path}/memory.stat`, 'total_inactive_file 1000\ntotal_rss 500\n')
    } else {
      write(`cgroup${path}/cpu.stat`, `usage_usec ${cpuMs}000\n`)
      write(`cgroup${path}/memory.current`, `${memoryBytes}\n`)
      write(`cgroup${path}/memory.stat`, 'anon 500\ninactive_file 1000\n')
    }
    write(`cgroup${path}/cgroup.procs`, '')
  }
  use('/', 90_000, 9_000_000)
  use(pod, 30, 30_000)
  use(`${pod}/${child(webId)}`, 20, 20_000)
  use(`${pod}/${child(sandboxId)}`, 10, 10_000)
  // our own process stands for the pod's: its network is there to be read
  write(`cgroup${pod}/${child(sandboxId)}/cgroup.procs`, `${process.pid}\n`)
  write('proc/meminfo', 'MemTotal: 16000 kB\nMemFree: 4000 kB\nSwapTotal: 2000 kB\nSwapFree: 500 kB\n')
  write('proc/stat', 'cpu 1 2\nbtime 1700000000\n')
  write('proc/loadavg', '0.1 0.2 0.3 1/206 99\n')
  write(`kubelet/pods/${uid}/volumes/kubernetes.io~empty-dir/scratch/file`, 'x'.repeat(10_000))
  write(`logs/shop_web_${uid}/httpd/0.log`, 'x'.repeat(5000))
  const clock = fakeClock()
  const controllers = version === 1 ? ['cpu', 'cpuacct', 'memory', 'pids', 'blkio'] : []
  const cri = createCriFake({ clock })
  const live = createStore<Pod>()
  live.put(web)
  const deps: StatsDeps = {
    ...{ nodeName: 'n1', rootDir: join(root, 'kubelet'), podLogsDir: join(root, 'logs'), cgroupRoot: '/', cgroupDriver: driver },
    ...{ version: 'v1.36.3', machine: await readMachine(), pods: live, parentOf: () => pod, cri, clock },
    systemCgroups: { kubelet: '/none' },
    claimFolder: (_, volume) => (volume === 'data' ? root : undefined),
    reader: createCgroupReader({ version, trees: [{ mountPoint: join(root, 'cgroup'), controllers }] }),
    host: createHostFigures(version, join(root, 'proc')),
    ...more,
  }
  const stats = createStats(deps)
  t.teardown(stats.close)
  const routes = statsRoutes(async () => stats)
  /** Asks, and lets the moment pass for which a first rate is waited; disks take the time that they take. */
  const ask = async (path: string, query = ''): Promise<string> => {
    const answer = routes[path]?.({ query: new URLSearchParams(query) })
    let answered = false
    answer?.finally(() => {
      answered = true
    })
    for (let turn = 0; turn < 30 && !answered; turn++) await clock.advance(10)
    return (await answer)?.body ?? ''
  }
  const summary = async (query = ''): Promise<Summary> => JSON.parse(await ask('/stats/summary', query)) as Summary
  return { ask, summary, use, clock, live, cri, stats }
}

for (const tree of trees) {
  t.test(`${tree.name}: the summary tells of node, pod and container what their cgroups say`, async t => {
    const { summary } = await setup(t, tree)
    const { node, pods } = await summary()
    t.equal(node.nodeName, 'n1')
    t.equal(node.startTime, '2023-11-14T22:13:20Z')
    t.equal(node.cpu?.usageCoreNanoSeconds, 90e9)
    t.equal(node.memory?.workingSetBytes, (tree.version === 1 ? 9_000_000 : 12_000 * 1024) - 1000)
    t.equal(node.memory?.availableBytes, 16_000 * 1024 - (node.memory?.workingSetBytes ?? 0))
    t.match(node.swap, { swapUsageBytes: 1500 * 1024, swapAvailableBytes: 500 * 1024 })
    t.match(node.rlimit, { curproc: 206 })
    const [pod] = pods
    t.same(pod?.podRef, { name: 'web', namespace: 'shop', uid })
    t.equal(pod?.cpu?.usageCoreNanoSeconds, 30e6)
    t.match(pod?.memory, { usageBytes: 30_000, workingSetBytes: 29_000, rssBytes: 500 })
    t.equal(pod?.process_stats?.process_count, 1)
    t.ok(pod?.network?.interfaces)
    const [container] = pod?.containers ?? []
    t.match(container, { name: 'httpd', startTime: '2026-11-21T11:38:18Z', memory: { workingSetBytes: 19_000 } })
  })

  t.test(`${tree.name}: disks are told with what the pod holds of them`, async t => {
    const { summary } = await setup(t, tree)
    const [pod] = (await summary()).pods
    t.match(pod?.volume, [{ name: 'scratch' }, { name: 'data', pvcRef: { name: 'kept', namespace: 'shop' } }])
    t.ok((pod?.volume?.[1]?.capacityBytes ?? 0) > 0)
    t.ok((pod?.volume?.[0]?.usedBytes ?? 0) >= 10_000)
    t.equal(pod?.volume?.[0]?.inodesUsed, 2)
    t.ok((pod?.containers[0]?.logs?.usedBytes ?? 0) >= 5000)
    t.ok((pod?.['ephemeral-storage']?.usedBytes ?? 0) >= 15_000)
  })

  t.test(`${tree.name}: /metrics/resource has the kubelet's names, with times`, async t => {
    const { ask } = await setup(t, tree)
    const seen = readExposition(await ask('/metrics/resource'))
    const labels = { pod: 'web', namespace: 'shop' }
    t.equal(sampleValue(seen, 'node_cpu_usage_seconds_total'), 90)
    t.equal(sampleValue(seen, 'container_cpu_usage_seconds_total', { ...labels, container: 'httpd' }), 0.02)
    t.equal(sampleValue(seen, 'container_memory_working_set_bytes', { ...labels, container: 'httpd' }), 19_000)
    t.equal(sampleValue(seen, 'pod_memory_working_set_bytes', labels), 29_000)
    t.equal(sampleValue(seen, 'resource_scrape_error'), 0)
    t.ok(seen.find(it => it.name === 'pod_cpu_usage_seconds_total')?.timestampMs)
    t.equal(seen.find(it => it.name === 'container_start_time_seconds')?.timestampMs, undefined)
  })

  t.test(`${tree.name}: /metrics/cadvisor tells of every cgroup, under the name that the runtime has for it`, async t => {
    const labels = (more = {}) => ({
      ...{ 'io.kubernetes.pod.name': 'web', 'io.kubernetes.pod.namespace': 'shop', 'io.kubernetes.pod.uid': uid },
      ...more,
    })
    const common = { createdAt: 1_700_000_000e9, annotations: {} }
    const cri = {
      ...createCriFake({ clock: fakeClock() }),
      listContainers: async () => [
        {
          ...{
            ...common,
            id: webId,
            podSandboxId: sandboxId,
            imageRef: '',
            imageId: '',
            metadata: { name: 'httpd', attempt: 0 },
          },
          ...{ image: { image: 'x' }, state: 'CONTAINER_RUNNING' as const },
          labels: labels({ 'io.kubernetes.container.name': 'httpd' }),
        },
      ],
      listPodSandbox: async () => [
        {
          ...{ ...common, id: sandboxId, runtimeHandler: '', state: 'SANDBOX_READY' as const, labels: labels() },
          metadata: { name: 'web', namespace: 'shop', uid, attempt: 0 },
        },
      ],
    }
    const { ask } = await setup(t, tree, { cri })
    const seen = readExposition(await ask('/metrics/cadvisor'))
    const of = (container: string, name: string) => ({ namespace: 'shop', pod: 'web', container, name })
    const usage = 'container_memory_usage_bytes'
    t.equal(sampleValue(seen, usage, { ...of('httpd', webId), image: 'docker.io/library/httpd:1' }), 20_000)
    t.equal(sampleValue(seen, usage, of('', sandboxId)), 10_000, 'the sandbox')
    t.equal(sampleValue(seen, usage, { ...of('', ''), id: tree.pod }), 30_000, "the pod's own cgroup")
    t.equal(sampleValue(seen, 'container_cpu_usage_seconds_total', { ...of('httpd', webId), cpu: 'total' }), 0.02)
    t.equal(sampleValue(seen, 'container_start_time_seconds', of('httpd', webId)), Date.parse('2026-11-21T11:38:18Z') / 1000)
    t.equal(sampleValue(seen, 'container_scrape_error'), 0)
    t.ok(sampleValue(seen, 'machine_cpu_cores'))
    const withNetwork = seen.filter(it => it.name === 'container_network_receive_bytes_total').map(it => it.labels['name'])
    t.notOk(withNetwork.includes(webId), 'the network is the sandbox’s alone')
  })
}

const [v1] = trees as [Tree]

t.test('a first request waits a moment for a rate, later ones have it at once', async t => {
  const { summary, use, clock } = await setup(t, v1)
  const before = clock.monotonic()
  const first = await summary('only_cpu_and_memory=true')
  t.ok(clock.monotonic() - before >= 200)
  t.equal(first.node.cpu?.usageNanoCores, 0)
  await clock.advance(1800)
  use(v1.pod, 1030, 30_000)
  const asked = clock.monotonic()
  const { pods } = await summary('only_cpu_and_memory=true')
  t.ok(clock.monotonic() - asked < 100)
  const rate = pods[0]?.cpu?.usageNanoCores ?? 0
  t.ok(rate > 450_000_000 && rate < 600_000_000, `a second of two: ${rate}`)
})

t.test('only_cpu_and_memory leaves out what is on disks and networks, and asks the runtime nothing', async t => {
  const { summary, cri } = await setup(t, v1)
  const { node, pods } = await summary('only_cpu_and_memory=true')
  t.match([node.fs, node.network, node.runtime, pods[0]?.network, pods[0]?.volume], Array(5).fill(undefined))
  t.ok(pods[0]?.containers[0]?.cpu)
  t.same(cri.calls, [])
})

t.test('nobody looks when nobody asks any more', async t => {
  let looks = 0
  const parentOf = () => {
    looks += 1
    return v1.pod
  }
  const { summary, clock } = await setup(t, v1, { parentOf })
  await clock.advance(120_000)
  t.equal(looks, 0)
  await summary('only_cpu_and_memory=true')
  const asked = looks
  await clock.advance(60_000)
  t.ok(looks > asked, 'somebody may ask again')
  await clock.advance(60_000)
  const after = looks
  await clock.advance(600_000)
  t.equal(looks, after)
})

t.test('a container without a cgroup is told with what the runtime knows of it', async t => {
  const value = (number: number) => ({ value: number })
  const cpu = { timestamp: 0, usageCoreNanoSeconds: value(7e9), usageNanoCores: null, psi: null }
  const memory = {
    ...{ timestamp: 0, workingSetBytes: value(4096), availableBytes: null, usageBytes: value(8192), rssBytes: value(1) },
    ...{ pageFaults: null, majorPageFaults: null, psi: null },
  }
  const attributes = { id: webId, metadata: { name: 'httpd', attempt: 0 }, labels: {}, annotations: {} }
  const told: ContainerStats = { attributes, cpu, memory, writableLayer: null, swap: null, io: null }
  const cri = { ...createCriFake({ clock: fakeClock() }), listContainerStats: async () => [told] }
  const { summary } = await setup(t, v1, { parentOf: () => '', cri })
  const [pod] = (await summary('only_cpu_and_memory=true')).pods
  t.equal(pod?.containers[0]?.cpu?.usageCoreNanoSeconds, 7e9)
  t.equal(pod?.memory?.workingSetBytes, 4096, 'the pod is what its containers are')
})

t.test('a runtime that is away takes only its own figures away', async t => {
  const away = () => Promise.reject(new Error('away'))
  const cri = { listContainerStats: away, imageFsInfo: away, listContainers: away, listPodSandbox: away, status: away }
  const { summary, ask } = await setup(t, v1, { cri })
  const { node, pods } = await summary()
  t.ok(node.fs)
  t.same(node.runtime, {})
  t.equal(pods[0]?.containers[0]?.memory?.workingSetBytes, 19_000)
  const seen = readExposition(await ask('/metrics/cadvisor'))
  t.equal(sampleValue(seen, 'container_scrape_error'), 1)
  t.equal(sampleValue(seen, 'container_memory_usage_bytes', { id: v1.pod, pod: 'web' }), 30_000)
})

t.test('what looks at the node is loaded by the first request, and again when that failed', async t => {
  let loads = 0
  const { stats } = await setup(t, v1)
  const load = async () => {
    loads += 1
    if (loads === 1) throw new Error('no cgroups')
    return stats
  }
  const route = statsRoutes(load)['/metrics/resource']
  const request = { query: new URLSearchParams() }
  t.equal(loads, 0)
  await t.rejects(async () => route?.(request), { message: 'no cgroups' })
  t.equal((await route?.(request))?.status, 200)
  await route?.(request)
  t.equal(loads, 2)
})
