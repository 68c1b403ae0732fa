import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { toCgroupDetail } from './cgroup-detail.ts'
import { createCgroupReader } from './cgroup-read.ts'
import { type ReadCgroupFile, toCgroupUsage, toPsi } from './cgroup-usage.ts'

const files =
  (texts: Readonly<Record<string, string>>): ReadCgroupFile =>
  (_, file) =>
    texts[file]

// a container with limits, in the form in which a 6.18 kernel shows it
const v1 = {
  'cpu.stat': 'nr_periods 12\nnr_throttled 3\nthrottled_time 4500000\nnr_bursts 1\nburst_time 7000\n',
  'cpu.shares': '10\n',
  'cpu.cfs_quota_us': '50000\n',
  'cpu.cfs_period_us': '100000\n',
  'cpuacct.usage': '112315511\n',
  'cpuacct.usage_user': '45192191\n',
  'cpuacct.usage_sys': '67123320\n',
  'memory.usage_in_bytes': '552960\n',
  'memory.limit_in_bytes': '33554432\n',
  'memory.memsw.limit_in_bytes': '33554432\n',
  'memory.max_usage_in_bytes': '2461696\n',
  'memory.failcnt': '2\n',
  'memory.soft_limit_in_bytes': '9223372036854771712\n',
  'memory.kmem.usage_in_bytes': '188416\n',
  'memory.stat':
    'cache 36864\nrss 53248\npgfault 10\npgmajfault 0\ntotal_cache 36864\ntotal_rss 53248\ntotal_mapped_file 4096\ntotal_swap 0\n' +
    'total_pgfault 3576\ntotal_pgmajfault 1\ntotal_inactive_file 8192\ntotal_active_file 28672\n',
  'memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 4\n',
  'pids.current': '1\n',
  'pids.max': 'max\n',
  'blkio.throttle.io_service_bytes_recursive': '254:0 Read 4096\n254:0 Write 8192\n254:0 Total 12288\nTotal 12288\n',
  'blkio.throttle.io_serviced_recursive': '254:0 Read 1\n254:0 Write 2\n254:0 Total 3\nTotal 3\n',
}

const v2 = {
  'cpu.stat':
    'usage_usec 112315\nuser_usec 45192\nsystem_usec 67123\nnr_periods 12\nnr_throttled 3\nthrottled_usec 4500\nnr_bursts 1\nburst_usec 7\n',
  'cpu.weight': '1\n',
  'cpu.max': '50000 100000\n',
  'cpu.pressure': 'some avg10=1.50 avg60=0.25 avg300=0.00 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n',
  'memory.current': '552960\n',
  'memory.max': '33554432\n',
  'memory.swap.current': '4096\n',
  'memory.swap.max': '0\n',
  'memory.peak': '2461696\n',
  'memory.low': '0\n',
  'memory.stat':
    'anon 53248\nfile 36864\nkernel 188416\nfile_mapped 4096\ninactive_file 8192\nactive_file 28672\npgfault 3576\npgmajfault 1\n',
  'memory.events': 'low 0\nhigh 0\nmax 2\noom 4\noom_kill 4\noom_group_kill 0\n',
  'pids.current': '1\n',
  'pids.max': 'max\n',
  'io.stat': '254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n',
}

for (const [version, texts] of [
  [1, v1],
  [2, v2],
] as const) {
  t.test(`version ${version} tells what a container has used`, async t => {
    const { cpu, memory } = toCgroupUsage(version, files(texts))
    t.match(cpu, { usageNs: version === 1 ? 112_315_511 : 112_315_000, systemNs: version === 1 ? 67_123_320 : 67_123_000 })
    t.match(memory, {
      usageBytes: 552_960,
      workingSetBytes: 544_768,
      rssBytes: 53_248,
      cacheBytes: 36_864,
      limitBytes: 33_554_432,
    })
    t.equal(memory?.pageFaults.all, 3576)
    t.equal(memory?.swapLimitBytes, 0, 'no swap may be used')
  })
  t.test(`version ${version} tells how it is limited and what it went through`, async t => {
    const detail = toCgroupDetail(version, files(texts))
    t.match(detail, {
      cpuQuotaUs: 50_000,
      cpuPeriodUs: 100_000,
      oomKills: 4,
      threads: 1,
      memoryFailures: 2,
      kernelMemoryBytes: 188_416,
    })
    t.match(detail.throttling, { periods: 12, throttledPeriods: 3, throttledNs: 4_500_000, burstNs: 7000 })
    t.equal(detail.threadsMax, undefined)
    t.equal(detail.memoryPeakBytes, 2_461_696)
    t.same(detail.devices, [{ device: '254:0', readBytes: 4096, writeBytes: 8192, reads: 1, writes: 2 }])
  })
  t.test(`a cgroup of version ${version} that is gone has no figures`, async t => {
    const usage = toCgroupUsage(version, () => undefined)
    t.match([usage.cpu, usage.memory], [undefined, undefined])
  })
}

t.test('limits that are none are undefined', async t => {
  const none = { ...v1, 'memory.limit_in_bytes': '9223372036854771712\n', 'memory.memsw.limit_in_bytes': '9223372036854771712\n' }
  t.match(toCgroupUsage(1, files(none)).memory, { limitBytes: undefined, swapLimitBytes: undefined })
  t.match(toCgroupUsage(2, files({ ...v2, 'memory.max': 'max\n', 'memory.swap.max': 'max\n' })).memory, {
    limitBytes: undefined,
    swapLimitBytes: undefined,
  })
  t.equal(toCgroupDetail(2, files({ ...v2, 'cpu.max': 'max 100000\n' })).cpuQuotaUs, undefined)
  t.equal(toCgroupDetail(1, files({ ...v1, 'cpu.cfs_quota_us': '-1\n' })).cpuQuotaUs, undefined)
})

t.test('the working set is never less than nothing', async t => {
  const odd = { ...v2, 'memory.current': '4096\n' }
  t.equal(toCgroupUsage(2, files(odd)).memory?.workingSetBytes, 0)
})

t.test('pressure is read, with and without a full line', async t => {
  t.same(toCgroupUsage(2, files(v2)).psi.cpu?.some, { total: 1_234_567, avg10: 1.5, avg60: 0.25, avg300: 0 })
  t.equal(toPsi('some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n')?.full.total, 0)
  t.equal(toPsi(undefined), undefined)
})

t.test('a tree is read by controller and path', async t => {
  const root = mkdtempSync(join(tmpdir(), 'cgroup-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  for (const [controllers, file, text] of [
    ['cpu,cpuacct', 'cpuacct.usage', '5\n'],
    ['memory', 'memory.usage_in_bytes', '4096\n'],
    ['memory', 'cgroup.procs', '12\n34\n'],
  ] as const) {
    mkdirSync(join(root, controllers, 'kubepods/podx/abc'), { recursive: true })
    writeFileSync(join(root, controllers, 'kubepods/podx', file), text)
  }
  const trees = ['cpu,cpuacct', 'memory'].map(name => ({ mountPoint: join(root, name), controllers: name.split(',') }))
  const reader = createCgroupReader({ version: 1, trees })
  t.match(reader.usage('/kubepods/podx'), { cpu: { usageNs: 5 }, memory: { usageBytes: 4096 } })
  t.same(reader.children('/kubepods/podx'), ['abc'])
  t.same(reader.processes('/kubepods/podx'), [12, 34])
  t.ok(reader.madeAt('/kubepods/podx'))
  t.match([reader.children('/gone'), reader.processes('/gone'), reader.madeAt('/gone')], [[], [], undefined])
})
