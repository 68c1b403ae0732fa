// Volumes as a container would find them: kinds, modes, owners, sizes, and content that changes under a reader.
import * as fs from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import type { Pod } from '../../api/types.ts'
import { systemExec } from '../../host/exec.ts'
import { bench, confOf, dirOf, inOwnMounts, modeOf, podOf, read, secretOf, table } from '../support/volume-bench.ts'

inOwnMounts(import.meta.filename)

t.test('an emptyDir on the disk is there for any user, and keeps its files over restarts', async t => {
  const node = bench(t)
  const pod = podOf([{ name: 'tmp', emptyDir: {} }])
  await node.volumes.prepare(pod)
  const dir = dirOf(node, 'empty-dir', 'tmp')
  t.equal(modeOf(dir), '777')
  t.equal(modeOf(join(node.root, 'pods/uid-1')), '750', 'but nobody else of the node gets that far')
  fs.writeFileSync(join(dir, 'kept'), 'x')
  fs.chmodSync(dir, 0o700)
  await node.volumes.prepare(pod)
  t.equal(read(join(dir, 'kept')), 'x')
  t.equal(modeOf(dir), '700', 'what the pod did to it stays')
  t.notOk(await table.isMountPoint(dir))
})

t.test('an emptyDir in memory is a tmpfs of the size of its limit', async t => {
  const node = bench(t)
  const pod = podOf([
    { name: 'mem', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    { name: 'all', emptyDir: { medium: 'Memory' } },
  ])
  await node.volumes.prepare(pod)
  await node.volumes.prepare(pod)
  const dir = dirOf(node, 'empty-dir', 'mem')
  const mounts = (await table.list()).filter(({ path }) => path === dir)
  t.equal(mounts.length, 1, 'mounted once, however often it is prepared')
  t.match(mounts[0], { fsType: 'tmpfs' })
  t.ok(mounts[0]?.superOptions.includes('size=1024k'))
  t.equal(modeOf(dir), '1777')
  t.throws(() => fs.writeFileSync(join(dir, 'big'), Buffer.alloc(2 * 1024 * 1024)), { code: 'ENOSPC' })
  t.ok(
    (await table.at(dirOf(node, 'empty-dir', 'all')))?.superOptions.includes('size=65536k'),
    'without a limit, what the node has',
  )
})

t.test('fsGroup owns the files of a pod', async t => {
  const node = bench(t)
  node.secrets.put(secretOf({ token: 's' }))
  const volumes = [
    { name: 'tmp', emptyDir: {} },
    { name: 'keys', secret: { secretName: 'keys', defaultMode: 0o400 } },
  ]
  const pod = podOf(volumes, { securityContext: { fsGroup: 4321 } })
  await node.volumes.prepare(pod)
  const dir = dirOf(node, 'empty-dir', 'tmp')
  t.equal(fs.statSync(dir).gid, 4321)
  t.equal(modeOf(dir), '2777', 'files made in it belong to the group as well')
  fs.writeFileSync(join(dir, 'made'), '')
  t.equal(fs.statSync(join(dir, 'made')).gid, 4321)
  const secret = join(dirOf(node, 'secret', 'keys'), 'token')
  t.equal(fs.statSync(secret).gid, 4321)
  t.equal(modeOf(secret), '440', 'the group may read what only root could')
  t.equal(fs.lstatSync(secret).isSymbolicLink(), true)
})

t.test('a secret lives in memory, with the modes it asks for', async t => {
  const node = bench(t)
  node.secrets.put(secretOf({ user: 'u', pass: 'p' }))
  const items = [
    { key: 'pass', path: 'deep/er/pass', mode: 0o400 },
    { key: 'user', path: 'user' },
  ]
  const pod = podOf([
    { name: 'all', secret: { secretName: 'keys' } },
    { name: 'some', secret: { secretName: 'keys', defaultMode: 0o440, items } },
  ])
  await node.volumes.prepare(pod)
  const [all, some] = [dirOf(node, 'secret', 'all'), dirOf(node, 'secret', 'some')]
  t.equal((await table.at(all))?.fsType, 'tmpfs')
  t.equal(read(join(all, 'user')), 'u')
  t.equal(modeOf(join(all, 'user')), '644')
  t.equal(read(join(some, 'deep/er/pass')), 'p')
  t.equal(modeOf(join(some, 'deep/er/pass')), '400')
  t.equal(modeOf(join(some, 'user')), '440')
  t.equal(fs.readlinkSync(join(some, 'deep')), '..data/deep')
  t.match(fs.readlinkSync(join(some, '..data')), /^\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\./)
})

t.test('a projected volume brings its sources together and follows them', async t => {
  const node = bench(t)
  node.secrets.put(secretOf({ pass: 'p1' }))
  node.configMaps.put(confOf({ color: 'blue', size: 'xl' }))
  const sources = [
    { configMap: { name: 'conf' } },
    { secret: { name: 'keys' } },
    { secret: { name: 'none', optional: true } },
    { downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } },
  ]
  const pod = podOf([{ name: 'all', projected: { sources } }])
  await node.volumes.prepare(pod)
  const dir = dirOf(node, 'projected', 'all')
  const visible = () =>
    fs
      .readdirSync(dir)
      .filter(name => !name.startsWith('..'))
      .sort()
  t.same(visible(), ['color', 'labels', 'pass', 'size'])
  t.equal(read(join(dir, 'labels')), 'app="web"')

  const before = fs.readlinkSync(join(dir, '..data'))
  t.same(await node.volumes.refresh(pod), [], 'nothing new, nothing written')
  t.equal(fs.readlinkSync(join(dir, '..data')), before)

  node.configMaps.put(confOf({ color: 'green' }))
  const relabelled = { ...pod, metadata: { ...pod.metadata, labels: { app: 'web', tier: 'a' } } }
  t.same(await node.volumes.refresh(relabelled), ['all'])
  t.same(visible(), ['color', 'labels', 'pass'], 'a key that is gone takes its file along')
  t.equal(read(join(dir, 'color')), 'green')
  t.equal(read(join(dir, 'labels')), 'app="web"\ntier="a"')
  t.equal(fs.readdirSync(dir).filter(name => /^\.\.\d/.test(name)).length, 1, 'the old files are gone')
})

t.test('a volume goes on where a crash has stopped its writer', async t => {
  const node = bench(t)
  node.configMaps.put(confOf({ color: 'blue' }))
  const pod = podOf([{ name: 'conf', configMap: { name: 'conf' } }])
  await node.volumes.prepare(pod)
  const dir = dirOf(node, 'configmap', 'conf')
  fs.mkdirSync(join(dir, '..2020_01_01_00_00_00.123456'))
  fs.symlinkSync('..2020_01_01_00_00_00.123456', join(dir, '..data_tmp'))
  fs.rmSync(join(dir, 'color'))
  node.configMaps.put(confOf({ color: 'green' }))
  await node.volumes.prepare(pod)
  t.equal(read(join(dir, 'color')), 'green')
  t.notOk(fs.existsSync(join(dir, '..2020_01_01_00_00_00.123456')))
})

t.test('a reader never misses a file and never sees half of one while the content is swapped', async t => {
  const node = bench(t)
  const content = (version: number) => `${version}\n`.repeat(5000)
  node.configMaps.put(confOf({ file: content(0) }))
  const pod = podOf([{ name: 'conf', configMap: { name: 'conf' } }])
  await node.volumes.prepare(pod)
  const code = `
    const { parentPort, workerData } = require('node:worker_threads'), fs = require('node:fs')
    let going = true, reads = 0, wrong
    parentPort.on('message', () => { parentPort.postMessage({ reads, wrong }); going = false; parentPort.close() })
    const loop = () => {
      try {
        const lines = fs.readFileSync(workerData, 'utf8').split('\\n')
        reads++
        if (lines.length !== 5001 || new Set(lines).size !== 2) wrong ??= 'mixed content'
      } catch (error) { wrong ??= error.message }
      if (going) setImmediate(loop)
    }
    loop()`
  const worker = new Worker(code, { eval: true, workerData: join(dirOf(node, 'configmap', 'conf'), 'file') })
  for (let version = 1; version <= 20; version++) {
    node.configMaps.put(confOf({ file: content(version) }))
    await node.volumes.refresh(pod)
  }
  const told = new Promise<{ reads: number; wrong?: string }>(resolve => worker.once('message', resolve))
  worker.postMessage('stop')
  const { reads, wrong } = await told
  t.equal(wrong, undefined)
  t.ok(reads > 100, `${reads} reads during 20 swaps`)
  await worker.terminate()
})

for (const [name, volume, message] of [
  ['a config map', { name: 'v', configMap: { name: 'no' } }, 'configmap "no" not found'],
  ['a secret', { name: 'v', secret: { secretName: 'no' } }, 'secret "no" not found'],
  [
    'a key',
    { name: 'v', secret: { secretName: 'keys', items: [{ key: 'no', path: 'p' }] } },
    'references non-existent secret key: no',
  ],
  [
    'an issuer of tokens',
    { name: 'v', projected: { sources: [{ serviceAccountToken: { path: 't' } }] } },
    'serviceAccountToken needs an apiserver that issues it, and this node runs without one',
  ],
  ['support for its kind', { name: 'v', glusterfs: { path: 'x' } }, 'volume kind glusterfs is not supported on this node'],
] as const)
  t.test(`a volume that lacks ${name} is not prepared, leaves no mount, and says so as the kubelet does`, async t => {
    const node = bench(t)
    node.secrets.put(secretOf({ pass: 'p' }))
    const pod = podOf([volume, { name: 'other', emptyDir: {} }])
    await t.rejects(node.volumes.prepare(pod), {
      message: `MountVolume.SetUp failed for volume "v" : ${message}`,
      code: 'volume',
      reason: 'FailedMount',
    })
    t.same(await table.under(node.base), [])
    t.ok(fs.existsSync(dirOf(node, 'empty-dir', 'other')), 'the other volume is there')
  })

t.test('a token belongs to the one user of the pod', async t => {
  const asked: unknown[] = []
  const tokens = {
    token: async (_: Pod, wanted: unknown) => {
      asked.push(wanted)
      return 'jwt'
    },
    forget: () => undefined,
  }
  const node = bench(t, { tokens })
  const volume = {
    name: 'sa',
    projected: { sources: [{ serviceAccountToken: { path: 'token', audience: 'vault', expirationSeconds: 600 } }] },
  }
  await node.volumes.prepare(podOf([volume], { securityContext: { runAsUser: 1234 } }))
  const file = join(dirOf(node, 'projected', 'sa'), 'token')
  t.equal(read(file), 'jwt')
  t.equal(modeOf(file), '600')
  t.equal(fs.statSync(file).uid, 1234)
  t.same(asked, [{ from: 'token', path: 'token', audience: 'vault', expirationSeconds: 600 }])
})

t.test('every type of hostPath', async t => {
  const node = bench(t)
  const at = (name: string) => join(node.base, 'host', name)
  fs.mkdirSync(at('dir'), { recursive: true })
  fs.writeFileSync(at('file'), '')
  fs.symlinkSync('dir', at('link'))
  await systemExec.run(['mknod', at('char'), 'c', '1', '3'])
  await systemExec.run(['mknod', at('block'), 'b', '7', '99'])
  const server = createServer().listen(at('socket'))
  await new Promise(resolve => server.once('listening', resolve))
  t.teardown(() => server.close())
  const tried = (path: string, type: string | undefined) =>
    node.volumes.prepare(podOf([{ name: 'h', hostPath: type === undefined ? { path } : { path, type } }]))

  for (const [type, good] of [
    [undefined, 'nothing/here'],
    ['', 'nothing/here'],
    ['Directory', 'dir'],
    ['Directory', 'link'],
    ['DirectoryOrCreate', 'dir'],
    ['File', 'file'],
    ['FileOrCreate', 'file'],
    ['Socket', 'socket'],
    ['CharDevice', 'char'],
    ['BlockDevice', 'block'],
  ] as const)
    await t.resolves(tried(at(good), type), `${type ?? 'no type'} takes ${good}`)

  for (const [type, bad, called] of [
    ['Directory', 'file', 'a directory'],
    ['Directory', 'no', 'a directory'],
    ['Directory', 'file/below', 'a directory'],
    ['DirectoryOrCreate', 'file', 'a directory'],
    ['File', 'dir', 'a file'],
    ['File', 'no', 'a file'],
    ['FileOrCreate', 'dir', 'a file'],
    ['Socket', 'file', 'a socket file'],
    ['CharDevice', 'block', 'a character device'],
    ['BlockDevice', 'char', 'a block device'],
  ] as const) {
    const message = `MountVolume.SetUp failed for volume "h" : hostPath type check failed: ${at(bad)} is not ${called}`
    await t.rejects(tried(at(bad), type), { message }, `${type} refuses ${bad}`)
  }

  await tried(at('new/dir'), 'DirectoryOrCreate')
  t.equal(modeOf(at('new/dir')), '755')
  await tried(at('new/file'), 'FileOrCreate')
  t.equal(modeOf(at('new/file')), '644')
  await t.rejects(tried(at('no/such/file'), 'FileOrCreate'), /no such file or directory/)
  await t.rejects(tried(`${at('dir')}/../dir`, ''), { message: /invalid HostPath .*: must not contain '\.\.'$/ })
  await t.rejects(tried(at('dir'), 'Folder'), { message: /: Folder is an invalid volume type$/ })
  await node.volumes.teardown('uid-1')
  t.same(
    fs.readdirSync(at('')).sort(),
    ['block', 'char', 'dir', 'file', 'link', 'new', 'socket'],
    'nothing of the node is removed',
  )
})
