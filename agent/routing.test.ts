// Who is asked about the way of packets: the proxy that runs, and while there is none the reason is the answer.
import t from 'tap'
import { fakeClock } from '../host/clock.fake.ts'
import { Fault } from '../host/fault.ts'
import { silentLog } from '../host/log.ts'
import { createRouting, type Routed } from './routing.ts'

const query = { target: 'web', namespace: 'default', from: undefined, protocol: undefined }

const setUp = (start?: () => Promise<Routed>) => {
  const steps: string[] = []
  const clock = fakeClock()
  const proxy: Routed = {
    trace: async ({ target }) => ({ text: `${target} as text`, body: {} }),
    diff: async () => ({ same: true, mode: 'nftables', compared: 3, differences: [] }),
    stop: async () => void steps.push('stop'),
  }
  const routing = createRouting({
    start: start ?? (async () => proxy),
    watch: () => {
      steps.push('watch')
      return { stop: () => void steps.push('unwatch') }
    },
    cleanup: async () => void steps.push('cleanup'),
    clock,
    log: silentLog,
  })
  return { routing, steps, clock }
}

t.test('the proxy that runs answers', async t => {
  const { routing } = setUp()
  routing.begin()
  await routing.tried()
  t.match(await routing.trace(query), { text: 'web as text' })
  t.match(await routing.diff(), { compared: 3 })
})

t.test('without a proxy the answer is why there is none', async t => {
  const refused = (message: RegExp) => ({ code: 'unsupported', message })
  const { routing, steps } = setUp()
  await t.rejects(routing.trace(query), refused(/nobody has said yet/))
  routing.watchOnly('it is told not to')
  await t.rejects(routing.diff(), refused(/: it is told not to$/))
  routing.begin()
  await t.rejects(routing.diff(), refused(/: the proxy is starting$/))
  await routing.tried()
  await routing.end()
  await t.rejects(routing.trace(query), refused(/: a pod of kube-proxy routes them on this node$/))
  t.same(steps, ['watch', 'unwatch', 'stop', 'watch', 'cleanup'])
})

t.test('a proxy that cannot start says what its host lacks, and answers as soon as it runs', async t => {
  let attempts = 0
  const { routing, clock } = setUp(async () => {
    if (++attempts === 1) throw new Fault('unsupported', 'no nftables here')
    return {
      trace: async () => ({ text: 'there', body: {} }),
      diff: async () => t.fail('not asked') as never,
      stop: async () => {},
    }
  })
  routing.begin()
  await routing.tried()
  await t.rejects(routing.trace(query), { code: 'unsupported', message: /no nftables here/ })
  await clock.advance(5_000)
  t.match(await routing.trace(query), { text: 'there' })
})
