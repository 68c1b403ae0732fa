import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { fakeClock } from '../host/clock.fake.ts'
import { toRangeSets } from './conf.ts'
import { openStore } from './store.ts'

const sets = toRangeSets([[{ subnet: '10.0.0.0/29' }], [{ subnet: 'fd00::/64' }]])
const folder = async (t: { teardown(run: () => unknown): void }) => {
  const dir = await mkdtemp(join(tmpdir(), 'nlt-store-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  return dir
}
const open = (dir: string, bootId = 'boot-1') => openStore({ dir, network: 'pods', bootId, clock: fakeClock() })
const pod = (containerId: string) => ({
  containerId,
  ifname: 'eth0',
  netns: `/run/netns/${containerId}`,
  hostLink: 'nlp1',
  mac: '0a:00:00:00:00:01',
  ports: [],
})
const addressFiles = async (dir: string) => (await readdir(dir)).filter(name => /^[0-9a-f.:]+$/.test(name)).sort()

t.test('an attachment has a file per address, each with all of it, which the next process reads', async t => {
  const dir = await folder(t)
  const made = await (await open(dir)).reserve({ ...pod('a'), pod: 'default/web' }, sets)
  t.same(await addressFiles(dir), ['10.0.0.2', 'fd00::2'])
  t.same(JSON.parse(await readFile(join(dir, 'fd00::2'), 'utf8')), made)
  const next = await open(dir)
  t.same(next.find({ containerId: 'a', ifname: 'eth0' }), made)
  t.same(
    (await next.reserve(pod('b'), sets)).addresses.map(it => it.address),
    ['10.0.0.3/29', 'fd00::3/64'],
  )
})

t.test('release frees both, twice is once, and the order of reuse outlives the process', async t => {
  const dir = await folder(t)
  const store = await open(dir)
  await store.reserve(pod('a'), sets)
  await store.release(pod('a'))
  await store.release(pod('a'))
  t.same(await addressFiles(dir), [])
  t.match((await (await open(dir)).reserve(pod('b'), sets)).addresses, [{ address: '10.0.0.3/29' }, { address: 'fd00::3/64' }])
})

t.test('one container has one interface of a name', async t => {
  const store = await open(await folder(t))
  await store.reserve(pod('a'), sets)
  await t.rejects(store.reserve(pod('a'), sets), { message: /has an interface eth0 in network pods already/ })
})

t.test('a range that is exhausted keeps nothing of the attempt', async t => {
  const dir = await folder(t)
  const store = await open(dir)
  await Promise.all(['a', 'b', 'c', 'd', 'e'].map(id => store.reserve(pod(id), sets)))
  t.equal(store.hasRoom(sets), false)
  await t.rejects(store.reserve(pod('f'), sets), { message: /no free address is left/ })
  t.equal((await addressFiles(dir)).length, 10)
  await store.release(pod('c'))
  t.match((await store.reserve(pod('f'), sets)).addresses[0], { address: '10.0.0.4/29' })
})

t.test('many at once have many addresses', async t => {
  const dir = await folder(t)
  const store = await open(dir)
  const wide = toRangeSets([[{ subnet: '10.1.0.0/24' }]])
  const made = await Promise.all(Array.from({ length: 50 }, (_, i) => store.reserve(pod(`p${i}`), wide)))
  t.equal(new Set(made.map(it => it.addresses[0]?.address)).size, 50)
  t.equal((await addressFiles(dir)).length, 50)
})

t.test('what an earlier boot left is reclaimed, with half-written files and garbled ones', async t => {
  const dir = await folder(t)
  await (await open(dir, 'boot-0')).reserve(pod('old'), sets)
  await writeFile(join(dir, '10.0.0.5'), '')
  await writeFile(join(dir, '10.0.0.6'), '{"contai')
  await writeFile(join(dir, '.new-77-1'), 'half')
  await writeFile(join(dir, 'notes.txt'), 'of the administrator')
  const store = await open(dir)
  t.same(store.all(), [])
  t.same((await readdir(dir)).sort(), ['last_reserved_ip.0', 'last_reserved_ip.1', 'notes.txt'])
})

t.test('an address that another process gave away meanwhile is not given again', async t => {
  const dir = await folder(t)
  const store = await open(dir)
  await (await open(dir)).reserve(pod('theirs'), sets)
  t.match((await store.reserve(pod('ours'), sets)).addresses, [{ address: '10.0.0.3/29' }, { address: 'fd00::3/64' }])
  t.ok(store.find(pod('theirs')), 'and its owner is known from then on')
  t.match(JSON.parse(await readFile(join(dir, '10.0.0.2'), 'utf8')), { containerId: 'theirs' })
})

t.test('killed between the files of two families, the attachment is found and freed whole', async t => {
  const dir = await folder(t)
  await (await open(dir)).reserve(pod('a'), sets)
  await rm(join(dir, 'fd00::2'))
  const store = await open(dir)
  t.ok(store.find(pod('a')))
  await store.release(pod('a'))
  t.same(await addressFiles(dir), [])
})
