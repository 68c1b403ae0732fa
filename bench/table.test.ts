import t from 'tap'
import { type Figure, isMet, median, percentile } from './figure.ts'
import { toTable } from './table.ts'

t.test('a figure is what it must be', async t => {
  const figure: Figure = { figure: 'x', unit: 'ms', ours: 50 }
  const cases: readonly (readonly [string, Figure, boolean | undefined])[] = [
    ['when its ratio is at the bound', { ...figure, theirs: 100, atMost: 0.5 }, true],
    ['not when its ratio is above it', { ...figure, theirs: 99, atMost: 0.5 }, false],
    ['not when there is nothing to compare with', { ...figure, atMost: 0.5 }, false],
    ['when it is under an absolute bound', { ...figure, under: 51 }, true],
    ['not when it is at that', { ...figure, under: 50 }, false],
    ['and nothing is said when nothing is asked', { ...figure, theirs: 1 }, undefined],
  ]
  for (const [name, given, expected] of cases) t.equal(isMet(given), expected, name)
})

t.test('medians and percentiles are values that were measured', async t => {
  t.equal(median([3, 1, 2]), 2)
  t.equal(percentile([4, 3, 2, 1], 0.95), 4)
  t.throws(() => median([]), /nothing was measured/)
})

t.test('the table has a row for each figure, and says which misses its bound', async t => {
  const table = toTable([
    { figure: 'start', unit: 'ms', ours: 377.08, peer: 'kubelet', theirs: 430.3, atMost: 0.5 },
    { figure: 'answer', unit: 'ms', ours: 4.04, under: 30, note: 'p95 9 ms' },
  ])
  t.equal(
    table,
    `| figure | nodelet | theirs | ratio | must be |  |
| --- | --- | --- | --- | --- | --- |
| start | 377 ms | 430 ms, kubelet | 0.88 | at most 0.5 | not |
| answer (p95 9 ms) | 4.0 ms |  |  | under 30 ms | ok |`,
  )
})
