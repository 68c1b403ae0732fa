import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import type { Pod } from '../../api/types.ts'
import type { Exec } from '../../host/exec.ts'
import { silentLog } from '../../host/log.ts'
import type { MountEntry } from '../../host/mounts.ts'
import { createLocalVolumes, ensureDevice } from './local.ts'
import { localDisk } from './paths.ts'
import type { LocalAction } from './persistent.ts'

const pod: Pod = { metadata: { name: 'web', uid: 'u' }, spec: { containers: [] } }

/** Local volumes with a mount table in memory: what a mount shows is the kernel ring's matter. */
const bench = (t: Test) => {
  const root = t.testdir({ source: { file: '' } })
  const table = new Map<string, string>()
  const mounts = {
    list: async () => [...table.keys()].map(path => ({ path }) as MountEntry),
    isMountPoint: async (path: string) => table.has(path),
    bind: async (source: string, path: string, options: readonly string[] = []) =>
      void table.set(path, [source, ...options].join(' ')),
    unmount: async (path: string) => void table.delete(path),
    fileSystem: async (fsType: string, source: string, path: string) => void table.set(path, `${fsType} ${source}`),
  }
  const local = createLocalVolumes({ mounts, exec: {} as Exec, log: silentLog })
  const actionOf = (uid: string, more: Partial<LocalAction> = {}): LocalAction => ({
    ...{
      do: 'local',
      name: 'pv-1',
      source: join(root, 'source'),
      fsType: 'ext4',
      readOnly: false,
      options: [],
      isForOnePod: false,
    },
    dir: join(root, 'pods', uid, 'volumes/kubernetes.io~local-volume/pv-1'),
    disk: localDisk(root, 'pv-1'),
    begun: join(root, 'pods', uid, 'begun'),
    ...more,
  })
  return { root, table, local, actionOf }
}

t.test('a folder is mounted once, with the options of its volume', async t => {
  const { local, table, actionOf } = bench(t)
  const action = actionOf('a', { readOnly: true, options: ['noatime'] })
  await local.setUp(pod, action)
  await local.setUp(pod, action)
  t.same([...table], [[action.dir, `${action.source} ro noatime`]])
  t.notOk(existsSync(action.begun), 'and finished')
})

t.test('what an earlier run has begun is finished, without a second mount', async t => {
  const { local, table, actionOf } = bench(t)
  const action = actionOf('a')
  await local.setUp(pod, action)
  table.set(action.dir, 'as it was')
  writeFileSync(action.begun, '')
  await local.setUp(pod, action)
  t.equal(table.get(action.dir), 'as it was')
  t.notOk(existsSync(action.begun))
})

t.test('what is not there, or is neither folder nor disk, is refused and leaves nothing behind', async t => {
  const { root, local, table, actionOf } = bench(t)
  await t.rejects(local.setUp(pod, actionOf('a', { source: '/no/such' })), { message: 'path "/no/such" does not exist' })
  const file = join(root, 'source/file')
  await t.rejects(local.setUp(pod, actionOf('a', { source: file })), /only directory and block device are supported/)
  await t.rejects(local.setUp(pod, actionOf('a', { source: '/srv/../etc' })), {
    message: /must not contain '\.\.'/,
    retry: 'never',
  })
  t.equal(table.size, 0)
  await t.rejects(ensureDevice({ do: 'device', path: file, readOnly: false }), { message: `${file} is not a block device` })
})

t.test('a disk stays mounted as long as some pod uses it', async t => {
  const { root, local, table, actionOf } = bench(t)
  const { dir, disk } = actionOf('a')
  mkdirSync(disk, { recursive: true })
  table.set(disk, '/dev/d').set(dir, disk)
  await local.releaseDisks(root)
  t.ok(table.has(disk))
  table.delete(dir)
  await local.releaseDisks(root)
  t.notOk(table.has(disk) || existsSync(disk))
  t.ok(existsSync(dirname(disk)))
  await t.resolves(local.releaseDisks(join(root, 'nothing')), 'no disks, nothing to do')
})
