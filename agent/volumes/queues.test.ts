import t from 'tap'
import { createQueues } from './queues.ts'

t.test('jobs of one key run one after the other, those of others do not wait', async t => {
  const { run } = createQueues()
  const order: string[] = []
  const gate = Promise.withResolvers<void>()
  const first = run('a', async () => {
    await gate.promise
    order.push('a1')
    throw new Error('a1 failed')
  })
  const second = run('a', async () => order.push('a2'))
  await run('b', async () => order.push('b1'))
  t.same(order, ['b1'])
  gate.resolve()
  await t.rejects(first, { message: 'a1 failed' })
  await second
  t.same(order, ['b1', 'a1', 'a2'], 'a job that failed holds up nobody')
})
