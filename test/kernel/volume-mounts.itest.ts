// What is mounted into a container and how it ends: subPaths against hostile links, the pod's own files, teardown.
import { spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { createVolumes } from '../../agent/volumes/volumes.ts'
import type { Container, Volume } from '../../api/types.ts'
import { systemClock } from '../../host/clock.ts'
import { type Exec, systemExec } from '../../host/exec.ts'
import { removeTree } from '../../host/files.ts'
import { silentLog } from '../../host/log.ts'
import { createMounts, type Mounts } from '../../host/mounts.ts'
import {
  bench,
  confOf,
  containerOf,
  dirOf,
  inOwnMounts,
  modeOf,
  mountsOf,
  podOf,
  read,
  secretOf,
  table,
} from '../support/volume-bench.ts'

inOwnMounts(import.meta.filename)

const subPathPod = (subPath: string, more: Partial<Container> = {}, volume: Volume = { name: 'v', emptyDir: {} }) =>
  podOf([volume], {}, { volumeMounts: [{ name: 'v', mountPath: '/data', subPath }], ...more })

t.test('a subPath shows one folder or one file of a volume', async t => {
  const node = bench(t)
  node.configMaps.put(confOf({ 'app.conf': 'one' }))
  const folder = subPathPod('made/deep')
  await node.volumes.prepare(folder)
  const dir = dirOf(node, 'empty-dir', 'v')
  const [mount] = await mountsOf(node, folder)
  t.equal(mount?.hostPath, join(node.root, 'pods/uid-1/volume-subpaths/v/main/0'))
  t.equal(mount?.containerPath, '/data')
  fs.writeFileSync(join(dir, 'made/deep/seen'), 'x')
  t.same(fs.readdirSync(mount?.hostPath ?? ''), ['seen'])
  t.equal(modeOf(join(dir, 'made/deep')), '777', 'a folder that was missing has the mode of the volume')
  await mountsOf(node, folder)
  t.equal((await table.under(join(node.root, 'pods/uid-1/volume-subpaths'))).length, 1, 'mounted once')

  const file = subPathPod('app.conf', {}, { name: 'v', configMap: { name: 'conf' } })
  await node.volumes.releaseContainer('uid-1', 'main')
  t.same(await table.under(join(node.root, 'pods/uid-1/volume-subpaths')), [], 'let go with its container')
  await node.volumes.prepare(file)
  t.equal(read((await mountsOf(node, file))[0]?.hostPath ?? ''), 'one', 'through the links of the volume')
  node.configMaps.put(confOf({ 'app.conf': 'two' }))
  await node.volumes.refresh(file)
  t.equal(read((await mountsOf(node, file))[0]?.hostPath ?? ''), 'two', 'the next start has the new content')

  const expr = podOf(
    [{ name: 'v', emptyDir: {} }],
    {},
    { volumeMounts: [{ name: 'v', mountPath: '/d', subPathExpr: 'logs/$(NAME)' }] },
  )
  const env = [{ key: 'NAME', value: Buffer.from('web-0') }]
  await node.volumes.mounts(expr, containerOf(expr), env, { podIPs: [] })
  t.ok(fs.existsSync(join(dir, 'logs/web-0')))
})

t.test('a subPath that links lead out of its volume is refused, and tells nothing about the host', async t => {
  const node = bench(t)
  await node.volumes.prepare(subPathPod('x'))
  const dir = dirOf(node, 'empty-dir', 'v')
  const outside = join(node.base, 'outside')
  fs.mkdirSync(outside)
  fs.mkdirSync(join(dir, 'real/below'), { recursive: true })
  fs.writeFileSync(join(dir, 'file'), 'f')
  for (const [link, target] of [
    ['absolute', outside],
    ['root', '/'],
    ['relative', '../../../../../../../outside'],
    ['real/up', '../../..'],
    ['through', 'real/up'],
    ['inside-and-out', `${dir}/real/../..`],
    ['loop', 'loop'],
    ['real/good', '../file'],
    ['good', `${dir}/real/below`],
  ] as const)
    fs.symlinkSync(target, join(dir, link))
  const message = 'failed to prepare subPath for volumeMount "v" of container "main"'
  for (const subPath of [
    'absolute',
    'absolute/new',
    'root/etc',
    'relative',
    'real/up',
    'through',
    'through/x',
    'inside-and-out',
    'loop',
    'file/x',
  ])
    await t.rejects(
      mountsOf(node, subPathPod(subPath)),
      { message, code: 'container-config', reason: 'CreateContainerConfigError' },
      subPath,
    )
  t.same(fs.readdirSync(outside), [], 'nothing was made outside')
  await t.rejects(mountsOf(node, subPathPod('/etc')), { message: 'error SubPath `/etc` must not be an absolute path' })
  await t.rejects(mountsOf(node, subPathPod('a/../..')), {
    message: "unable to provision SubPath `a/../..`: must not contain '..'",
  })
  t.equal(read((await mountsOf(node, subPathPod('real/good')))[0]?.hostPath ?? ''), 'f', 'a link that stays inside is followed')
  await t.resolves(mountsOf(node, subPathPod('good')))
})

t.test('a container that swaps a folder for a link meanwhile gets nothing of the host', async t => {
  const node = bench(t)
  await node.volumes.prepare(subPathPod('x'))
  const dir = dirOf(node, 'empty-dir', 'v')
  const outside = join(node.base, 'outside')
  fs.mkdirSync(join(outside, 'deep'), { recursive: true })
  fs.writeFileSync(join(outside, 'deep/host-secret'), '')
  fs.mkdirSync(join(dir, 'swap/deep'), { recursive: true })
  fs.symlinkSync(outside, join(dir, 'link'))
  const code = `
    const { parentPort, workerData: dir } = require('node:worker_threads'), fs = require('node:fs')
    let going = true, junk = 0
    parentPort.on('message', () => { going = false; parentPort.close() })
    const loop = () => {
      for (let i = 0; i < 50; i++) {
        try {
          fs.renameSync(dir + '/swap', dir + '/aside'); fs.renameSync(dir + '/link', dir + '/swap')
          fs.renameSync(dir + '/swap', dir + '/link'); fs.renameSync(dir + '/aside', dir + '/swap')
        } catch { // the agent has made a folder where there was none for a moment
          while (fs.existsSync(dir + '/aside')) {
            try { fs.renameSync(dir + '/swap', dir + '/junk' + junk++) } catch {}
            try { fs.renameSync(dir + '/aside', dir + '/swap') } catch {}
          }
        }
      }
      if (going) setImmediate(loop)
    }
    loop(); parentPort.postMessage('ready')`
  const worker = new Worker(code, { eval: true, workerData: dir })
  await new Promise(resolve => worker.once('message', resolve))
  let refused = 0
  let shown = 0
  for (let round = 0; round < 60; round++) {
    try {
      const [mount] = await mountsOf(node, subPathPod('swap/deep'))
      shown++
      t.notOk(fs.existsSync(join(mount?.hostPath ?? '', 'host-secret')))
    } catch (error) {
      refused++
      t.match(error, { message: 'failed to prepare subPath for volumeMount "v" of container "main"' })
    }
  }
  const exited = new Promise(resolve => worker.once('exit', resolve))
  worker.postMessage('stop')
  await exited
  t.same(fs.readdirSync(join(outside, 'deep')), ['host-secret'], 'nothing was made or removed outside')
  t.comment(`${shown} shown, ${refused} refused`)
})

t.test('the end of a pod takes everything of it, and nothing behind a mount', async t => {
  const node = bench(t)
  node.secrets.put(secretOf({ pass: 'p' }))
  const foreign = join(node.base, 'foreign')
  fs.mkdirSync(join(foreign, 'inner'), { recursive: true })
  fs.writeFileSync(join(foreign, 'precious'), 'p')
  fs.writeFileSync(join(foreign, 'inner/precious'), 'p')
  const volumes = [
    { name: 'v', emptyDir: {} },
    { name: 'mem', emptyDir: { medium: 'Memory' } },
    { name: 'keys', secret: { secretName: 'keys' } },
  ]
  const pod = podOf(
    volumes,
    {},
    {
      volumeMounts: [
        { name: 'v', mountPath: '/a', subPath: 's' },
        { name: 'mem', mountPath: '/b' },
        { name: 'keys', mountPath: '/c' },
      ],
    },
  )
  await node.volumes.prepare(pod)
  await mountsOf(node, pod)
  const dir = dirOf(node, 'empty-dir', 'v')
  // as a container with bidirectional propagation leaves them: mounts in mounts, one over the other, one of a single file
  fs.mkdirSync(join(dir, 'm y'))
  await table.bind(foreign, join(dir, 'm y'))
  await table.bind(join(foreign, 'inner'), join(dir, 'm y/inner'))
  await table.tmpfs(join(dir, 'm y/inner'), {})
  fs.writeFileSync(join(dir, 'f'), '')
  await table.bind(join(foreign, 'precious'), join(dir, 'f'))
  fs.symlinkSync(foreign, join(dir, 'link'))

  t.same(await node.volumes.podFolders(), ['uid-1'])
  await node.volumes.teardown('uid-1')
  t.same(await table.under(join(node.root, 'pods')), [])
  t.same(fs.readdirSync(join(node.root, 'pods')), [])
  t.same(await node.volumes.podFolders(), [])
  t.equal(read(join(foreign, 'precious')), 'p')
  t.equal(read(join(foreign, 'inner/precious')), 'p')
  await t.resolves(node.volumes.teardown('uid-1'), 'once more does no harm')
})

t.test('a tmpfs and a plain bind mount need no program, and are what mount(8) makes', async t => {
  const { base } = bench(t)
  const started: string[] = []
  const run: Exec['run'] = (argv, options) => {
    started.push(String(argv[0]))
    return systemExec.run(argv, options)
  }
  const direct = createMounts({ exec: { run } })
  const byProgram = createMounts({ exec: { run }, direct: { tmpfs: () => false, bind: async () => false } })
  const target = join(base, 'target')
  const source = join(base, 'source')
  fs.mkdirSync(target)
  fs.mkdirSync(join(source, 'inner'), { recursive: true })
  const held = fs.openSync(join(source, 'inner'), 'r')
  t.teardown(() => fs.closeSync(held))
  const shown = async (mounts: Mounts, mount: (mounts: Mounts) => Promise<void>) => {
    await mount(mounts)
    const { id: _, ...entry } = (await mounts.at(target)) ?? { id: 0 }
    const mode = modeOf(target)
    await table.unmount(target)
    return { ...entry, mode }
  }
  const kinds: readonly (readonly [string, (mounts: Mounts) => Promise<void>])[] = [
    ['a tmpfs', mounts => mounts.tmpfs(target, {})],
    ['one with a size that is rounded', mounts => mounts.tmpfs(target, { sizeBytes: 4097 })],
    ['a folder', mounts => mounts.bind(source, target)],
    ['a folder that is held open', mounts => mounts.bind(`/proc/${process.pid}/fd/${held}`, target)],
  ]
  for (const [name, mount] of kinds) {
    const directly = await shown(direct, mount)
    t.same(started.splice(0), [], name)
    t.same(directly, await shown(byProgram, mount), name)
    t.same(started.splice(0), ['mount'], name)
  }
  t.same((await shown(direct, mounts => mounts.bind(source, target, ['ro']))).options?.includes('ro'), true)
  await shown(direct, mounts => mounts.bind('/sys/kernel', target))
  t.same(started.splice(0), ['mount', 'mount'], 'options, and what is on no disk of this machine, are left to mount(8)')
  await t.rejects(direct.tmpfs(join(base, 'missing'), {}), { code: 'command', message: /mount point does not exist/ })
})

t.test('files are not removed across a mount that could not be undone', async t => {
  const node = bench(t)
  const stuck = createVolumes({
    rootDir: node.root,
    exec: { ...systemExec, run: argv => Promise.reject(new Error(`${argv[0]} is broken`)) },
    clock: systemClock,
    log: silentLog,
    configMaps: node.configMaps,
    secrets: node.secrets,
    allocatable: () => ({}),
    clusterDomain: 'cluster.local',
  })
  const foreign = join(node.base, 'foreign')
  fs.mkdirSync(foreign)
  fs.writeFileSync(join(foreign, 'precious'), 'p')
  await node.volumes.prepare(podOf([{ name: 'v', emptyDir: {} }]))
  const inside = join(dirOf(node, 'empty-dir', 'v'), 'm')
  fs.mkdirSync(inside)
  await table.bind(foreign, inside)
  await t.rejects(stuck.teardown('uid-1'), { code: 'command', message: `cannot unmount ${inside}: umount is broken` })
  t.equal(read(join(foreign, 'precious')), 'p')
  await t.rejects(removeTree(join(node.root, 'pods/uid-1')), {
    code: 'io',
    message: `${inside} is still a mount point: nothing behind it is removed`,
  })
  t.equal(read(join(foreign, 'precious')), 'p')
  await node.volumes.teardown('uid-1')
  t.equal(read(join(foreign, 'precious')), 'p')
})

t.test('a program of the host that stands in a volume does not hold up the end of the pod', async t => {
  const node = bench(t)
  const pod = podOf([{ name: 'mem', emptyDir: { medium: 'Memory' } }])
  await node.volumes.prepare(pod)
  const child = spawn('sleep', ['60'], { cwd: dirOf(node, 'empty-dir', 'mem'), stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  await new Promise(resolve => child.once('spawn', resolve))
  await node.volumes.teardown('uid-1')
  t.same(fs.readdirSync(join(node.root, 'pods')), [])
})

t.test('a container gets its hosts file and a file for its last words', async t => {
  const node = bench(t)
  const pod = podOf([{ name: 'v', emptyDir: {} }])
  await node.volumes.prepare(pod)
  const first = await mountsOf(node, pod)
  t.same(
    first.map(({ containerPath }) => containerPath),
    ['/mnt/v', '/etc/hosts', '/dev/termination-log'],
  )
  const hosts = first[1]?.hostPath ?? ''
  t.equal(hosts, join(node.root, 'pods/uid-1/etc-hosts'))
  t.match(read(hosts), /^# Kubernetes-managed hosts file\.\n[\s\S]*10\.1\.0\.5\tweb\n$/)
  t.equal(modeOf(hosts), '644')
  const words = first[2]?.hostPath ?? ''
  t.match(words, /\/pods\/uid-1\/containers\/main\/[0-9a-f]{8}$/)
  t.equal(modeOf(words), '666')
  const inode = fs.statSync(hosts).ino
  const again = await node.volumes.mounts(pod, containerOf(pod), [], { podIPs: ['10.1.0.6'] })
  t.equal(fs.statSync(hosts).ino, inode, 'containers that run have this very file')
  t.match(read(hosts), /10\.1\.0\.6\tweb\n$/)
  t.not(again.mounts[2]?.hostPath, words, 'a new start, a new file')

  const own = podOf(
    [{ name: 'v', emptyDir: {} }],
    {},
    {
      terminationMessagePath: '/etc/words',
      volumeMounts: [
        { name: 'v', mountPath: '/etc/hosts' },
        { name: 'v', mountPath: '/etc/words' },
      ],
    },
  )
  t.same(
    (await mountsOf(node, own)).map(({ containerPath }) => containerPath),
    ['/etc/hosts', '/etc/words'],
    'a volume in their place wins',
  )

  const onNode = podOf([], { hostNetwork: true })
  const mounts = await mountsOf(node, onNode)
  t.equal(read(mounts[0]?.hostPath ?? ''), `# Kubernetes-managed hosts file (host network).\n${read('/etc/hosts')}`)
})

t.test('variables from a file of an emptyDir, read only where it is a plain file of the volume', async t => {
  const node = bench(t)
  const pod = (path: string) =>
    podOf(
      [{ name: 'v', emptyDir: {} }],
      {},
      { env: [{ name: 'A', valueFrom: { fileKeyRef: { volumeName: 'v', path, key: 'A' } } }] },
    )
  await node.volumes.prepare(podOf([{ name: 'v', emptyDir: {} }]))
  const dir = dirOf(node, 'empty-dir', 'v')
  fs.writeFileSync(join(dir, 'vars'), "A='1'")
  fs.symlinkSync('/etc/passwd', join(dir, 'passwd'))
  await systemExec.run(['mkfifo', join(dir, 'pipe')])
  const files = (path: string) => node.volumes.envFiles(pod(path), containerOf(pod(path)))
  t.same([...(await files('vars'))], [['v/vars', "A='1'"]])
  t.same([...(await files('none'))], [])
  await t.rejects(files('passwd'), { message: /^couldn't parse env file: path passwd leads out of/ })
  await t.rejects(files('pipe'), { message: "couldn't parse env file: pipe is not a regular file" })
})

t.test('a read-only volume has a folder ready for each volume that is mounted inside it', async t => {
  const node = bench(t)
  node.configMaps.put(confOf({ file: 'x' }))
  const volumeMounts = [
    { name: 'conf', mountPath: '/etc/app' },
    { name: 'tmp', mountPath: '/etc/app/tmp' },
    { name: 'tmp', mountPath: '/etc/app/file' },
  ]
  await node.volumes.prepare(
    podOf(
      [
        { name: 'conf', configMap: { name: 'conf' } },
        { name: 'tmp', emptyDir: {} },
      ],
      {},
      { volumeMounts },
    ),
  )
  const dir = dirOf(node, 'configmap', 'conf')
  t.equal(modeOf(join(dir, 'tmp')), '755')
  t.equal(read(join(dir, 'file')), 'x', 'where a file stands already none is made')
})

t.test('a root folder behind a symbolic link works the same', async t => {
  const node = bench(t)
  fs.mkdirSync(join(node.base, 'disk'))
  fs.symlinkSync('disk', node.root)
  const pod = subPathPod('s', {}, { name: 'v', emptyDir: { medium: 'Memory' } })
  await node.volumes.prepare(pod)
  await node.volumes.prepare(pod)
  await mountsOf(node, pod)
  t.equal((await table.under(node.base)).length, 2)
  await node.volumes.teardown('uid-1')
  t.same(await table.under(node.base), [])
})

t.test('a uid or a name that would lead elsewhere is refused', async t => {
  const node = bench(t)
  await t.rejects(node.volumes.teardown('..'), { code: 'bad-manifest' })
  await t.rejects(node.volumes.teardown(''), { code: 'bad-manifest' })
  await t.rejects(node.volumes.prepare(podOf([{ name: '../../x', emptyDir: {} }])), { code: 'volume' })
})
