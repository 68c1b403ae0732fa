import t from 'tap'
import { toCgroupUsage } from '../../host/cgroup-usage.ts'
import { createHostFigures } from '../stats/host-figures.ts'
import { createNodeSignals, toLayout } from './node-signals.ts'
import type { Signal } from './thresholds.ts'

const kib = 1024
const mib = 1024 * kib

const proc = { loadavg: '0.1 0.2 0.3 2/350 999', meminfo: 'MemTotal: 1048576 kB\nMemFree: 262144 kB\n' }

/** A machine of 1 GiB whose root cgroup and pods hold what the test says. */
const machine = (
  test: typeof t,
  version: 1 | 2,
  files: Readonly<Record<string, Readonly<Record<string, string>>>>,
  device = '/i',
) => {
  const asked: string[] = []
  return {
    asked,
    signals: createNodeSignals({
      rootDir: '/root',
      podsCgroup: '/kubepods',
      pidLimit: 1000,
      runtime: {
        imageFsInfo: async () => ({
          imageFilesystems: [{ timestamp: 0, fsId: { mountpoint: device }, usedBytes: null, inodesUsed: null }],
          containerFilesystems: [],
        }),
      },
      reader: { usage: path => toCgroupUsage(version, (_, file) => files[path]?.[file]) },
      host: createHostFigures(version, test.testdir(proc)),
      deviceOf: async folder => (folder === '/root' ? 1 : 2),
      sizeOf: async folder => {
        asked.push(folder)
        return { bytes: 1000, availableBytes: 300, inodes: 100, freeInodes: 40 }
      },
    }),
  }
}
const all = (...signals: readonly Signal[]) => new Set(signals)
type Tap = typeof t

t.test('version 2: what is available is all memory less the working set of everything', async t => {
  const { signals } = machine(t as Tap, 2, {
    '/': { 'memory.stat': `anon 1\ninactive_file ${100 * mib}\n` },
    '/kubepods': {
      'memory.current': `${300 * mib}`,
      'memory.max': `${800 * mib}`,
      'memory.stat': `anon 1\ninactive_file ${50 * mib}\n`,
    },
  })
  t.same(Object.fromEntries(await signals.observe(all('memory.available', 'allocatableMemory.available'), undefined)), {
    'memory.available': { capacity: 1024 * mib, available: 356 * mib },
    'allocatableMemory.available': { capacity: 800 * mib, available: 550 * mib },
  })
})

t.test('version 1 counts the use of the root cgroup', async t => {
  const { signals } = machine(t as Tap, 1, {
    '/': { 'memory.usage_in_bytes': `${500 * mib}`, 'memory.stat': `total_inactive_file ${100 * mib}\n` },
  })
  t.same(Object.fromEntries(await signals.observe(all('memory.available'), undefined)), {
    'memory.available': { capacity: 1024 * mib, available: 624 * mib },
  })
})

t.test('pods without a limit have no share of their own', async t => {
  const { signals } = machine(t as Tap, 2, {
    '/kubepods': { 'memory.current': '1', 'memory.max': 'max', 'memory.stat': 'anon 1\n' },
  })
  t.equal((await signals.observe(all('allocatableMemory.available'), undefined)).size, 0)
})

t.test('process ids are those that there can be less those that there are', async t =>
  t.same((await machine(t as Tap, 2, {}).signals.observe(all('pid.available'), undefined)).get('pid.available'), {
    capacity: 1000,
    available: 650,
  }),
)

t.test('a disk is looked at once for both of its signals, and one that nobody asks for not at all', async t => {
  const { signals, asked } = machine(t as Tap, 2, {})
  const disks = await signals.disks()
  t.equal(disks.layout, 'runtime-apart')
  const found = await signals.observe(all('nodefs.available', 'nodefs.inodesFree', 'imagefs.inodesFree'), disks)
  t.same(found.get('nodefs.available'), { capacity: 1000, available: 300 })
  t.same(found.get('imagefs.inodesFree'), { capacity: 100, available: 40 })
  t.same(asked, ['/root', '/i'])
})

t.test('nothing is told of the disks of a runtime that does not answer', async t => {
  const { signals } = machine(t as Tap, 2, {})
  t.same([...(await signals.observe(all('imagefs.available', 'nodefs.available'), undefined)).keys()].sort(), [
    'nodefs.available',
    'nodefs.inodesFree',
  ])
})

for (const [name, [nodefs, imagefs, containerfs], layout] of [
  ['everything on one disk', [1, 1, 1], 'one'],
  ['all of the runtime on another', [1, 2, 2], 'runtime-apart'],
  ['images alone on another', [1, 2, 1], 'images-apart'],
] as const) {
  t.test(name, async t => t.equal(toLayout(nodefs, imagefs, containerfs), layout))
}
