import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { fakeClock } from '../../host/clock.fake.ts'
import { diskUsage } from './disk-usage.ts'
import { createSlowFigures } from './slow.ts'

t.test('a figure is found once a minute, and an old one is told while the new one is on its way', async t => {
  const clock = fakeClock()
  const slow = createSlowFigures({ clock })
  let found = 0
  const find = async () => ++found
  t.equal(await slow.get('a', find), 1)
  t.equal(await slow.get('a', find), 1)
  await clock.advance(60_000)
  t.equal(await slow.get('a', find), 1, 'the old one, at once')
  await clock.advance(0)
  t.equal(await slow.get('a', find), 2)
})

t.test('nobody waits longer than the patience, and the figure is there the next time', async t => {
  const clock = fakeClock()
  const slow = createSlowFigures({ clock, patienceMs: 1000 })
  const { promise, resolve } = Promise.withResolvers<number>()
  const first = slow.get('a', () => promise)
  await clock.advance(1000)
  t.equal(await first, undefined)
  resolve(7)
  await clock.advance(0)
  t.equal(await slow.get('a', () => promise), 7)
})

t.test('figures are found one after the other', async t => {
  const clock = fakeClock()
  const slow = createSlowFigures({ clock })
  let [running, most] = [0, 0]
  const find = async () => {
    most = Math.max(most, ++running)
    await Promise.resolve()
    running -= 1
  }
  await Promise.all(['a', 'b', 'c'].map(key => slow.get(key, find)))
  t.equal(most, 1)
})

t.test('what cannot be found is not tried again at once', async t => {
  const slow = createSlowFigures({ clock: fakeClock() })
  let tries = 0
  const find = async () => {
    tries += 1
    throw new Error('no')
  }
  t.equal(await slow.get('a', find), undefined)
  t.equal(await slow.get('a', find), undefined)
  t.equal(tries, 1)
})

t.test('a folder holds its blocks and inodes, a file of two names once', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'usage-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const empty = await diskUsage(folder)
  mkdirSync(join(folder, 'sub'))
  writeFileSync(join(folder, 'sub', 'a'), Buffer.alloc(100_000, 'x'))
  linkSync(join(folder, 'sub', 'a'), join(folder, 'b'))
  const full = await diskUsage(folder)
  t.equal(full?.inodes, 3)
  t.ok((full?.bytes ?? 0) - (empty?.bytes ?? 0) >= 100_000)
  t.ok((full?.bytes ?? 0) - (empty?.bytes ?? 0) < 200_000)
  t.equal(await diskUsage(join(folder, 'gone')), undefined)
})
