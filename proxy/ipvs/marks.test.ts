// Marks for frontends: which numbers there are, who keeps one, and what happens when there are no more.
import t from 'tap'
import { createMarks } from './marks.ts'

t.test('a frontend keeps its mark, also over a restart', async t => {
  const marks = createMarks(14)
  const first = marks.take('web')
  t.equal(first, 0x2001)
  t.equal(marks.take('web'), first)
  t.equal(marks.of('web'), first)
  const after = createMarks(14)
  t.equal(after.take('other'), 0x2001)
  t.equal(after.take('web', 0x2005), 0x2005, 'the one that the kernel has')
  t.equal(after.take('third', 0x2005), 0x2002, 'unless somebody has it')
  t.equal(after.take('fourth', 7), 0x2003, 'or it is none of ours')
})

t.test('one that was given back is not used again at once', async t => {
  const marks = createMarks(14)
  const first = marks.take('web')
  marks.give('web')
  t.equal(marks.of('web'), undefined)
  t.not(marks.take('other'), first)
})

for (const [bit, first, last] of [
  [14, 0x2001, 0x3fff],
  [13, 0x1001, 0x1fff],
  [0, 0x2002, 0x3ffe],
] as const)
  t.test(`the masquerade bit ${bit} is in no mark`, async t => {
    const marks = createMarks(bit)
    t.equal(marks.take('web'), first)
    t.ok(marks.covers(last))
    t.notOk(marks.covers(last + 1 + (bit === 0 ? 1 : 0)))
    t.notOk(marks.covers(first + 2 ** bit), 'with the bit it is another')
  })

t.test('when all are in use there is none, until one comes back', async t => {
  const marks = createMarks(14)
  const taken = new Set(Array.from({ length: 0x1fff }, (_, at) => marks.take(`web-${at}`)))
  t.same([taken.size, taken.has(undefined)], [0x1fff, false])
  t.equal(marks.take('one more'), undefined)
  marks.give('web-7')
  t.type(marks.take('one more'), 'number')
})
