import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import type { ContainerStats } from '../../api/cri/stats.ts'
import type { Pod } from '../../api/types.ts'
import { toCgroupDetail } from '../../host/cgroup-detail.ts'
import type { CgroupReader } from '../../host/cgroup-read.ts'
import { toCgroupUsage } from '../../host/cgroup-usage.ts'
import { systemClock } from '../../host/clock.ts'
import { measurePods } from './pod-uses.ts'
import type { Starved } from './thresholds.ts'

const kib = 1024
const [main, side, pause] = ['a', 'b', 'c'].map(digit => digit.repeat(64)) as [string, string, string]
const running = (name: string, id: string) => ({
  ...{ name, image: 'i', imageID: 'i', ready: true, restartCount: 0, containerID: `containerd://${id}` },
  state: { running: { startedAt: '2026-01-01T00:00:00Z' } },
})
const pod: Pod = {
  metadata: { name: 'web', namespace: 'shop', uid: 'u' },
  spec: {
    containers: [
      { name: 'main', image: 'i' },
      { name: 'side', image: 'i' },
    ],
    volumes: [
      { name: 'scratch', emptyDir: {} },
      { name: 'memory', emptyDir: { medium: 'Memory' } },
      { name: 'secret', secret: { secretName: 's' } },
    ],
  },
  status: { phase: 'Running', containerStatuses: [running('main', main), running('side', side)] },
}
const waiting: Pod = { metadata: { name: 'waiting', uid: 'w' }, spec: { containers: [{ name: 'c', image: 'i' }] } }

const memory = (bytes: number) => ({ 'memory.current': `${bytes}`, 'memory.stat': 'anon 1\ninactive_file 100\n' })
const cgroups: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  '/pod-u': memory(5100),
  [`/pod-u/${main}`]: memory(3100),
  [`/pod-u/${side}`]: memory(1100),
}
const processes: Readonly<Record<string, readonly number[]>> = {
  [`/pod-u/${main}`]: [1, 2, 3],
  [`/pod-u/${side}`]: [4],
  [`/pod-u/${pause}`]: [5],
}
const reader: CgroupReader = {
  version: 2,
  usage: path => toCgroupUsage(2, (_, file) => cgroups[path]?.[file]),
  detail: () => toCgroupDetail(2, () => undefined),
  children: path => (path === '/pod-u' ? [main, side, pause] : []),
  processes: path => processes[path] ?? [],
  madeAt: () => undefined,
}

const layer = (id: string, bytes: number): ContainerStats => ({
  attributes: { id, metadata: { name: '', attempt: 0 }, labels: {}, annotations: {} },
  ...{ cpu: null, memory: null, swap: null, io: null },
  writableLayer: { timestamp: 0, fsId: null, usedBytes: { value: bytes }, inodesUsed: { value: 7 } },
})

const measure = async (folder: string, starved: Starved) => {
  const found = await measurePods(
    {
      ...{ reader, rootDir: join(folder, 'root'), podLogsDir: join(folder, 'logs'), clock: systemClock },
      pods: () => [pod, waiting],
      parentOf: it => `/pod-${it.metadata.uid}`,
      host: { complete: root => root },
      cri: {
        imageFsInfo: async () => ({
          imageFilesystems: [{ timestamp: 0, fsId: { mountpoint: folder }, usedBytes: null, inodesUsed: null }],
          containerFilesystems: [],
        }),
        listContainerStats: async () => [layer(main, 40 * kib), layer(side, 0)],
      },
    },
    starved,
  )
  t.same([...found.keys()], ['u'], 'of a pod that runs nothing there is nothing to tell')
  return found.get('u')
}

t.test('memory is the working set, of the pod and of each container', async t => {
  const use = await measure(t.testdir({}), 'memory')
  t.equal(use?.memoryBytes, 5000)
  t.same(
    [...(use?.containers ?? [])],
    [
      ['main', { memoryBytes: 3000 }],
      ['side', { memoryBytes: 1000 }],
    ],
  )
})

t.test('process ids are those of the containers and of the sandbox', async t =>
  t.equal((await measure(t.testdir({}), 'pids'))?.processes, 5),
)

t.test('files are layers, logs and the volumes that are the pod’s own', async t => {
  const folder = t.testdir({})
  const volume = (plugin: string, name: string) => join(folder, `root/pods/u/volumes/kubernetes.io~${plugin}/${name}/file`)
  for (const path of [
    join(folder, 'logs/shop_web_u/main/0.log'),
    volume('empty-dir', 'scratch'),
    volume('empty-dir', 'memory'),
    volume('secret', 'secret'),
  ]) {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, Buffer.alloc(64 * kib, 1))
  }
  await mkdir(join(folder, 'logs/shop_web_u/side'))
  const use = await measure(folder, 'ephemeral-storage')
  const { layer: own, logs } = use?.containers.get('main') ?? {}
  t.same(own, { bytes: 40 * kib, inodes: 7 })
  t.ok(logs !== undefined && logs.bytes >= 64 * kib && logs.bytes < 128 * kib && logs.inodes === 2)
  const { volumes } = use ?? {}
  t.ok(volumes !== undefined && volumes.bytes >= 64 * kib && volumes.bytes < 128 * kib && volumes.inodes === 2)
})
