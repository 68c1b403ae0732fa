import t from 'tap'
import { fakeClock } from './clock.fake.ts'
import { silentLog } from './log.ts'
import { createServiceManager, watchdogPause } from './service-manager.ts'

const make = (env: Readonly<Record<string, string>>) => {
  const said: string[] = []
  const clock = fakeClock()
  const exec = {
    run: async (argv: readonly string[]) => {
      said.push(argv.join(' '))
      return { exitCode: 0, stdout: '', stderr: '' }
    },
  }
  return { said, clock, manager: createServiceManager({ exec, clock, log: silentLog, env, pid: 7 }) }
}

t.test('without a manager nothing is said', async t => {
  const { said, clock, manager } = make({})
  await manager.ready()
  await clock.advance(1_000_000)
  await manager.stopping()
  t.same(said, [])
})

t.test('it is told when the daemon is ready, and that it lives, three times in each period, until it stops', async t => {
  const { said, clock, manager } = make({ NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' })
  await manager.ready()
  t.same(said, ['systemd-notify --ready'])
  await clock.advance(30_000)
  t.same(said.slice(1), Array(3).fill('systemd-notify WATCHDOG=1'))
  await manager.stopping()
  await clock.advance(60_000)
  t.same(said.slice(4), ['systemd-notify STOPPING=1'])
})

t.test('signs of life are of the process that is asked for them', async t => {
  t.equal(watchdogPause({ WATCHDOG_USEC: '3000000' }, 7), 1000)
  t.equal(watchdogPause({ WATCHDOG_USEC: '3000000', WATCHDOG_PID: '8' }, 7), undefined)
  t.equal(watchdogPause({}, 7), undefined)
})
