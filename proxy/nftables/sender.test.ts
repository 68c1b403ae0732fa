// Which transactions may be under way at once, and what a refusal leaves.
import t from 'tap'
import { createSender } from './sender.ts'

/** What has begun and is under way, by its text; each ends when it is told to. */
const kernel = () => {
  const begun: string[] = []
  const open = new Map<string, PromiseWithResolvers<void>>()
  const apply = async (text: string) => {
    begun.push(text)
    const running = Promise.withResolvers<void>()
    open.set(text, running)
    await running.promise
  }
  const turn = () => new Promise(setImmediate)
  return {
    begun,
    apply,
    turn,
    end: async (text: string) => {
      open.get(text)?.resolve()
      await turn()
    },
    refuse: async (text: string) => {
      open.get(text)?.reject(new Error(`${text} refused`))
      await turn()
    },
  }
}

t.test('two that only add are under way at once; the third waits for one of them', async t => {
  const { apply, begun, end, turn } = kernel()
  const sender = createSender(apply)
  await sender.send('a', true)
  await sender.send('b', true)
  const third = sender.send('c', true)
  await turn()
  t.same(begun, ['a', 'b'])
  await end('b')
  await third
  t.same(begun, ['a', 'b', 'c'])
  await end('a')
  await end('c')
  await sender.ended()
})

t.test('what makes or removes anything waits for all before it, and is waited for', async t => {
  const { apply, begun, end, turn } = kernel()
  const sender = createSender(apply)
  await sender.send('chains', false)
  const rest = (async () => {
    await sender.send('add', true)
    await sender.send('delete', false)
    await sender.ended()
  })()
  await turn()
  t.same(begun, ['chains'])
  await end('chains')
  t.same(begun, ['chains', 'add'])
  await end('add')
  t.same(begun, ['chains', 'add', 'delete'])
  await end('delete')
  await rest
})

t.test('a refusal is told when nothing is under way any more, and nothing is sent after it', async t => {
  const { apply, begun, end, refuse, turn } = kernel()
  const sender = createSender(apply)
  await sender.send('a', true)
  await sender.send('b', true)
  let told = ''
  const third = sender.send('c', true).catch((error: Error) => {
    told = error.message
  })
  await refuse('a')
  await turn()
  t.equal(told, '', 'b may still change the kernel')
  await end('b')
  await third
  t.equal(told, 'a refused')
  t.same(begun, ['a', 'b'])
  await t.rejects(sender.ended(), { message: 'a refused' })
})
