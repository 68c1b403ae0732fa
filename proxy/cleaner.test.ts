// When stale flows are removed: not before the new rules stand, everything once at the start, and again what failed. flows.test.ts has
// which flows are stale, test/kernel the clients that notice.
import t from 'tap'
import type { IPFamily } from '../api/service-types.ts'
import { fakeClock } from '../host/clock.fake.ts'
import type { Flow } from '../host/conntrack.ts'
import { Fault } from '../host/fault.ts'
import { createLog } from '../host/log.ts'
import { createCleaner } from './cleaner.ts'
import { type Frontend, frontendKey } from './model.ts'

const node = '192.168.50.1'
const frontend = (serving: readonly string[], more: Partial<Frontend> = {}): Frontend => ({
  ...{ kind: 'cluster-ip', family: 'IPv4', ip: '10.96.0.1', protocol: 'UDP', port: 53, service: 'default/dns', created: '' },
  ...{ portName: '', lane: { to: [], otherwise: 'reject' }, inside: undefined, masquerade: 'off-cluster', affinitySeconds: 0 },
  sourceRanges: undefined,
  serving: serving.map(ip => ({ ip, port: 5353, local: false })),
  ...more,
})
const flow = (to: string, answeredBy: string, more: Partial<Flow> = {}): Flow => ({
  ...{ family: 'IPv4', protocol: 'UDP', from: '10.244.1.10', fromPort: 4000, to, toPort: 53, answeredBy },
  answeredByPort: answeredBy === to ? 53 : 5353,
  ...more,
})
const change = (before: Frontend | undefined, after: Frontend | undefined) => ({
  key: frontendKey((after ?? before)!),
  before,
  after,
})

const setUp = async (first: readonly Frontend[] = []) => {
  const state: { flows: Flow[]; broken: boolean; lists: string[] } = { flows: [], broken: false, lists: [] }
  const clock = fakeClock()
  const lines: string[] = []
  const cleaner = createCleaner({
    conntrack: {
      list: async (family, protocol) => {
        state.lists.push(`${family} ${protocol}`)
        if (state.broken) throw new Fault('command', 'conntrack: not there')
        return state.flows.filter(it => it.family === family && it.protocol === protocol)
      },
      remove: async gone => {
        state.flows = state.flows.filter(it => !gone.includes(it))
      },
    },
    nodeAddresses: () => [node],
    clock,
    log: createLog({ verbosity: 0, human: false, write: line => lines.push(line) }),
  })
  const clean = (standing: readonly IPFamily[] = ['IPv4', 'IPv6']) => cleaner.clean(standing, () => first)
  const answered = () => state.flows.map(({ answeredBy }) => answeredBy)
  return { cleaner, state, clock, lines, clean, answered }
}

t.test('the first cleaning looks at everything, the next ones at what changed', async t => {
  const { cleaner, state, clean, answered } = await setUp([frontend(['10.1.0.2'])])
  state.flows = ['10.1.0.1', '10.1.0.2', '10.96.0.1'].map(ip => flow('10.96.0.1', ip))
  await clean()
  t.same(answered(), ['10.1.0.2'])
  t.equal(cleaner.removed('IPv4'), 2)
  state.flows.push(flow('10.96.0.1', '10.1.0.1'))
  await clean()
  t.same(state.lists, ['IPv4 TCP', 'IPv6 TCP', 'IPv4 UDP'], 'without a change nobody asks')
  cleaner.note([change(frontend(['10.1.0.2']), undefined)])
  await clean()
  t.same(answered(), ['10.1.0.1'], 'what the change did not concern stays')
  t.equal(cleaner.removed('IPv4'), 3)
  t.equal(cleaner.removed('IPv6'), 0)
})

const tcp = (to: readonly string[], more: Partial<Frontend> = {}) =>
  frontend([], {
    protocol: 'TCP',
    lane: { to: to.map(ip => ({ ip, port: 5353, local: false })), otherwise: 'reject' },
    ...more,
  })

t.test('of TCP, what was begun while nothing sent it on: once, not at a change', async t => {
  const { cleaner, state, clean, answered } = await setUp([tcp(['10.1.0.1']), tcp([], { ip: '10.96.0.2' })])
  const tcpFlow = (to: string, answeredBy: string) => flow(to, answeredBy, { protocol: 'TCP' })
  state.flows = [tcpFlow('10.96.0.1', '10.96.0.1'), tcpFlow('10.96.0.1', '10.1.0.9'), tcpFlow('10.96.0.2', '10.96.0.2')]
  await clean()
  t.same(answered(), ['10.1.0.9', '10.96.0.2'], 'one that is on its way, and one that nobody would answer now, stay')
  t.same(cleaner.removed('IPv4'), 1)
  state.lists.length = 0
  cleaner.note([change(tcp(['10.1.0.1']), undefined)])
  await clean()
  t.same(state.lists, [])
})

t.test('when rules were missing everything is looked at again, as soon as they stand', async t => {
  const { cleaner, state, clean, answered } = await setUp([frontend(['10.1.0.2']), tcp(['10.1.0.2'])])
  await clean()
  state.flows = [flow('10.96.0.1', '10.96.0.1'), flow('10.96.0.1', '10.96.0.1', { protocol: 'TCP' })]
  cleaner.doubt('IPv4')
  await clean(['IPv6'])
  t.equal(answered().length, 2, 'they would begin the same way again')
  await clean()
  t.same(answered(), [])
  state.lists.length = 0
  await clean()
  t.same(state.lists, [])
})

t.test('flows stay while the kernel still sends new ones the old way', async t => {
  const { cleaner, state, clean, answered } = await setUp()
  await clean()
  state.flows = [flow('10.96.0.1', '10.1.0.1')]
  cleaner.note([change(frontend(['10.1.0.1']), frontend(['10.1.0.2']))])
  await clean(['IPv6'])
  t.same(answered(), ['10.1.0.1'])
  await clean()
  t.same(answered(), [])
})

t.test('an endpoint that has come back before the rules stood keeps its flows', async t => {
  const { cleaner, state, clean, answered } = await setUp()
  await clean()
  state.flows = ['10.1.0.1', '10.1.0.3'].map(ip => flow('10.96.0.1', ip))
  cleaner.note([change(frontend(['10.1.0.1', '10.1.0.3']), frontend(['10.1.0.2']))])
  await clean([])
  cleaner.note([change(frontend(['10.1.0.2']), frontend(['10.1.0.1', '10.1.0.2']))])
  await clean()
  t.same(answered(), ['10.1.0.1'])
})

t.test('a failure is said once, waits, and is made good', async t => {
  const { cleaner, state, clock, lines, clean, answered } = await setUp()
  await clean()
  state.flows = [flow('10.96.0.1', '10.1.0.1')]
  state.broken = true
  cleaner.note([change(frontend(['10.1.0.1']), undefined)])
  state.lists.length = 0
  await clean()
  await clean()
  t.equal(state.lists.length, 1, 'not at every change')
  await clock.advance(10_000)
  await clean()
  t.equal(state.lists.length, 2)
  t.equal(lines.length, 1)
  state.broken = false
  await clock.advance(10_000)
  await clean()
  t.same(answered(), [])
  t.equal(cleaner.removed('IPv4'), 1)
})

t.test('more changes than are worth remembering are one look at everything', async t => {
  const { cleaner, state, clean, answered } = await setUp([frontend(['10.1.0.2'])])
  await clean()
  state.flows = ['10.1.0.1', '10.1.0.2'].map(ip => flow('10.96.0.1', ip))
  const many = Array.from({ length: 10_001 }, (_, port) => change(frontend(['10.1.0.1'], { port }), undefined))
  cleaner.note(many)
  await clean()
  t.same(answered(), ['10.1.0.2'])
})
