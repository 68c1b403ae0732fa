// The watch with a child in memory: what is told as foreign, what is ours, and what follows when the child dies.
import t from 'tap'
import { fakeClock } from './clock.fake.ts'
import type { RunResult } from './exec.ts'
import { silentLog } from './log.ts'
import { type ForeignChange, signed, signedReplacement, watchTables } from './nftmonitor.ts'

const start = (standing: readonly string[] = ['ip mine', 'ip6 mine'], after?: Promise<unknown>) => {
  const clock = fakeClock()
  const children: { say: (...lines: string[]) => void; end: (result: RunResult) => void; stopped: boolean }[] = []
  const seen: ForeignChange[] = []
  const monitor = watchTables(
    {
      clock,
      log: silentLog,
      exec: {
        run: async argv => ({
          exitCode: 0,
          stderr: '',
          stdout: `${argv}` === 'nft,list,tables' ? standing.map(it => `table ${it}\n`).join('') : '',
        }),
        watch: (_, onLine) => {
          const { promise, resolve } = Promise.withResolvers<RunResult>()
          const child = { say: (...lines: string[]) => lines.forEach(onLine), end: resolve, stopped: false }
          children.push(child)
          return {
            ended: promise,
            stop: () => {
              child.stopped = true
            },
          }
        },
      },
    },
    ['ip mine', 'ip6 mine'],
    change => seen.push(change),
    { ignore: ['fleeting-'], ...(after && { after }) },
  )
  return { clock, children, seen, monitor }
}
const open = 'delete element ip mine signature { 0x00000001 }'
const close = 'delete element ip mine signature { 0x00000002 }'

t.test('what somebody else takes away is told as one change per table', async t2 => {
  const { clock, children, seen } = start()
  children[0]!.say(
    'delete rule ip mine services handle 3',
    'delete rule ip mine services handle 4',
    'delete set ip mine __set0',
    'delete chain ip mine services',
    'delete table ip mine',
    'delete element ip6 mine endpoints { fd00::1 . 80 . 0 : fd01::1 . 80 }',
    'delete table ip theirs',
  )
  await clock.advance(100)
  t2.same(seen, [
    { table: 'ip mine', gone: ['rule services', 'chain services', 'table'] },
    { table: 'ip6 mine', gone: ['element endpoints'] },
  ])
})

t.test('what is signed is ours, and what comes after it is not', async t2 => {
  const { clock, children, seen } = start()
  children[0]!.say(open, 'delete element ip mine endpoints { 1 }', 'delete table ip mine', close)
  await clock.advance(100)
  t2.same(seen, [])
  children[0]!.say(open, close, 'delete chain ip mine services')
  await clock.advance(100)
  t2.same(seen, [{ table: 'ip mine', gone: ['chain services'] }])
})

t.test('a signature of one table says nothing of another', async t2 => {
  const { clock, children, seen } = start()
  children[0]!.say(open, 'delete chain ip6 mine services', close)
  await clock.advance(100)
  t2.same(seen, [{ table: 'ip6 mine', gone: ['chain services'] }])
})

t.test('elements that end by themselves are nobody’s doing', async t2 => {
  const { clock, children, seen } = start()
  children[0]!.say('delete element ip mine fleeting-3 { 10.0.0.1 }')
  await clock.advance(100)
  t2.same(seen, [])
})

t.test('lost reports and a child that died mean that anything may have happened', async t2 => {
  const { clock, children, seen, monitor } = start()
  children[0]!.say('# ERROR: We lost some netlink events!')
  await clock.advance(100)
  t2.same(seen, [
    { table: 'ip mine', gone: ['unknown'] },
    { table: 'ip6 mine', gone: ['unknown'] },
  ])
  seen.length = 0
  children[0]!.end({ exitCode: 1, stdout: '', stderr: 'out of luck' })
  await clock.advance(150)
  t2.notOk(monitor.isRunning)
  await clock.advance(300)
  t2.ok(monitor.isRunning)
  t2.same([children.length, seen.length, monitor.restarts], [2, 2, 1])
})

t.test('reports that a large load of our own has lost: the rest of it is ours, and what comes later is not', async t2 => {
  const { clock, children, seen } = start()
  const more = async () => {
    children[0]!.say('delete rule ip mine services handle 3')
    await clock.advance(200)
  }
  children[0]!.say(open, '# ERROR: We lost some netlink events!')
  for (let time = 0; time < 10; time++) await more()
  t2.same(seen, [])
  // Its end was lost as well.
  await clock.advance(1_000)
  await more()
  t2.same(seen, [{ table: 'ip mine', gone: ['rule services'] }])
})

t.test('a table that somebody deleted while reports were lost is found to be gone', async t2 => {
  const { clock, children, seen } = start(['ip6 mine'])
  children[0]!.say(open, '# ERROR: We lost some netlink events!', 'delete table ip mine')
  await clock.advance(2_000)
  t2.same(seen, [{ table: 'ip mine', gone: ['unknown'] }])
})

t.test('a child that cannot live is tried less and less often', async t2 => {
  const { clock, children, monitor } = start()
  for (const pause of [200, 400, 800, 1_600]) {
    children.at(-1)!.end({ exitCode: 1, stdout: '', stderr: '' })
    await clock.advance(pause)
  }
  t2.equal(children.length, 5)
  children.at(-1)!.end({ exitCode: 1, stdout: '', stderr: '' })
  await clock.advance(3_000)
  t2.notOk(monitor.isRunning)
  monitor.stop()
  await clock.advance(60_000)
  t2.equal(children.length, 5, 'and not again once it is stopped')
})

t.test('signed texts', async t2 => {
  t2.equal(
    signed('ip mine', ['add x']),
    [
      'add element ip mine signature { 0x00000001 }',
      'delete element ip mine signature { 0x00000001 }',
      'add x',
      'add element ip mine signature { 0x00000002 }',
      'delete element ip mine signature { 0x00000002 }',
      '',
    ].join('\n'),
  )
  t2.match(
    signedReplacement('ip mine', ['add table ip mine']),
    /^add table ip mine\nadd set ip mine signature .*\ndelete table ip mine\nadd table ip mine\n/s,
  )
})

t.test('a watch that waits for our own load begins after it, and tells what is not there by then', async t2 => {
  const { promise: loaded, resolve } = Promise.withResolvers<void>()
  const { clock, children, seen, monitor } = start(['ip mine'], loaded)
  await clock.advance(1000)
  t2.same([children.length, monitor.isRunning], [0, false])
  resolve()
  await clock.advance(100)
  t2.same([children.length, monitor.isRunning], [1, true])
  t2.same(seen, [{ table: 'ip6 mine', gone: ['unknown'] }])
  await clock.advance(20_000)
  t2.equal(children.length, 1)
  monitor.stop()
  t2.ok(children[0]?.stopped)
})

t.test('it does not wait for longer than ten seconds, and not at all once it is stopped', async t2 => {
  const never = new Promise(() => undefined)
  const late = start(undefined, never)
  await late.clock.advance(10_000)
  t2.same([late.children.length, late.seen], [1, []])
  late.monitor.stop()
  const stopped = start(undefined, never)
  stopped.monitor.stop()
  await stopped.clock.advance(20_000)
  t2.equal(stopped.children.length, 0)
})
