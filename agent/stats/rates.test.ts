import t from 'tap'
import { createRates } from './rates.ts'

for (const [name, readings, expected] of [
  ['a first reading tells nothing', [[0, 0]], undefined],
  [
    'half a core for a second is half a core',
    [
      [0, 0],
      [1000, 500_000_000],
    ],
    500_000_000,
  ],
  [
    'a first rate may come of a short span',
    [
      [0, 0],
      [200, 100_000_000],
    ],
    500_000_000,
  ],
  [
    'a span that is too short to tell anything tells nothing',
    [
      [0, 0],
      [10, 5_000_000],
    ],
    undefined,
  ],
  [
    'asked again at once, the rate is the one before',
    [
      [0, 0],
      [1000, 500_000_000],
      [1010, 600_000_000],
    ],
    500_000_000,
  ],
  [
    'a counter that went back belongs to another cgroup',
    [
      [0, 900],
      [1000, 5],
    ],
    undefined,
  ],
  [
    'a reading of long ago tells of another time',
    [
      [0, 0],
      [120_000, 5_000_000],
    ],
    undefined,
  ],
] as const) {
  t.test(name, async t => {
    const rates = createRates()
    const last = readings.map(([at, usageNs]) => rates.take('x', at, usageNs)).at(-1)
    t.equal(last, expected)
  })
}

t.test('what is asked for stays, even when it was asked for too soon; the rest is forgotten', async t => {
  const rates = createRates()
  for (const at of [0, 1000]) for (const key of ['kept', 'gone']) rates.take(key, at, at * 1e6)
  rates.take('kept', 1010, 1010 * 1e6)
  rates.prune(1005)
  t.equal(rates.take('kept', 1020, 1020 * 1e6), 1e9)
  t.equal(rates.take('gone', 1020, 1020 * 1e6), undefined)
})
