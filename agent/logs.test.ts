import { appendFile, mkdtemp, open, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../host/clock.ts'
import { createFormatter, type LogFormat, parseLine } from './log-format.ts'
import { findTail, readLog } from './logs.ts'

const folder = await mkdtemp(join(tmpdir(), 'nodelet-logs-'))
t.teardown(() => rm(folder, { recursive: true }))
const path = (name: string) => join(folder, name)

const at = (second: number) => `2026-01-02T03:04:0${second}.123456789Z`
const line = (second: number, text: string, tag = 'F', stream = 'stdout') => `${at(second)} ${stream} ${tag} ${text}\n`

for (const [name, text, expected] of [
  ['a full line', `${at(1)} stdout F hello world`, { stream: 'stdout', partial: false, content: 'hello world' }],
  ['a part of a line', `${at(1)} stderr P hel`, { stream: 'stderr', partial: true, content: 'hel' }],
  ['an empty line', `${at(1)} stdout F `, { stream: 'stdout', partial: false, content: '' }],
  ['an empty line without its blank', `${at(1)} stdout F`, { stream: 'stdout', partial: false, content: '' }],
  ['more tags than one', `${at(1)} stdout P:x hel`, { stream: 'stdout', partial: true, content: 'hel' }],
  ['blanks in front', `${at(1)} stdout F   x`, { stream: 'stdout', partial: false, content: '  x' }],
] as const) {
  t.test(`${name} is understood`, async t => {
    const parsed = parseLine(Buffer.from(text))
    t.same(parsed && { ...parsed, content: parsed.content.toString() }, { time: at(1), ...expected })
  })
}

t.test('what is not in the format is not a line', async t => {
  for (const text of ['', 'hello', 'a b', `${at(1)} stdin F x`]) t.equal(parseLine(Buffer.from(text)), undefined)
})

const file = line(1, 'one') + line(2, 'tw', 'P') + line(2, 'o') + 'rubbish\n' + line(3, 'three', 'F', 'stderr')
for (const [name, format, expected] of [
  ['parts are put together and both streams shown', {}, 'one\ntwo\nthree\n'],
  ['a time stands in front of a line, not of its parts', { timestamps: true }, `${at(1)} one\n${at(2)} two\n${at(3)} three\n`],
  ['older lines are left out', { since: Date.parse(at(2)) }, 'two\nthree\n'],
  ['the limit counts bytes of output', { limitBytes: 6 }, 'one\ntw'],
] as const satisfies readonly (readonly [string, LogFormat, string])[]) {
  t.test(`${name}, however the file is cut`, async t => {
    for (const size of [1, 7, 30, 1000]) {
      const formatter = createFormatter(format)
      let shown = ''
      for (let i = 0; i < file.length; i += size) shown += formatter.push(Buffer.from(file.slice(i, i + size)))
      t.equal(shown + formatter.flush(), expected)
    }
  })
}

const read = async (name: string, options = {}) => {
  let shown = ''
  for await (const part of readLog(path(name), options)) shown += part
  return shown
}

t.test('a log is read to its end, a last line without newline included', async t => {
  await writeFile(path('a.log'), file + line(4, 'four').trimEnd())
  t.equal(await read('a.log'), 'one\ntwo\nthree\nfour\n')
  await t.rejects(read('none.log'), { code: 'not-found' })
})

t.test('the last lines are found from the end', async t => {
  await writeFile(
    path('b.log'),
    line(1, 'one') + line(2, 'tw', 'P') + line(2, 'o') + line(3, 'three') + line(4, 'fo', 'P') + line(4, 'ur'),
  )
  for (const [lines, expected] of [
    [0, ''],
    [1, 'four\n'],
    [2, 'three\nfour\n'],
    [3, 'two\nthree\nfour\n'],
    [4, 'one\ntwo\nthree\nfour\n'],
    [9, 'one\ntwo\nthree\nfour\n'],
  ] as const) {
    t.equal(await read('b.log', { tailLines: lines }), expected, `${lines} lines`)
  }
  await appendFile(path('b.log'), line(5, 'unfinished', 'P'))
  t.equal(await read('b.log', { tailLines: 2 }), 'four\nunfinished')
})

t.test('and in large files, wherever a block of reading ends', async t => {
  const lines = Array.from({ length: 4000 }, (_, i) => line(1, `${i} ${'x'.repeat(i % 97)}`))
  await writeFile(path('c.log'), lines.join(''))
  const handle = await open(path('c.log'))
  for (const count of [1, 2, 700, 701, 702, 1500, 3999, 4000, 4001]) {
    const expected = lines.slice(0, Math.max(0, lines.length - count)).join('').length
    t.equal(await findTail(handle, count), expected, `${count} lines`)
  }
  await handle.close()
})

/** Follows a log; `next` resolves when so much has been shown. */
const follow = (name: string, options = {}) => {
  const stop = new AbortController()
  let alive = true
  let shown = ''
  let check = () => {}
  const ended = (async () => {
    const following = { alive: () => alive, clock: systemClock, signal: stop.signal }
    for await (const part of readLog(path(name), options, following)) {
      shown += part
      check()
    }
    return shown
  })()
  const until = (text: string) =>
    new Promise<void>(resolve => {
      check = () => shown.endsWith(text) && resolve()
      check()
    })
  return { until, ended, stop: () => stop.abort(), die: () => (alive = false) }
}

t.test('a follower sees what is written, and ends when the container does', async t => {
  await writeFile(path('d.log'), line(1, 'one') + line(2, 'two'))
  const log = follow('d.log', { tailLines: 1 })
  await log.until('two\n')
  await appendFile(path('d.log'), line(3, 'three'))
  await log.until('three\n')
  log.die()
  await appendFile(path('d.log'), line(4, 'last words'))
  t.equal(await log.ended, 'two\nthree\nlast words\n')
})

t.test('a rotation loses nothing, not even what is written to the old file after it', async t => {
  await writeFile(path('e.log'), line(1, 'one'))
  const log = follow('e.log')
  await log.until('one\n')
  await rename(path('e.log'), path('e.log.20260102-030405'))
  await appendFile(path('e.log.20260102-030405'), line(2, 'two'))
  await writeFile(path('e.log'), '')
  await appendFile(path('e.log.20260102-030405'), line(3, 'three'))
  await appendFile(path('e.log'), line(4, 'four'))
  await log.until('four\n')
  log.die()
  t.equal(await log.ended, 'one\ntwo\nthree\nfour\n')
})

t.test('a reader who has enough, or goes away, ends the following', async t => {
  await writeFile(path('f.log'), line(1, 'one'))
  t.equal(await follow('f.log', { limitBytes: 2 }).ended, 'on')
  const log = follow('f.log')
  await log.until('one\n')
  log.stop()
  t.equal(await log.ended, 'one\n')
})
