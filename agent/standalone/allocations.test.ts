import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { fakeClock } from '../../host/clock.fake.ts'
import { silentLog } from '../../host/log.ts'
import { openAllocations } from './allocations.ts'

const holding = { clusterIPs: ['10.96.1.1', 'fd00::1'], nodePorts: { 'TCP/80': 30_080 }, healthCheckNodePort: 30_081 }
const clock = fakeClock()
const open = (path: string, log = silentLog) => openAllocations({ path, clock, log })

t.test('what was saved is there again, and only root can read it', async t => {
  const path = join(t.testdir(), 'state', 'services.json')
  const memory = await open(path)
  t.same(memory.remembered, {})
  memory.save(() => ({ 'default/web': holding }))
  await memory.flush()
  t.equal((await stat(path)).mode & 0o777, 0o600)
  t.same((await open(path)).remembered, { 'default/web': holding })
  t.same(await readdir(join(path, '..')), ['services.json'], 'no temporary file is left')
})

t.test('many saves in one turn are one write of the latest', async t => {
  const path = join(t.testdir(), 'services.json')
  const memory = await open(path)
  let reads = 0
  for (let index = 0; index < 50; index++)
    memory.save(() => {
      reads++
      return { [`default/s${index}`]: holding }
    })
  await memory.flush()
  t.equal(reads, 1)
  t.match(JSON.parse(await readFile(path, 'utf8')), { services: { 'default/s49': holding } })
})

for (const [name, content] of [
  ['a file cut off in the middle', '{"version":1,"services":{"default/we'],
  ['an empty file', ''],
  ['a file of another version', '{"version":2,"services":{}}'],
  ['a file with an address that is none', '{"version":1,"services":{"a/b":{"clusterIPs":["x"],"nodePorts":{}}}}'],
] as const)
  t.test(`${name} is put aside with a warning, and writing goes on`, async t => {
    const path = join(t.testdir({ 'services.json': content }), 'services.json')
    const warnings: string[] = []
    const memory = await open(path, { ...silentLog, warn: (_, message) => void warnings.push(message) })
    t.same(memory.remembered, {})
    t.equal(warnings.length, 1)
    t.equal(await readFile(`${path}.unreadable`, 'utf8'), content)
    memory.save(() => ({ 'default/web': holding }))
    await memory.flush()
    t.same((await open(path)).remembered, { 'default/web': holding })
  })

t.test('a write that fails is tried again after a pause', async t => {
  const folder = t.testdir()
  const path = join(folder, 'sub', 'services.json')
  const memory = await open(path)
  await rm(join(folder, 'sub'), { recursive: true })
  memory.save(() => ({ 'default/web': holding }))
  await memory.flush()
  await mkdir(join(folder, 'sub'))
  await clock.advance(1_000)
  await memory.flush()
  t.same((await open(path)).remembered, { 'default/web': holding })
})
