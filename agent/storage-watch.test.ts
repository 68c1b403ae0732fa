import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { ContainerStats } from '../api/cri/stats.ts'
import type { Pod, PodSpec } from '../api/types.ts'
import { fakeClock } from '../host/clock.fake.ts'
import { silentLog } from '../host/log.ts'
import { diskUsage } from './stats/disk-usage.ts'
import { createStorageWatch } from './storage-watch.ts'

const kib = 1024
const podOf = (spec: Partial<PodSpec>): Pod => ({
  metadata: { name: 'web', namespace: 'shop', uid: 'u' },
  spec: { containers: [{ name: 'main', image: 'i' }], ...spec },
})
const limited = podOf({
  containers: [{ name: 'main', image: 'i', resources: { limits: { 'ephemeral-storage': '100Ki' } } }],
  volumes: [{ name: 'v', emptyDir: {} }],
})

const bench = async (test: Tap, pod: Pod, { layerBytes = 0, sharesImageDisk = true } = {}) => {
  const folder = test.testdir({})
  const [rootDir, podLogsDir] = [join(folder, 'root'), join(folder, 'logs')]
  const write = async (path: string, bytes: number) => {
    await mkdir(join(path, '..'), { recursive: true })
    await writeFile(path, Buffer.alloc(bytes, 1))
  }
  const clock = fakeClock()
  const told: string[] = []
  const watch = createStorageWatch({
    pods: () => [pod],
    measure: async path => (await diskUsage(path))?.bytes,
    runtime: {
      listContainerStats: async () => [
        {
          attributes: { id: '1', metadata: { name: 'main', attempt: 0 }, labels: {}, annotations: {} },
          ...{ cpu: null, memory: null, swap: null, io: null },
          writableLayer: { timestamp: 0, fsId: null, usedBytes: { value: layerBytes }, inodesUsed: null },
        } satisfies ContainerStats,
      ],
    },
    ...{ rootDir, podLogsDir, sharesImageDisk, clock, log: silentLog },
    onExceeded: (_, { message }) => void told.push(message.trim()),
  })
  test.teardown(watch.stop)
  return {
    ...{ clock, told, watch },
    fillVolume: (bytes: number) => write(join(rootDir, 'pods/u/volumes/kubernetes.io~empty-dir/v/file'), bytes),
    fillLog: (bytes: number) => write(join(podLogsDir, 'shop_web_u/main/0.log'), bytes),
  }
}
type Tap = typeof t

t.test('an emptyDir is measured on the disk', async t => {
  const { watch, told, fillVolume } = await bench(t as Tap, podOf({ volumes: [{ name: 'v', emptyDir: { sizeLimit: '100Ki' } }] }))
  await watch.look()
  await fillVolume(50 * kib)
  await watch.look()
  t.same(told, [])
  await fillVolume(150 * kib)
  await watch.look()
  t.same(told, ['Usage of EmptyDir volume "v" exceeds the limit "100Ki".'])
})

t.test('volumes, logs and layers count together', async t => {
  const given = await bench(t as Tap, limited, { layerBytes: 40 * kib })
  await given.fillVolume(30 * kib)
  await given.watch.look()
  t.same(given.told, [])
  await given.fillLog(30 * kib)
  await given.watch.look()
  t.same(given.told, ['Pod ephemeral local storage usage exceeds the total limit of containers 100Ki.'])
})

t.test('layers on a disk of their own do not count', async t => {
  const { watch, told } = await bench(t as Tap, limited, { layerBytes: 400 * kib, sharesImageDisk: false })
  await watch.look()
  t.same(told, [])
})

t.test('it looks again and again', async t => {
  const { watch, told, fillVolume, clock } = await bench(t as Tap, limited)
  watch.start()
  await fillVolume(150 * kib)
  await clock.advance(10_000)
  await t.resolves(until(() => told.length === 1))
})

const until = async (isSo: () => boolean): Promise<void> => {
  while (!isSo()) await new Promise(resolve => setImmediate(resolve))
}
