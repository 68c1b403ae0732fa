// Figures that upstream's documents and tests name, so that a node's cgroups look alike under either agent.
import t from 'tap'
import type { ResourceRequirements } from '../api/meta.ts'
import type { Container, Pod } from '../api/types.ts'
import {
  containerResources,
  hugePageSizeOf,
  oomScoreAdj,
  podCgroupLimits,
  qosCgroupLimits,
  type ResourceContext,
  sandboxResources,
  toQuotaUs,
  toShares,
} from './resources.ts'

const gi = 2 ** 30
const context: ResourceContext = {
  cgroupVersion: 1,
  memoryBytes: 8_000_000_000,
  swapBytes: 0,
  hasSwapController: false,
  hugePageSizes: ['2MB', '1GB'],
  cpuCfsQuota: true,
  cpuCfsQuotaPeriodUs: 100_000,
  singleProcessOomKill: true,
  swapBehavior: 'NoSwap',
}
const v2: ResourceContext = { ...context, cgroupVersion: 2 }
const cgroupContext = { ...context, podPidsLimit: -1 }
const container = (resources: ResourceRequirements = {}, more: Partial<Container> = {}): Container => ({
  name: 'c',
  image: 'i',
  resources,
  ...more,
})
const pod = (
  containers: readonly Container[],
  spec: Partial<Pod['spec']> = {},
  annotations: Record<string, string> = {},
): Pod => ({
  metadata: { name: 'p', namespace: 'default', uid: 'u', annotations },
  spec: { containers, ...spec },
})
const both = (cpu: string, memory: string) => ({ requests: { cpu, memory }, limits: { cpu, memory } })
const noPages = [
  { pageSize: '2MB', limit: 0 },
  { pageSize: '1GB', limit: 0 },
]

for (const [milli, shares] of [
  [0, 2],
  [1, 2],
  [10, 10],
  [100, 102],
  [250, 256],
  [1000, 1024],
  [256_000, 262_144],
  [1_000_000, 262_144],
] as const) {
  t.test(`${milli} millicores weigh ${shares}`, async t => t.equal(toShares(milli), shares))
}

for (const [milli, period, quota] of [
  [0, 100_000, 0],
  [1, 100_000, 1_000],
  [5, 100_000, 1_000],
  [10, 100_000, 1_000],
  [250, 100_000, 25_000],
  [1500, 100_000, 150_000],
  [200, 5_000, 1_000],
  [2000, 10_000, 20_000],
] as const) {
  t.test(`${milli} millicores may run ${quota} us in ${period}`, async t => t.equal(toQuotaUs(milli, period), quota))
}

const requesting = (memory: string) => container({ requests: { memory } })
const oneGiSidecar = container({ requests: { memory: '4G' } }, { name: 's', restartPolicy: 'Always' })
for (const [name, given, of, expected] of [
  ['Guaranteed is killed last', pod([container(both('1', '1Gi'))]), 0, -997],
  ['BestEffort first', pod([container()]), 0, 1000],
  ['Burstable by the share of memory that it asked for', pod([requesting('4G')]), 0, 500],
  ['one that asked for nothing still comes after BestEffort', pod([container({ requests: { cpu: '1' } })]), 0, 999],
  ['one that asked for nearly all still comes before Guaranteed', pod([requesting('7999M')]), 0, 3],
  [
    'a node-critical static pod is as good as Guaranteed',
    pod([container()], { priorityClassName: 'system-node-critical' }, { 'kubernetes.io/config.source': 'file' }),
    0,
    -997,
  ],
  [
    'pod-level memory that no container claimed is shared out',
    pod([requesting('1G'), requesting('1G')], { resources: { requests: { memory: '4G' } } }),
    0,
    750,
  ],
] as const) {
  t.test(`oom_score_adj: ${name}`, async t =>
    t.equal(oomScoreAdj(given, given.spec.containers[of]!, context.memoryBytes), expected),
  )
}

t.test('oom_score_adj: a sidecar is never killed before the containers that it serves', async t => {
  const greedy = pod([requesting('6G'), requesting('2G')], {
    initContainers: [container({ requests: { memory: '1G' } }, { name: 's', restartPolicy: 'Always' })],
  })
  t.equal(oomScoreAdj(greedy, greedy.spec.initContainers![0]!, context.memoryBytes), 750, 'as the least of them')
  const modest = pod([requesting('2G')], { initContainers: [oneGiSidecar] })
  t.equal(oomScoreAdj(modest, oneGiSidecar, context.memoryBytes), 500, 'or by its own request where that protects it more')
})

t.test('a container with limits', async t => {
  const it = container({ requests: { cpu: '100m', memory: '64Mi' }, limits: { cpu: '250m', memory: '128Mi' } })
  t.same(containerResources(pod([it]), it, context), {
    cpuShares: 102,
    cpuQuota: 25_000,
    cpuPeriod: 100_000,
    memoryLimitInBytes: 134_217_728,
    oomScoreAdj: 1000 - Math.trunc((1000 * 67_108_864) / 8_000_000_000),
    hugepageLimits: noPages,
  })
})

t.test('a container without any', async t => {
  const it = container()
  t.same(containerResources(pod([it]), it, context), {
    cpuShares: 2,
    cpuQuota: 0,
    cpuPeriod: 100_000,
    oomScoreAdj: 1000,
    hugepageLimits: noPages,
  })
})

t.test('without cpuCFSQuota no quota is set anywhere', async t => {
  const it = container(both('250m', '64Mi'))
  t.notOk('cpuQuota' in containerResources(pod([it]), it, { ...context, cpuCfsQuota: false }))
  t.equal(podCgroupLimits(pod([it]), { ...cgroupContext, cpuCfsQuota: false }).cpuQuotaUs, -1)
})

t.test('a container without limits in a pod that has some as a whole takes those', async t => {
  const it = container()
  const given = pod([it], { resources: { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '1', memory: '1Gi' } } })
  t.match(containerResources(given, it, context), { cpuQuota: 100_000, memoryLimitInBytes: gi })
})

t.test('huge pages are limited to what the container names', async t => {
  const it = container({ requests: { 'hugepages-2Mi': '4Mi' }, limits: { 'hugepages-2Mi': '4Mi' } })
  t.same(containerResources(pod([it]), it, context).hugepageLimits, [
    { pageSize: '2MB', limit: 4_194_304 },
    { pageSize: '1GB', limit: 0 },
  ])
  t.equal(hugePageSizeOf('hugepages-1Gi'), '1GB')
  t.equal(hugePageSizeOf('memory'), undefined)
})

t.test('swap', async t => {
  const it = container({ requests: { memory: '2G' }, limits: { memory: '4G' } })
  const swap = { hasSwapController: true, swapBytes: 4_000_000_000 }
  t.equal(
    containerResources(pod([it]), it, { ...context, ...swap }).memorySwapLimitInBytes,
    4_000_000_000,
    'version 1: memory and swap together',
  )
  t.same(containerResources(pod([it]), it, { ...v2, ...swap }).unified, { 'memory.swap.max': '0' }, 'none by default')
  const limited = { ...v2, ...swap, swapBehavior: 'LimitedSwap' as const }
  t.same(
    containerResources(pod([it]), it, limited).unified,
    { 'memory.swap.max': '1000000000' },
    'LimitedSwap: as much of it as of memory',
  )
  const guaranteed = container(both('1', '2G'))
  t.same(containerResources(pod([guaranteed]), guaranteed, limited).unified, { 'memory.swap.max': '0' }, 'never for Guaranteed')
})

t.test('singleProcessOOMKill false kills the whole container, on version 2', async t => {
  const it = container()
  t.same(containerResources(pod([it]), it, { ...v2, singleProcessOomKill: false }).unified, { 'memory.oom.group': '1' })
  t.notOk('unified' in containerResources(pod([it]), it, { ...context, singleProcessOomKill: false }))
})

t.test('memory QoS throttles between request and limit, on version 2', async t => {
  const it = container({ requests: { memory: '1Gi' }, limits: { memory: '2Gi' } })
  const memoryQos = { throttlingFactor: 0.9, reserve: true, allocatableBytes: 4 * gi }
  t.same(containerResources(pod([it]), it, { ...v2, memoryQos }).unified, {
    'memory.low': String(gi),
    'memory.high': String(Math.floor((gi + 0.9 * gi) / 4096) * 4096),
  })
  t.notOk('unified' in containerResources(pod([it]), it, { ...context, memoryQos }))
})

for (const [name, given, expected] of [
  [
    'Guaranteed is limited to its sum',
    pod([container(both('250m', '64Mi')), container(both('250m', '64Mi'))]),
    { cpuShares: 512, cpuQuotaUs: 50_000, cpuPeriodUs: 100_000, memoryBytes: 134_217_728 },
  ],
  ['Burstable with one container unlimited is not', pod([container(both('250m', '64Mi')), container()]), { cpuShares: 256 }],
  [
    'limited in memory alone is limited there',
    pod([container({ requests: { memory: '64Mi' }, limits: { memory: '64Mi' } })]),
    { cpuShares: 2, memoryBytes: 67_108_864 },
  ],
  ['BestEffort weighs least', pod([container()]), { cpuShares: 2 }],
] as const) {
  t.test(`pod cgroup: ${name}`, async t =>
    t.same(podCgroupLimits(given, cgroupContext), { ...expected, hugePageBytes: { '2MB': 0, '1GB': 0 } }),
  )
}

t.test('pod cgroup: pids and huge pages', async t => {
  const it = container({ requests: { cpu: '1', 'hugepages-2Mi': '4Mi' } })
  t.match(podCgroupLimits(pod([it]), { ...cgroupContext, podPidsLimit: 1024 }), {
    pidsMax: 1024,
    hugePageBytes: { '2MB': 4_194_304 },
  })
})

t.test('QoS cgroups: burstable weighs its pods together, besteffort nothing', async t => {
  const pods = [
    pod([container({ requests: { cpu: '100m' } })]),
    pod([container({ requests: { cpu: '150m' } })]),
    pod([container(both('1', '1Gi'))]),
  ]
  const { burstable, besteffort } = qosCgroupLimits(pods, ['2MB'])
  t.same([burstable.cpuShares, besteffort.cpuShares], [256, 2])
  t.same(burstable.hugePageBytes, { '2MB': 2 ** 62 })
})

t.test('the sandbox is told the sum and the overhead apart', async t => {
  const { resources, overhead } = sandboxResources(
    pod([container(both('1', '1Gi'))], { overhead: { cpu: '250m', memory: '128Mi' } }),
    context,
  )
  t.match(resources, { cpuShares: 1024, cpuQuota: 100_000, memoryLimitInBytes: gi })
  t.match(overhead, { cpuShares: 256, cpuQuota: 25_000, memoryLimitInBytes: 134_217_728 })
})
