import t from 'tap'
import { isFault } from '../host/fault.ts'
import { expand, expandSubPath, expandWords } from './expand.ts'

const values: Record<string, string> = { A: 'a', B: '$(A)', EMPTY: '', 'with-dash': 'd' }

for (const [name, text, expected] of [
  ['a reference is replaced', 'x $(A) y', 'x a y'],
  ['references may touch each other', '$(A)$(A)', 'aa'],
  ['what a reference stands for is not expanded again', '$(B)', '$(A)'],
  ['an empty value is a value', '<$(EMPTY)>', '<>'],
  ['an unknown reference stays as it is', '$(NO)', '$(NO)'],
  ['two dollars are one dollar', '$$', '$'],
  ['an escaped reference is not expanded', '$$(A)', '$(A)'],
  ['an escaped dollar before a reference', '$$$(A)', '$a'],
  ['four dollars are two', '$$$$(A)', '$$(A)'],
  ['a reference that is not closed is text', 'x$(A', 'x$(A'],
  ['an opening bracket inside belongs to the name', '$($(A)', '$($(A)'],
  ['an empty name is no variable', '$()', '$()'],
  ['a dollar at the end stays', 'cost 5$', 'cost 5$'],
  ['a dollar before another letter stays', '$A ${A}', '$A ${A}'],
  ['names are not limited to identifiers', '$(with-dash)', 'd'],
] as const)
  t.test(name, async t => {
    t.equal(
      expand(text, key => values[key]),
      expected,
    )
  })

const env = [
  { key: 'POD', value: Buffer.from('web-0') },
  { key: 'NONE', value: Buffer.from('') },
]

t.test('words of a command are expanded one by one', async t => {
  t.same(expandWords(['echo', '$(POD)-$(OTHER)'], env), ['echo', 'web-0-$(OTHER)'])
})

t.test('a subPathExpr is expanded', async t => {
  t.equal(expandSubPath('logs/$(POD)', env), 'logs/web-0')
})

t.test('a subPathExpr that names a missing or an empty variable is refused, all of them named', async t => {
  t.throws(() => expandSubPath('$(Z)/$(NONE)/$(POD)', env), { message: 'missing value for NONE, Z' })
  try {
    expandSubPath('$(Z)', env)
  } catch (error) {
    t.ok(isFault(error, 'container-config'))
    t.equal((error as { reason?: string }).reason, 'CreateContainerConfigError')
  }
})
