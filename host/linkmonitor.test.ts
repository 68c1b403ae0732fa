// The watch on interfaces with a child in memory: what is told, and what follows when the child dies.
import t from 'tap'
import { fakeClock } from './clock.fake.ts'
import type { RunResult } from './exec.ts'
import { watchLinks } from './linkmonitor.ts'
import { silentLog } from './log.ts'

const start = () => {
  const clock = fakeClock()
  const children: { say: (line: string) => void; end: (result: RunResult) => void; stopped: boolean }[] = []
  const gone: (string | undefined)[] = []
  const exec = {
    watch: (_: readonly string[], onLine: (line: string) => void) => {
      const { promise, resolve } = Promise.withResolvers<RunResult>()
      const child = { say: onLine, end: resolve, stopped: false }
      children.push(child)
      return {
        ended: promise,
        stop: () => {
          child.stopped = true
        },
      }
    },
  }
  const monitor = watchLinks({ clock, log: silentLog, exec }, name => gone.push(name))
  return { clock, children, gone, monitor }
}

t.test('an interface that goes is told by its name, whatever else happens to others', async t => {
  const { children, gone } = start()
  for (const line of [
    '4: nodelet0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default \\    link/ether 0a:00',
    'Deleted 5: nlp0123456789ab@if2: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN group default \\    link/ether 0a:01',
    'Deleted 4: nodelet0: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN group default \\    link/ether 0a:00',
  ])
    children[0]!.say(line)
  t.same(gone, ['nlp0123456789ab', 'nodelet0'])
})

t.test('after the death of the child anything may have gone unseen', async t => {
  const { clock, children, gone } = start()
  children[0]!.end({ exitCode: 1, stdout: '', stderr: 'no buffer space' })
  await clock.advance(150)
  t.same([children.length, gone], [1, []])
  await clock.advance(100)
  t.same([children.length, gone], [2, [undefined]])
})

t.test('stopped, it is not started again', async t => {
  const { clock, children, gone, monitor } = start()
  monitor.stop()
  t.ok(children[0]!.stopped)
  children[0]!.end({ exitCode: -1, stdout: '', stderr: '' })
  await clock.advance(60_000)
  t.same([children.length, gone], [1, []])
})
