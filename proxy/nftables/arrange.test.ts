import t from 'tap'
import { arrange, keepSlots } from './arrange.ts'

const rows: readonly (readonly [string, string, string, string])[] = [
  ['new ones go to the end', 'ab', 'abc', 'abc'],
  ['a hole is filled by the last one', 'abcd', 'acd', 'adc'],
  ['or by a new one', 'abc', 'axc', 'axc'],
  ['the last one that goes moves nobody', 'abc', 'ab', 'ab'],
  ['all new', 'ab', 'xyz', 'xyz'],
  ['nobody', 'ab', '', ''],
]
for (const [name, before, wanted, expected] of rows)
  t.test(name, async t2 => t2.equal(arrange([...before], [...wanted]).join(''), expected))

t.test('numbers that clients remember stay with their endpoint', async t2 => {
  const first = keepSlots([], ['a', 'b', 'c'])
  const second = keepSlots(first, ['a', 'c'])
  t2.same(second, ['a', undefined, 'c'], 'a hole stays')
  t2.same(keepSlots(second, ['a', 'c', 'd', 'e']), ['a', 'd', 'c', 'e'], 'until somebody new comes')
  t2.same(keepSlots(second, ['a']), ['a'], 'holes at the end go')
})
