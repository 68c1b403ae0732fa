// Volumes as a container sees them: contents, modes and owners; what follows a change; what a missing or hostile thing leads to.
import { mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import t from 'tap'
import { configMap, idle, podOf, secret } from '../support/manifests.ts'
import { createNode, isReady, statusOf, waitingReason } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const node = await createNode()
t.setTimeout(0)
// Most of their time is waiting.
t.jobs = 4
t.teardown(() => node.close())

const mounts = (...paths: readonly string[]) => paths.map(name => ({ name, mountPath: `/${name}` }))
const clear = async (name: string) => {
  await node.remove(`${name}.json`)
  await node.gone(name)
}
/** Mode, owner and group of files, as `stat` prints them. */
const modes = async (pod: string, ...paths: readonly string[]) =>
  (await node.exec(pod, ['stat', '-L', '-c', '%a %u %g', ...paths])).split('\n')

t.test('emptyDir, on the disk and in memory', async t => {
  const volumes = [
    { name: 'disk', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
  ]
  await node.write('empty.json', podOf('empty', idle({ volumeMounts: mounts('disk', 'memory') }), { volumes }))
  const pod = await node.until('empty', isReady)
  t.same(await modes('empty', '/disk', '/memory'), ['777 0 0', '1777 0 0'])
  t.match(await node.exec('empty', ['grep', ' /memory ', '/proc/mounts']), /^tmpfs .*size=1024k/)
  t.not((await node.tryExec('empty', ['dd', 'if=/dev/zero', 'of=/memory/f', 'bs=1M', 'count=2'])).exitCode, 0, 'it is full')
  await node.exec('empty', ['sh', '-c', 'echo kept > /disk/f; kill 1'])
  await node.until('empty', it => statusOf(it)?.restartCount === 1 && isReady(it))
  t.equal(await node.exec('empty', ['cat', '/disk/f']), 'kept', 'it outlives its container')
  const path = `${node.rootDir}/pods/${pod.metadata.uid}`
  await clear('empty')
  await waitFor('the folder to go', async () => (await stat(path).catch(() => undefined)) === undefined)
})

t.test('hostPath of every type, made or checked; a wrong one waits with a message and starts when it is right', async t => {
  const at = `${node.dir}/host`
  await mkdir(at)
  await writeFile(`${at}/file`, 'from the host')
  const types = { dir: 'DirectoryOrCreate', made: 'FileOrCreate', file: 'File', socket: 'Socket', device: 'CharDevice' }
  const paths = { dir: `${at}/dir`, made: `${at}/made`, file: `${at}/file`, socket: node.socket, device: '/dev/null' }
  const volumes = Object.entries(types).map(([name, type]) => ({
    name,
    hostPath: { path: paths[name as keyof typeof paths], type },
  }))
  const late = { name: 'late', hostPath: { path: `${at}/late`, type: 'Directory' } }
  await node.write('host.json', [
    podOf('host', idle({ volumeMounts: mounts(...Object.keys(types)) }), { volumes }),
    podOf('late', idle({ volumeMounts: mounts('late') }), { volumes: [late] }),
  ])
  await node.until('host', isReady)
  t.equal(await node.exec('host', ['cat', '/file']), 'from the host')
  await node.exec('host', ['sh', '-c', 'echo written > /made; test -S /socket; test -c /device; echo in > /dir/f'])
  t.equal(await readFile(`${at}/made`, 'utf8'), 'written\n')
  t.equal((await stat(`${at}/dir`)).mode & 0o777, 0o755)
  await waitFor('the message', async () => (await node.cli(['why', 'late'])).stdout.includes('hostPath type check failed'))
  t.match((await node.cli(['get', 'pods', 'late'])).stdout, /0\/1 +ContainerCreating/)
  await mkdir(`${at}/late`)
  await node.until('late', isReady)
  await node.remove('host.json')
  await Promise.all([node.gone('host'), node.gone('late')])
  t.equal(await readFile(`${at}/dir/f`, 'utf8'), 'in\n', 'what was there stays')
})

t.test('configMap and secret: keys, items, modes, optional ones', async t => {
  await node.write('maps.json', [configMap('settings', { a: '1', b: '2' }), secret('keys', { token: 's3cret' })])
  const volumes = [
    { name: 'all', configMap: { name: 'settings' } },
    { name: 'some', configMap: { name: 'settings', items: [{ key: 'b', path: 'deep/er/b', mode: 0o400 }], defaultMode: 0o640 } },
    { name: 'keys', secret: { secretName: 'keys', defaultMode: 0o400 } },
    { name: 'none', configMap: { name: 'nowhere', optional: true } },
  ]
  await node.write('keys.json', podOf('keys', idle({ volumeMounts: mounts('all', 'some', 'keys', 'none') }), { volumes }))
  await node.until('keys', isReady)
  t.equal(await node.exec('keys', ['sh', '-c', 'cat /all/a /all/b /some/deep/er/b /keys/token']), '122s3cret')
  t.same(await modes('keys', '/all/a', '/some/deep/er/b', '/keys/token'), ['644 0 0', '400 0 0', '400 0 0'])
  t.equal(await node.exec('keys', ['ls', '/some']), 'deep')
  t.equal(await node.exec('keys', ['ls', '/none']), '')
  t.match(await node.exec('keys', ['grep', ' /keys ', '/proc/mounts']), /^tmpfs /, 'secrets never touch the disk')
  t.not((await node.tryExec('keys', ['touch', '/all/new'])).exitCode, 0, 'it is read-only')
  await clear('keys')
})

t.test('a changed ConfigMap appears in its volume at once and whole; subPath and a removed one do not follow', async t => {
  await node.write('live-map.json', configMap('live', { one: '1', two: '1' }))
  const volumes = [{ name: 'live', configMap: { name: 'live' } }]
  const volumeMounts = [...mounts('live'), { name: 'live', mountPath: '/single', subPath: 'one' }]
  await node.write('live.json', podOf('live', idle({ volumeMounts }), { volumes }))
  await node.until('live', isReady)
  const started = performance.now()
  await node.write('live-map.json', configMap('live', { one: '2', two: '2', three: 'new' }))
  await waitFor('the new content', async () => (await node.exec('live', ['cat', '/live/one'])) === '2')
  t.ok(performance.now() - started < 2000, `${Math.round(performance.now() - started)} ms`)
  t.equal(await node.exec('live', ['sh', '-c', 'cat /live/two /live/three']), '2new')
  t.equal(await node.exec('live', ['cat', '/single']), '1')
  t.equal(statusOf((await node.pod('live'))!)?.restartCount, 0)
  await node.remove('live-map.json')
  await node.write('marker.json', configMap('marker', {}))
  t.equal(await node.exec('live', ['cat', '/live/one']), '2', 'a pod that runs keeps what it has')
  await node.remove('marker.json')
  await clear('live')
})

t.test('downward API and projected volumes', async t => {
  await node.write('parts.json', [configMap('part', { c: 'map' }), secret('part', { s: 'hidden' })])
  const items = [
    { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
    { path: 'name', fieldRef: { fieldPath: "metadata.annotations['note']" } },
    { path: 'memory', resourceFieldRef: { containerName: 'c', resource: 'limits.memory', divisor: '1Mi' } },
  ]
  const sources = [
    { configMap: { name: 'part' } },
    { secret: { name: 'part', items: [{ key: 's', path: 'in/s', mode: 0o600 }] } },
    { downwardAPI: { items: [{ path: 'uid', fieldRef: { fieldPath: 'metadata.uid' } }] } },
  ]
  const volumes = [
    { name: 'down', downwardAPI: { items } },
    { name: 'all', projected: { sources, defaultMode: 0o444 } },
  ]
  const container = idle({ volumeMounts: mounts('down', 'all'), resources: { limits: { memory: '64Mi' } } })
  await node.write('down.json', podOf('down', container, { volumes }, { labels: { app: 'x' }, annotations: { note: 'hi' } }))
  const pod = await node.until('down', isReady)
  t.equal(
    await node.exec('down', ['sh', '-c', 'cat /down/labels; echo; cat /down/name; echo; cat /down/memory']),
    'app="x"\nhi\n64',
  )
  t.equal(await node.exec('down', ['sh', '-c', 'cat /all/c /all/in/s; cat /all/uid']), `maphidden${pod.metadata.uid}`)
  t.same(await modes('down', '/all/c', '/all/in/s'), ['444 0 0', '600 0 0'])
  await clear('down')
})

t.test('fsGroup owns what volumes hold', async t => {
  await node.write('group-map.json', configMap('grouped', { f: 'x' }))
  const volumes = [
    { name: 'data', emptyDir: {} },
    { name: 'map', configMap: { name: 'grouped' } },
  ]
  const securityContext = { fsGroup: 4000, runAsUser: 1000 }
  await node.write('group.json', podOf('group', idle({ volumeMounts: mounts('data', 'map') }), { volumes, securityContext }))
  await node.until('group', isReady)
  t.equal(await node.exec('group', ['sh', '-c', 'touch /data/f; stat -c %u:%g /data/f; cat /map/f']), '1000:4000\nx')
  t.same(await modes('group', '/data', '/map/f'), ['2777 0 4000', '644 0 4000'])
  t.match(await node.exec('group', ['id', '-G']), /\b4000\b/)
  await clear('group')
})

t.test('a pod that waits for a ConfigMap says so, and starts when it comes', async t => {
  const volumes = [{ name: 'map', configMap: { name: 'later' } }]
  await node.write('waits.json', podOf('waits', idle({ volumeMounts: mounts('map') }), { volumes }))
  await waitFor('the reason', async () => (await node.cli(['why', 'waits'])).stdout.includes('configmap "later" not found'))
  const pod = await node.pod('waits')
  t.equal(pod?.status?.phase, 'Pending')
  t.equal(pod && waitingReason(pod), 'ContainerCreating')
  t.match((await node.cli(['why', 'waits'])).stdout, /Waits for: .*configmap "later" not found/)
  const started = performance.now()
  await node.write('later.json', configMap('later', { k: 'v' }))
  await node.until('waits', isReady)
  t.ok(performance.now() - started < 3000, `ready after ${Math.round(performance.now() - started)} ms`)
  t.equal(await node.exec('waits', ['cat', '/map/k']), 'v')
  await clear('waits')
})

t.test('subPath and subPathExpr show a part; one that climbs out through a link is refused', async t => {
  const outside = `${node.dir}/outside`
  await mkdir(outside)
  await writeFile(`${outside}/treasure`, 'not yours')
  const shared = `${node.dir}/shared`
  await mkdir(`${shared}/inside`, { recursive: true })
  await writeFile(`${shared}/inside/f`, 'mine')
  await symlink(outside, `${shared}/trap`)
  await symlink('inside', `${shared}/fine`)
  const volumes = [{ name: 'v', hostPath: { path: shared } }]
  const mount = (mountPath: string, subPath: string) => ({ name: 'v', mountPath, subPath })
  const named = { name: 'v', mountPath: '/named', subPathExpr: 'by-$(POD)' }
  const env = [{ name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }]
  const good = idle({ env, volumeMounts: [mount('/in', 'inside'), mount('/linked', 'fine'), named] })
  await node.write('sub.json', [
    podOf('sub', good, { volumes }),
    podOf('trap', idle({ volumeMounts: [mount('/out', 'trap')] }), { volumes }),
  ])
  await node.until('sub', isReady)
  t.equal(await node.exec('sub', ['sh', '-c', 'cat /in/f /linked/f; touch /named/here']), 'minemine')
  t.ok((await stat(`${shared}/by-sub-n1/here`)).isFile(), 'a folder that is missing is made')
  const trapped = await node.until('trap', it => waitingReason(it) === 'CreateContainerConfigError')
  t.match(statusOf(trapped)?.state?.waiting?.message, /failed to prepare subPath for volumeMount "v" of container "c"/)
  await node.remove('sub.json')
  await Promise.all([node.gone('sub'), node.gone('trap')])
  t.equal(await readFile(`${outside}/treasure`, 'utf8'), 'not yours')
})
