// Programs that are started in a network namespace, from a process that is in another one before and after.
import { readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { nodeAddresses } from '../../host/addresses.ts'
import { systemExec } from '../../host/exec.ts'
import { createLink } from '../../host/link.ts'
import { uniqueName } from '../support/names.ts'

const name = uniqueName()
const netns = `/run/netns/${name}`
await systemExec.run(['ip', 'netns', 'add', name])
t.teardown(() => systemExec.run(['ip', 'netns', 'del', name]))

const link = createLink(systemExec)
const own = await readlink('/proc/self/ns/net')
const namespaceOf = async (options: { netns?: string }) =>
  (await systemExec.run(['readlink', '/proc/self/ns/net'], options)).stdout

t.test('a program runs in the namespace it was started for, and in it alone', async t => {
  const other = await namespaceOf({ netns })
  t.not(other, own)
  const answers = await Promise.all(
    Array.from({ length: 100 }, async (_, index) =>
      index % 2 === 0 ? (await namespaceOf({ netns })) === other : (await namespaceOf({})) === own,
    ),
  )
  t.ok(answers.every(Boolean))
  const mounts = async (options: object) => (await systemExec.run(['cat', '/proc/self/mountinfo'], options)).stdout
  t.equal(await mounts({ netns }), await mounts({}), '/sys is not mounted anew')
})

t.test('this process is in its own before and after, also when the program cannot be started', async t => {
  const open = async () => (await readdir('/proc/self/fd')).length
  const before = await open()
  await t.rejects(systemExec.run(['no-such-program'], { netns }), {
    code: 'command',
    message: 'no-such-program: spawn no-such-program ENOENT',
  })
  t.equal(await readlink('/proc/self/ns/net'), own)
  t.equal(await readlink('/proc/thread-self/ns/net'), own)
  t.equal(await open(), before)
})

t.test('what this process reads meanwhile is of its own namespace', async t => {
  await link.batch(['link add nlt-inside type bridge'], { netns })
  const ownDevices = (await readFile('/proc/thread-self/net/dev', 'utf8')).split('\n').length
  const ownAddresses = await nodeAddresses()
  let running = true
  const starts = (async () => {
    for (let round = 0; round < 20; round++)
      await Promise.all(Array.from({ length: 10 }, () => systemExec.run(['true'], { netns })))
    running = false
  })()
  const seen = new Set<string>()
  let reads = 0
  for (; running; reads++) {
    const [isThere, devices, addresses] = await Promise.all([
      link.exists('nlt-inside'),
      readFile('/proc/thread-self/net/dev', 'utf8'),
      nodeAddresses(),
    ])
    seen.add(`${isThere}, ${devices.split('\n').length - 1} lines, ${addresses}`)
  }
  await starts
  t.comment(`${reads} reads`)
  t.same([...seen], [`false, ${ownDevices - 1} lines, ${ownAddresses}`])
})

t.test('ip, tc and settings work inside', async t => {
  await link.batch(['link set dev lo up', 'link add v0 type veth peer name v1', 'link set dev v0 up'], { netns })
  const names = (await link.query<{ ifname: string }>(['link', 'show'], netns)).map(it => it.ifname)
  t.same(['lo', 'v0', 'v1'].filter(it => names.includes(it)).length, 3)
  await link.shape(['qdisc add dev v0 root tbf rate 1mbit burst 10kb latency 50ms'], { netns })
  t.match((await systemExec.run(['tc', 'qdisc', 'show', 'dev', 'v0'], { netns })).stdout, /tbf/)
  const setting = '/proc/sys/net/ipv4/conf/v0/forwarding'
  await link.setInside(netns, [setting], '1')
  t.equal((await systemExec.run(['cat', setting], { netns })).stdout, '1')
  await t.rejects(link.setInside(netns, ['/proc/sys/net/ipv4/conf/none/forwarding'], '1'), { code: 'not-found' })
  await t.rejects(link.batch(['link set dev none up'], { netns }), { code: 'not-found', message: /^ip link set dev none up: / })
  await t.rejects(link.batch(['link add v0 type bridge'], { netns }), { code: 'already-exists' })
})

t.test('a namespace that is gone is not found', async t => {
  const gone = '/run/netns/nlt-gone'
  const refusals: readonly Promise<unknown>[] = [
    link.batch(['link set dev lo up'], { netns: gone }),
    link.shape(['qdisc show'], { netns: gone }),
    link.query(['link', 'show'], gone),
    link.setInside(gone, ['/proc/sys/net/ipv4/ip_forward'], '1'),
  ]
  for (const refused of refusals)
    await t.rejects(refused, { code: 'not-found', message: /network namespace \/run\/netns\/nlt-gone is not there/ })
  // A namespace whose mount is gone leaves an ordinary file.
  const left = join(tmpdir(), uniqueName())
  await writeFile(left, '')
  t.teardown(() => rm(left))
  await t.rejects(link.query(['link', 'show'], left), { code: 'network' })
  t.equal(await readlink('/proc/self/ns/net'), own)
})
