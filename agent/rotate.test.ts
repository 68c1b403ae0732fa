import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { fakeClock } from '../host/clock.fake.ts'
import { Fault } from '../host/fault.ts'
import { createLogRotation } from './rotate.ts'

const start = (folder: string, { maxFiles = 3, maxBytes = 10, fails = false } = {}) => {
  const path = join(folder, '0.log')
  const reopened: string[] = []
  const clock = fakeClock(Date.parse('2026-01-01T12:00:00Z'))
  const rotation = createLogRotation({
    cri: {
      reopenContainerLog: async id => {
        if (fails) throw new Fault('runtime-away', 'containerd does not answer')
        reopened.push(id)
        writeFileSync(path, '')
      },
    },
    clock,
    maxBytes,
    maxFiles,
  })
  const fill = (text: string) => writeFileSync(path, text)
  return { path, reopened, clock, fill, rotate: () => rotation.rotate('c1', path), files: () => readdirSync(folder).sort() }
}

t.test('a small log is left alone', async t => {
  const { fill, rotate, files, reopened } = start(t.testdir())
  fill('short')
  t.equal(await rotate(), false)
  t.same(files(), ['0.log'])
  t.same(reopened, [])
})

t.test('a grown one is renamed and the runtime opens a new one; the one before is compressed; the oldest goes', async t => {
  const folder = t.testdir()
  const { fill, rotate, files, clock, reopened } = start(folder)
  for (const text of ['first of all', 'second of all', 'third of all']) {
    fill(text)
    t.equal(await rotate(), true)
    await clock.advance(60_000)
  }
  t.same(files(), ['0.log', '0.log.20260101-120100.gz', '0.log.20260101-120200'])
  t.equal(gunzipSync(readFileSync(join(folder, '0.log.20260101-120100.gz'))).toString(), 'second of all')
  t.equal(readFileSync(join(folder, '0.log.20260101-120200'), 'utf8'), 'third of all')
  t.same(reopened, ['c1', 'c1', 'c1'])
})

t.test('when the runtime does not open a new one, the log keeps its name', async t => {
  const { fill, rotate, files, path } = start(t.testdir(), { fails: true })
  fill('long enough')
  await t.rejects(rotate(), { code: 'io', message: /0\.log cannot be rotated/ })
  t.same(files(), ['0.log'])
  t.equal(readFileSync(path, 'utf8'), 'long enough')
})

t.test('what an interrupted rotation left is cleared', async t => {
  const { fill, rotate, files } = start(
    t.testdir({
      '0.log.20250101-000000': 'x',
      '0.log.20250101-000000.gz': 'x',
      '0.log.20250102-000000.tmp': 'x',
      '1.log.20250101-000000': 'of another',
    }),
    { maxFiles: 4 },
  )
  fill('long enough')
  await rotate()
  t.same(files(), ['0.log', '0.log.20250101-000000.gz', '0.log.20260101-120000', '1.log.20250101-000000'])
})

t.test('a log that somebody removed is opened again', async t => {
  const { rotate, files } = start(t.testdir())
  t.equal(await rotate(), false)
  t.same(files(), ['0.log'])
})

t.test('a negative size rotates nothing', async t => {
  const { fill, rotate } = start(t.testdir(), { maxBytes: -1 })
  fill('long enough')
  t.equal(await rotate(), false)
})
