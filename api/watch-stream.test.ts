// A stream that is kept open: when it is opened again, and what its owner is told.
import t from 'tap'
import { fakeClock } from '../host/clock.fake.ts'
import { Fault } from '../host/fault.ts'
import { silentLog } from '../host/log.ts'
import { keepOpen } from './watch-stream.ts'

const away = new Fault('runtime-away', 'nobody listens')

/** Each opening takes the next script: it may connect, and it ends as it says. */
const setup = (scripts: readonly { readonly connects: boolean; readonly endsAfterMs: number; readonly fault?: Fault }[]) => {
  const clock = fakeClock()
  const stop = new AbortController()
  const started = clock.now()
  const told: string[] = []
  const opened: number[] = []
  const open = async (connected: () => void) => {
    const script = scripts[opened.length] ?? { connects: true, endsAfterMs: 1e9 }
    opened.push(clock.now() - started)
    if (script.connects) connected()
    await clock.sleep(script.endsAfterMs, stop.signal)
    if (script.fault) throw script.fault
  }
  const deps = { clock, log: silentLog, signal: stop.signal, onConnected: () => told.push('connected') }
  const ended = keepOpen({ ...deps, onLost: fault => told.push(fault.code) }, open)
  return { clock, stop, told, opened, ended }
}

t.test('a stream that ends is opened again, and its owner told of the gap', async t => {
  const { clock, told, opened, stop, ended } = setup([{ connects: true, endsAfterMs: 500 }])
  await clock.advance(599)
  t.same(told, ['connected', 'runtime-away'])
  await clock.advance(1)
  t.same(told, ['connected', 'runtime-away', 'connected'])
  t.same(opened, [0, 600])
  stop.abort(new Error('enough'))
  await t.resolves(ended)
})

t.test('a runtime that stays away is asked after 100, 200, 400, 800 ms, then every second; its loss is told once', async t => {
  const { clock, told, opened, stop, ended } = setup(
    Array.from({ length: 7 }, () => ({ connects: false, endsAfterMs: 0, fault: away })),
  )
  await clock.advance(5000)
  t.same(opened, [0, 100, 300, 700, 1500, 2500, 3500, 4500])
  t.same(told, ['runtime-away', 'connected'])
  stop.abort(new Error('enough'))
  await ended
})

t.test('after a success the pauses begin short again', async t => {
  const failing = { connects: false, endsAfterMs: 0, fault: away }
  const { clock, opened, stop, ended } = setup([failing, failing, failing, { connects: true, endsAfterMs: 300 }])
  await clock.advance(5000)
  t.same(opened, [0, 100, 300, 700, 1100])
  stop.abort(new Error('enough'))
  await ended
})

t.test('a stream that the runtime does not serve is not asked for again', async t => {
  const unsupported = new Fault('unsupported', 'unknown service')
  const { clock, ended } = setup([{ connects: false, endsAfterMs: 0, fault: unsupported }])
  const result = ended.catch(error => error)
  await clock.advance(5000)
  t.equal(await result, unsupported)
})
