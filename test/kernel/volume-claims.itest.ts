// Volumes behind claims on a real mount table and a real disk (a loop device): what containers find in them, and that they outlive pods.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { VolumesDeps } from '../../agent/volumes/volumes.ts'
import type { PersistentVolume, PersistentVolumeSpec } from '../../api/storage.ts'
import type { Pod, PodSpec } from '../../api/types.ts'
import { systemExec } from '../../host/exec.ts'
import {
  type Bench,
  bench as benchOf,
  dirOf,
  inOwnMounts,
  modeOf,
  mountsOf,
  podOf,
  read,
  table,
} from '../support/volume-bench.ts'

inOwnMounts(import.meta.filename)

const claimed = (spec: PersistentVolumeSpec, readOnly = false): Partial<VolumesDeps> => {
  const volume: PersistentVolume = { metadata: { name: 'pv-1' }, spec }
  return { claims: { find: async () => ({ volume, readOnly }), known: () => volume, groups: () => [], forget: () => undefined } }
}
const bench = (t: Test, spec: PersistentVolumeSpec, readOnly = false) => benchOf(t, claimed(spec, readOnly))
const claims = [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }]
const podWith = (spec: Partial<PodSpec> = {}, uid = 'uid-1'): Pod => {
  const pod = podOf(claims, spec)
  return { ...pod, metadata: { ...pod.metadata, uid } }
}
const folder = (t: Test): string => {
  const dir = t.testdir({ kept: 'before', sub: { file: 'inside' } })
  fs.chmodSync(dir, 0o755)
  return dir
}
const mountPoint = (node: Bench) => dirOf(node, 'local-volume', 'pv-1')
const optionsAt = async (path: string) => (await table.at(path))?.options

t.test('a local folder is mounted where containers take it from, and keeps its files when the pod ends', async t => {
  const dir = folder(t)
  const node = bench(t, { local: { path: dir }, mountOptions: ['noatime'] })
  await node.volumes.prepare(podWith())
  await node.volumes.prepare(podWith())
  const target = mountPoint(node)
  t.equal((await table.list()).filter(({ path }) => path === target).length, 1, 'mounted once, however often it is prepared')
  t.ok((await optionsAt(target))?.includes('noatime'))
  t.equal(node.volumes.claimFolder(podWith(), 'data'), target)
  fs.writeFileSync(join(target, 'new'), 'by the pod')
  t.match((await mountsOf(node, podWith()))[0], { containerPath: '/mnt/data', hostPath: target, readonly: false })
  await node.volumes.teardown('uid-1')
  t.notOk(fs.existsSync(join(node.root, 'pods/uid-1')))
  t.same([read(join(dir, 'new')), read(join(dir, 'kept'))], ['by the pod', 'before'])
})

t.test('a claim that is used read-only cannot be written to', async t => {
  const node = bench(t, { local: { path: folder(t) } }, true)
  await node.volumes.prepare(podWith({ securityContext: { fsGroup: 4321 } }))
  t.throws(() => fs.writeFileSync(join(mountPoint(node), 'new'), ''), { code: 'EROFS' })
  t.match((await mountsOf(node, podWith()))[0], { readonly: true })
  t.not(fs.statSync(mountPoint(node)).gid, 4321, 'nor are its files given to the group')
})

t.test('the first pod gives the files to its group, a second one leaves them, the next first one may again', async t => {
  const dir = folder(t)
  const node = bench(t, { local: { path: dir } })
  const ofGroup = (fsGroup: number, uid: string) => podWith({ securityContext: { fsGroup } }, uid)
  await node.volumes.prepare(ofGroup(4321, 'uid-1'))
  t.same([fs.statSync(join(dir, 'sub/file')).gid, fs.statSync(dir).gid, modeOf(dir)], [4321, 4321, '2775'])
  await node.volumes.prepare(ofGroup(1234, 'uid-2'))
  t.equal(fs.statSync(dir).gid, 4321)
  await node.volumes.teardown('uid-1')
  await node.volumes.teardown('uid-2')
  await node.volumes.prepare(ofGroup(1234, 'uid-3'))
  t.equal(fs.statSync(join(dir, 'sub/file')).gid, 1234)
  fs.chownSync(join(dir, 'kept'), 7, 7)
  await node.volumes.prepare(ofGroup(1234, 'uid-3'))
  t.equal(fs.statSync(join(dir, 'kept')).gid, 7, 'later the files are their own business')
})

t.test('an agent that died between the mount and the group finishes its work', async t => {
  const dir = folder(t)
  const node = bench(t, { local: { path: dir } })
  const pod = podWith({ securityContext: { fsGroup: 4321 } })
  await node.volumes.prepare(pod)
  fs.chownSync(join(dir, 'kept'), 0, 0)
  fs.writeFileSync(join(node.root, 'pods/uid-1/plugins/kubernetes.io~local-volume/pv-1/begun'), '')
  await node.volumes.prepare(pod)
  t.equal(fs.statSync(join(dir, 'kept')).gid, 4321)
})

t.test('OnRootMismatch leaves a volume alone whose folder is right', async t => {
  const dir = folder(t)
  fs.chownSync(dir, 0, 4321)
  fs.chmodSync(dir, 0o2775)
  const node = bench(t, { local: { path: dir } })
  await node.volumes.prepare(podWith({ securityContext: { fsGroup: 4321, fsGroupChangePolicy: 'OnRootMismatch' } }))
  t.equal(fs.statSync(join(dir, 'kept')).gid, 0)
})

t.test('a volume for one pod is not mounted for a second one', async t => {
  const node = bench(t, { local: { path: folder(t) }, accessModes: ['ReadWriteOncePod'] })
  await node.volumes.prepare(podWith())
  const message = /: volume uses the ReadWriteOncePod access mode and is already in use by another pod$/
  await t.rejects(node.volumes.prepare(podWith({}, 'uid-2')), { message })
  await node.volumes.teardown('uid-1')
  await node.volumes.prepare(podWith({}, 'uid-2'))
})

for (const [name, path, message] of [
  [
    'a path that is not there',
    '/no/such/folder',
    /^MountVolume\.SetUp failed for volume "pv-1" : path "\/no\/such\/folder" does not exist$/,
  ],
  ['a path that climbs', '/srv/../etc', /must not contain '\.\.'/],
  ['a plain file', import.meta.filename, /only directory and block device are supported/],
] as const)
  t.test(`refused: ${name}`, async t => {
    const node = bench(t, { local: { path } })
    await t.rejects(node.volumes.prepare(podWith()), { code: 'volume', reason: 'FailedMount', message })
    await node.volumes.teardown('uid-1')
  })

t.test('a subPath of a claim is mounted by itself', async t => {
  const node = bench(t, { local: { path: folder(t) } })
  const volumeMounts = [{ name: 'data', mountPath: '/x', subPath: 'sub' }]
  const pod = podOf(claims, {}, { volumeMounts })
  await node.volumes.prepare(pod)
  const [mount] = await mountsOf(node, pod)
  t.equal(read(join(mount?.hostPath ?? '', 'file')), 'inside')
  await node.volumes.teardown('uid-1')
  t.same(await table.under(node.root), [])
})

t.test('a hostPath behind a claim is the path itself', async t => {
  const dir = folder(t)
  const node = bench(t, { hostPath: { path: dir, type: 'Directory' } })
  const pod = podWith({ securityContext: { fsGroup: 4321 } })
  await node.volumes.prepare(pod)
  t.match((await mountsOf(node, pod))[0], { hostPath: dir, readonly: false })
  t.equal(fs.statSync(dir).gid, 0, 'its files stay whose they are')
  await node.volumes.teardown('uid-1')
  t.equal(read(join(dir, 'kept')), 'before')
})

t.test('a disk gets a file system once, is mounted once for all pods, and unmounted after the last', async t => {
  const image = join(t.testdir(), 'disk')
  fs.writeFileSync(image, '')
  fs.truncateSync(image, 16 * 1024 ** 2)
  const { stdout } = await systemExec.run(['losetup', '--find', '--show', image])
  const device = stdout.trim()
  t.teardown(() => systemExec.try(['losetup', '--detach', device]))
  const node = bench(t, { local: { path: device } })
  const disk = join(node.root, 'plugins/kubernetes.io/local-volume/mounts/pv-1')
  await node.volumes.prepare(podWith())
  await node.volumes.prepare(podWith({}, 'uid-2'))
  t.match(await table.at(mountPoint(node)), { fsType: 'ext4', source: device })
  fs.writeFileSync(join(mountPoint(node), 'kept'), 'x')
  await node.volumes.teardown('uid-1')
  t.ok(await table.isMountPoint(disk), 'another pod uses it')
  await node.volumes.teardown('uid-2')
  t.notOk(fs.existsSync(disk))
  await node.volumes.prepare(podWith())
  t.equal(read(join(mountPoint(node), 'kept')), 'x', 'what is on it is never formatted again')
  await node.volumes.teardown('uid-1')

  const raw = benchOf(t, claimed({ local: { path: device }, volumeMode: 'Block' }))
  const pod = podOf(claims, {}, { volumeMounts: [], volumeDevices: [{ name: 'data', devicePath: '/dev/x' }] })
  await raw.volumes.prepare(pod)
  const { devices } = await raw.volumes.mounts(pod, pod.spec.containers[0]!, [], { podIPs: [] })
  t.same(devices, [{ containerPath: '/dev/x', hostPath: device, permissions: 'mrw' }])
})

t.test(
  'NFS without its mount program says what to install',
  { skip: fs.existsSync('/sbin/mount.nfs') && 'it is here' },
  async t => {
    const node = benchOf(t)
    const pod = podOf([{ name: 'data', nfs: { server: '127.0.0.1', path: '/x' } }])
    const message =
      /^MountVolume.SetUp failed for volume "data" : mount of 127.0.0.1:\/x failed: mount.nfs is not installed on this node/
    await t.rejects(node.volumes.prepare(pod), { message })
    await node.volumes.teardown('uid-1')
  },
)
