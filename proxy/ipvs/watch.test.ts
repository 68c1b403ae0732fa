// The watch on the IPVS mode: when it looks, what it says, and that what is on its way out is swept.
import t, { type Test } from 'tap'
import { fakeClock } from '../../host/clock.fake.ts'
import { Fault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'
import type { Compared, Difference } from '../inspect-types.ts'
import { createIpvsWatch } from './watch.ts'

const missing: Difference = { place: 'IPVS', kind: 'missing', what: 'virtual server', wanted: '-s rr', found: undefined }

const start = (t: Test) => {
  const clock = fakeClock()
  const seen = { looks: 0, sweeps: 0, resyncs: [] as string[] }
  const kernel = { stands: true, answer: async (): Promise<Compared | undefined> => ({ differences: [], compared: 1 }) }
  const watch = createIpvsWatch({
    backends: [
      {
        family: 'IPv4',
        inspector: {
          look: async () => ({ place: '', written: undefined, pieces: [], notAsked: 0, remembered: [] }),
          diff: () => {
            seen.looks += 1
            return kernel.answer()
          },
        },
        sweep: async () => {
          seen.sweeps += 1
          return 1
        },
      },
    ],
    stands: () => kernel.stands,
    resync: (reason, family) => seen.resyncs.push(`${family}: ${reason}`),
    ...{ clock, log: silentLog, everyMs: 30_000 },
  })
  t.teardown(() => watch.stop())
  return { clock, seen, kernel, watch }
}

t.test('it looks every time that the period is over, and sweeps when nothing differs', async t => {
  const { clock, seen } = start(t)
  await clock.advance(29_999)
  t.equal(seen.looks, 0)
  await clock.advance(1)
  t.same([seen.looks, seen.sweeps], [1, 1])
  await clock.advance(30_000)
  t.same([seen.looks, seen.sweeps, seen.resyncs], [2, 2, []])
})

t.test('what differs is counted and written anew, and nothing is swept', async t => {
  const { clock, seen, kernel, watch } = start(t)
  kernel.answer = async () => ({ differences: [missing], compared: 1 })
  watch.poke()
  await clock.advance(0)
  t.same(seen, { looks: 1, sweeps: 0, resyncs: ['IPv4: rules were changed by somebody else'] })
  t.equal(watch.count, 1)
})

t.test('it does not look before rules stand, nor take a moment of writing for a difference', async t => {
  const { clock, seen, kernel, watch } = start(t)
  kernel.stands = false
  watch.poke()
  await clock.advance(0)
  t.equal(seen.looks, 0)
  kernel.stands = true
  kernel.answer = async () => undefined
  watch.poke()
  await clock.advance(0)
  t.same(seen, { looks: 1, sweeps: 0, resyncs: [] })
})

t.test('a kernel that cannot be listed is written anew', async t => {
  const { clock, seen, kernel, watch } = start(t)
  kernel.answer = async () => Promise.reject(new Fault('kernel-refused', 'no'))
  watch.poke()
  await clock.advance(0)
  t.same(seen.resyncs, ['IPv4: what the kernel holds is not known'])
  t.equal(watch.count, 0)
})

t.test('a poke while it looks makes it look once more; stopped it looks no more', async t => {
  const { clock, seen, kernel, watch } = start(t)
  const gate = Promise.withResolvers<Compared>()
  kernel.answer = () => gate.promise
  watch.poke()
  watch.poke()
  watch.poke()
  await clock.advance(0)
  t.equal(seen.looks, 1)
  gate.resolve({ differences: [], compared: 1 })
  await clock.advance(0)
  await clock.advance(1)
  t.equal(seen.looks, 2)
  watch.stop()
  watch.poke()
  await clock.advance(60_000)
  t.equal(seen.looks, 2)
})
