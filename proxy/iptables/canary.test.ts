// When rules are looked for, and what is made of it when some are gone.
import t from 'tap'
import type { IPFamily } from '../../api/service-types.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import type { Iptables, PlacedRule } from '../../host/iptables.ts'
import { createLog } from '../../host/log.ts'
import { createLosses, createVanished } from '../vanished.ts'
import { canaries, createCanary } from './canary.ts'

const start = (variant: Iptables['variant'], { costMs = 1 }: { costMs?: number } = {}) => {
  const clock = fakeClock()
  const kernel = { missing: [] as readonly PlacedRule[], hasCanary: true, stands: true, fails: false }
  const looks: number[] = []
  const lines: string[] = []
  const resyncs: IPFamily[] = []
  const log = createLog({ verbosity: 0, human: false, write: line => lines.push(line) })
  const canary = createCanary({
    families: [
      {
        family: 'IPv4',
        iptables: {
          variant,
          missing: async rules => {
            looks.push(clock.monotonic())
            t.equal(rules, canaries)
            if (costMs > 1) await clock.sleep(costMs)
            if (kernel.fails) throw new Error('the lock is held')
            return kernel.missing
          },
          hasChain: async () => kernel.hasCanary,
        },
      },
    ],
    stands: () => kernel.stands,
    resync: (_, family) => resyncs.push(family),
    losses: createLosses(createVanished({ clock, log })),
    ...{ clock, log },
  })
  return { clock, canary, kernel, looks, lines, resyncs }
}

t.test('the legacy tables are looked at every second while that is cheap', async t => {
  const { clock, looks, canary } = start('legacy')
  await clock.advance(5_000)
  t.same(looks, [1_000, 2_000, 3_000, 4_000, 5_000])
  canary.stop()
  await clock.advance(5_000)
  t.equal(looks.length, 5, 'and no more once stopped')
})

t.test('long ones every 30 seconds, once some looks have shown that they are long', async t => {
  const { clock, looks } = start('legacy', { costMs: 70 })
  await clock.advance(70_000)
  t.equal(looks.length, 7)
  t.ok(looks[4]! < 6_000)
  t.ok(looks[5]! - looks[4]! >= 30_000)
})

t.test('a table that is emptied after the other is told in one line', async t => {
  const { clock, canary, lines, resyncs } = start('nft')
  canary.report('IPv4', ['ip nat table'])
  canary.report('IPv4', ['ip filter table'])
  await clock.advance(1)
  t.same(resyncs, ['IPv4'], 'and written anew once')
  await clock.advance(400)
  t.equal(lines.length, 1)
  t.match(lines[0], /"where":"IPv4","gone":\["ip nat table","ip filter table"\]/)
})

t.test('but the chain in mangle every second: who empties everything is seen at once', async t => {
  const { clock, kernel, resyncs, lines } = start('legacy', { costMs: 70 })
  await clock.advance(5_000)
  kernel.hasCanary = false
  await clock.advance(1_100)
  t.same(resyncs.slice(0, 1), ['IPv4'])
  t.match(lines[0], /"warn".*mangle KUBE-PROXY-CANARY.*somebody else removed rules/)
})

t.test('where the kernel tells of deletions, every 30 seconds, and at once when it does', async t => {
  const { clock, canary, kernel, looks, resyncs } = start('nft')
  await clock.advance(29_000)
  t.same(looks, [])
  kernel.missing = [canaries[0]!]
  canary.poke()
  await clock.advance(0)
  t.same(looks, [29_000])
  t.same(resyncs, ['IPv4'])
  t.equal(canary.count, 1)
  kernel.missing = []
  await clock.advance(30_000)
  t.equal(looks.length, 2)
})

t.test('a poke while somebody looks is not lost', async t => {
  const { clock, canary, looks } = start('nft', { costMs: 50 })
  canary.poke()
  await clock.advance(10)
  canary.poke()
  await clock.advance(400)
  t.equal(looks.length, 2)
})

t.test('nothing is missing before everything stands, and a look that fails is only one that failed', async t => {
  const { clock, kernel, looks, resyncs, lines } = start('legacy')
  kernel.stands = false
  kernel.missing = [canaries[0]!]
  await clock.advance(3_000)
  t.same(looks, [])
  kernel.stands = true
  kernel.fails = true
  await clock.advance(2_000)
  t.same(resyncs, [])
  t.same(lines, [], 'the lock of somebody who lists is no warning')
  kernel.fails = false
  await clock.advance(1_000)
  t.same(resyncs, ['IPv4'])
})
