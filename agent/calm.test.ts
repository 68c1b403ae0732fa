import t from 'tap'
import { fakeClock } from '../host/clock.fake.ts'
import { createCalm } from './calm.ts'

const build = () => {
  const clock = fakeClock()
  const state = { isCalm: false }
  const calm = createCalm({ isCalm: () => state.isCalm, longestMs: 3000, clock })
  const done: string[] = []
  const ask = (name: string) => calm.when().then(() => done.push(name))
  return { clock, state, calm, done, ask }
}

t.test('what nobody waits for is done at once when it is calm', async t => {
  const { state, ask, done } = build()
  state.isCalm = true
  await ask('first')
  t.same(done, ['first'])
})

t.test('it is put off until it is calm, for all of them', async t => {
  const { state, calm, ask, done } = build()
  const asked = [ask('first'), ask('second')]
  calm.look()
  await Promise.resolve()
  t.same(done, [])
  state.isCalm = true
  calm.look()
  await Promise.all(asked)
  t.same(done, ['first', 'second'])
})

t.test('it is not put off for ever', async t => {
  const { clock, ask, done } = build()
  const asked = ask('first')
  await clock.advance(3000)
  await asked
  t.same(done, ['first'])
})
