import t from 'tap'
import { amountOf, crossed, type Observations, type Signal, type Threshold, toThresholds, withContainerFs } from './thresholds.ts'

const settings = {
  evictionHard: {},
  evictionSoft: {},
  evictionSoftGracePeriod: {},
  evictionMinimumReclaim: {},
  enforceNodeAllocatable: ['none'],
}
const hard = (signal: Signal, value: string, minimumReclaim?: string): Threshold => ({
  ...{ signal, value, graceMs: 0 },
  ...(minimumReclaim !== undefined && { minimumReclaim }),
})

for (const [name, given, expected] of [
  [
    'a hard threshold has no grace',
    { evictionHard: { 'nodefs.available': '10%' } },
    [{ signal: 'nodefs.available', value: '10%', graceMs: 0 }],
  ],
  [
    'a soft one has that of the same signal',
    { evictionSoft: { 'pid.available': '100' }, evictionSoftGracePeriod: { 'pid.available': 90_000 } },
    [{ signal: 'pid.available', value: '100', graceMs: 90_000 }],
  ],
  [
    'the minimum reclaim goes with every threshold of its signal',
    {
      evictionHard: { 'nodefs.available': '10%' },
      evictionMinimumReclaim: { 'nodefs.available': '1Gi', 'imagefs.available': '2Gi' },
    },
    [{ signal: 'nodefs.available', value: '10%', graceMs: 0, minimumReclaim: '1Gi' }],
  ],
  ['0% and 100% switch a threshold off', { evictionHard: { 'nodefs.available': '0%', 'imagefs.available': '100%' } }, []],
  [
    'where pods are held to what is allocatable, their memory has the same hard threshold',
    {
      evictionHard: { 'memory.available': '100Mi' },
      evictionSoft: { 'memory.available': '300Mi' },
      evictionSoftGracePeriod: { 'memory.available': 1000 },
      enforceNodeAllocatable: ['pods'],
    },
    [
      { signal: 'memory.available', value: '100Mi', graceMs: 0 },
      { signal: 'memory.available', value: '300Mi', graceMs: 1000 },
      { signal: 'allocatableMemory.available', value: '100Mi', graceMs: 0 },
    ],
  ],
] as const) {
  t.test(name, async t => t.same(toThresholds({ ...settings, ...given }), expected))
}

const both = [hard('nodefs.available', '10%'), hard('imagefs.available', '15%')]
for (const [layout, from] of [
  ['one', '10%'],
  ['runtime-apart', '15%'],
  ['images-apart', '10%'],
] as const) {
  t.test(`on disks "${layout}" writable layers have the threshold of the disk that they are on`, async t =>
    t.same(withContainerFs([...both, hard('containerfs.available', '99%')], layout), [
      ...both,
      hard('containerfs.available', from),
    ]),
  )
}

t.test('a soft threshold that is taken over stays soft', async t => {
  const soft = { ...hard('imagefs.inodesFree', '5%'), graceMs: 60_000 }
  t.same(withContainerFs([soft], 'runtime-apart'), [soft, { ...soft, signal: 'containerfs.inodesFree' }])
})

t.test('a share is cut to whole units, in single precision', async t => {
  t.equal(amountOf('10%', 1001), 100)
  t.equal(amountOf('0.1%', 10_000), 10)
  t.equal(amountOf('1Ki', 1), 1024)
  t.equal(amountOf('15%', 270_553_174_016), Math.trunc(270_553_174_016 * Math.fround(0.15)))
})

const observed = (available: number): Observations => new Map([['nodefs.available', { available, capacity: 1000 }]])
for (const [name, threshold, available, untilReclaimed, isCrossed] of [
  ['exactly what is asked for is enough', hard('nodefs.available', '10%'), 100, false, false],
  ['less is not', hard('nodefs.available', '10%'), 99, false, true],
  ['the minimum reclaim does not count before', hard('nodefs.available', '10%', '50'), 120, false, false],
  ['it counts afterwards', hard('nodefs.available', '10%', '50'), 120, true, true],
  ['and once it is reached no more', hard('nodefs.available', '10%', '5%'), 150, true, false],
  ['what was not observed is not crossed', hard('imagefs.available', '10%'), 0, false, false],
] as const) {
  t.test(name, async t => t.equal(crossed([threshold], observed(available), untilReclaimed).length, Number(isCrossed)))
}
