import t from 'tap'
import { fromCpuWeight, toCpuWeight, toSliceProperties, toV1Files, toV2Files } from './cgroup-files.ts'

for (const [shares, weight] of [
  [2, 1],
  [102, 4],
  [256, 10],
  [1024, 39],
  [262_144, 10_000],
] as const) {
  t.test(`${shares} shares are weight ${weight}`, async t => t.equal(toCpuWeight(shares), weight))
}
t.test('a weight reads back as shares of about the same size', async t => t.equal(fromCpuWeight(39), 998))

const line = ({ file, value }: { file: string; value: string }) => `${file}=${value}`
const limits = { cpuShares: 1024, cpuQuotaUs: 25_000, cpuPeriodUs: 100_000, memoryBytes: 67_108_864, pidsMax: 10 }

t.test('version 1 takes the period before the quota', async t =>
  t.same(toV1Files(limits).map(line), [
    'cpu.shares=1024',
    'cpu.cfs_period_us=100000',
    'cpu.cfs_quota_us=25000',
    'memory.limit_in_bytes=67108864',
    'pids.max=10',
  ]),
)

t.test('version 2 has one file for both, and a weight', async t =>
  t.same(toV2Files({ ...limits, unified: { 'memory.min': '5' } }).map(line), [
    'cpu.weight=39',
    'cpu.max=25000 100000',
    'memory.max=67108864',
    'pids.max=10',
    'memory.min=5',
  ]),
)

t.test('no limit is -1 there and max here', async t => {
  const none = { cpuQuotaUs: -1, memoryBytes: -1, pidsMax: -1 }
  t.same(toV1Files(none).map(line), ['cpu.cfs_quota_us=-1', 'memory.limit_in_bytes=-1', 'pids.max=max'])
  t.same(toV2Files(none).map(line), ['cpu.max=max 100000', 'memory.max=max', 'pids.max=max'])
})

t.test('a number above 2^53 is written exactly', async t =>
  t.equal(toV2Files({ hugePageBytes: { '2MB': 2 ** 62 } })[0]?.value, '4611686018427387904'),
)

t.test('systemd is told the same, in its own words', async t => {
  t.same(toSliceProperties(limits, 2), [
    ['CPUWeight', 't', '39'],
    ['CPUQuotaPerSecUSec', 't', '250000'],
    ['CPUQuotaPeriodUSec', 't', '100000'],
    ['MemoryMax', 't', '67108864'],
    ['TasksMax', 't', '10'],
  ])
  t.same(toSliceProperties({ cpuShares: 2, memoryBytes: -1 }, 1), [
    ['CPUShares', 't', '2'],
    ['MemoryLimit', 't', '18446744073709551615'],
  ])
  t.same(toSliceProperties({ cpuQuotaUs: 1_234, cpuPeriodUs: 100_000 }, 2)[0]?.[2], '20000', 'quota rounds up to 10 ms a second')
})
