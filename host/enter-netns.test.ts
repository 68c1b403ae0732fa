// In which order a namespace is entered and left, with calls that only write down what was asked; the kernel's part is test/kernel's.
import t from 'tap'
import { createEnterNetns } from './enter-netns.ts'
import { Fault } from './fault.ts'

/** @param refused the files that cannot be entered, by path; the own one from the second time on */
const recorded = (refused: readonly string[] = []) => {
  const calls: string[] = []
  const paths = ['', '', '']
  const die = (why: string): never => {
    calls.push(`die: ${why}`)
    throw new Error('dead')
  }
  const enter = createEnterNetns({
    open: path => {
      if (path === '/gone') throw Object.assign(new Error('gone'), { code: 'ENOENT' })
      calls.push(`open ${path}`)
      return paths.push(path) - 1
    },
    close: file => void calls.push(`close ${paths[file]}`),
    enter: file => {
      calls.push(`enter ${paths[file]}`)
      return !refused.includes(paths[file] ?? '')
    },
    die,
  })
  return { calls, enter }
}
const own = '/proc/thread-self/ns/net'

t.test('it is left before anything else can run, and our own namespace is opened once', async t => {
  const { calls, enter } = recorded()
  const work = () => calls.push('work')
  enter('/a', work)
  enter('/b', work)
  t.same(calls, [
    ...[`open ${own}`, 'open /a', 'enter /a', 'work', `enter ${own}`, 'close /a'],
    ...['open /b', 'enter /b', 'work', `enter ${own}`, 'close /b'],
  ])
})

t.test('it is left after work that fails as well, which is told', async t => {
  const { calls, enter } = recorded()
  const fails = () => {
    throw new Fault('command', 'no such program')
  }
  t.throws(() => enter('/a', fails), { message: 'no such program' })
  t.same(calls.slice(-2), [`enter ${own}`, 'close /a'])
})

t.test('nothing is done when it is not there or cannot be entered', async t => {
  const { calls, enter } = recorded(['/a'])
  const work = () => t.fail('must not be done')
  t.throws(() => enter('/gone', work), { code: 'not-found', message: 'network namespace /gone is not there' })
  t.throws(() => enter('/a', work), { code: 'network', message: 'network namespace /a cannot be entered' })
  t.same(calls, [`open ${own}`, 'open /a', 'enter /a', 'close /a'])
})

t.test('a process that cannot go back ends', async t => {
  const { calls, enter } = recorded([own])
  t.throws(() => enter('/a', () => undefined), { message: 'dead' })
  t.ok(calls.includes('die: cannot leave network namespace /a'))
})
