// When the line comes that tells of rules that somebody else removed, and what it names.
import t from 'tap'
import { fakeClock } from '../host/clock.fake.ts'
import { createLog } from '../host/log.ts'
import { createLosses, createVanished, noteChange } from './vanished.ts'

const start = () => {
  const clock = fakeClock()
  const lines: string[] = []
  const log = createLog({ verbosity: 0, human: false, write: line => lines.push(line) })
  const vanished = createVanished({ clock, log })
  return { clock, lines, vanished, losses: createLosses(vanished) }
}

t.test('what goes from two tables one after the other is one line and counts once', async t => {
  const { clock, lines, losses } = start()
  losses.note('ip nodelet-proxy', ['ip nodelet-proxy table'])
  await clock.advance(60)
  losses.note('ip6 nodelet-proxy', ['ip6 nodelet-proxy table', 'ip6 nodelet-proxy chain services'])
  await clock.advance(1_000)
  t.equal(lines.length, 1)
  t.match(lines[0], /"where":"ip nodelet-proxy, ip6 nodelet-proxy","gone":\["ip nodelet-proxy table",.*"pieces":3/)
  t.equal(losses.count, 1)
  losses.note('ip nodelet-proxy', ['ip nodelet-proxy table'])
  await clock.advance(1_000)
  t.equal(lines.length, 2, 'the next time is another line')
  t.equal(losses.count, 2)
})

t.test('who never stops is told of all the same, and no line names a thousand pieces', async t => {
  const { clock, lines, vanished } = start()
  for (let piece = 0; piece < 240; piece++) {
    vanished.note('ip nodelet-proxy', [`element ${piece}`])
    await clock.advance(50)
  }
  t.equal(lines.length, 1)
  t.match(lines[0], /"element 19"\],"pieces":20\d/)
  vanished.stop()
  t.equal(lines.length, 2, 'at the end nothing is kept back')
  vanished.stop()
  t.equal(lines.length, 2)
})

t.test('a part counts its own losses, in one line with those of others', async t => {
  const { clock, lines, vanished, losses } = start()
  vanished.note('inet nodelet-cni', ['inet nodelet-cni table'])
  losses.note('ip nodelet-proxy', ['ip nodelet-proxy table'])
  await clock.advance(1_000)
  t.match(lines, [/"where":"inet nodelet-cni, ip nodelet-proxy"/])
  t.equal(losses.count, 1)
  vanished.note('inet nodelet-cni', ['inet nodelet-cni table'])
  await clock.advance(1_000)
  t.equal(lines.length, 2)
  t.equal(losses.count, 1)
})

t.test('what is told late, while rules are written anew, is the same line', async t => {
  const { clock, lines, vanished } = start()
  const losses = createLosses(vanished, () => clock.sleep(2_000))
  losses.note('ip nodelet-proxy', ['ip nodelet-proxy table'])
  await clock.advance(2_400)
  losses.note('ip6 nodelet-proxy', ['ip6 nodelet-proxy table'])
  await clock.advance(10_000)
  t.match(lines, [/"where":"ip nodelet-proxy, ip6 nodelet-proxy"/])
  t.equal(losses.count, 1)
})

t.test('a repair that does not come to an end keeps no line back for ever', async t => {
  const { clock, lines, vanished } = start()
  vanished.note('ip nodelet-proxy', ['ip nodelet-proxy table'], () => new Promise(() => undefined))
  await clock.advance(11_000)
  t.equal(lines.length, 1)
})

t.test('that reports were lost is no loss', async t => {
  const { clock, lines, losses } = start()
  noteChange(losses, { table: 'ip nodelet-proxy', gone: ['unknown'] })
  await clock.advance(1_000)
  t.same(lines, [])
  noteChange(losses, { table: 'ip nodelet-proxy', gone: ['unknown', 'chain services'] })
  await clock.advance(1_000)
  t.match(lines, [/"gone":\["ip nodelet-proxy chain services"\]/])
})
