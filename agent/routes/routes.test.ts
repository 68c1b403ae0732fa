// Which routes lead to the pods of other nodes, as text, and when they are set.
import t from 'tap'
import { createStore } from '../../api/source.ts'
import type { ConnectedNetwork } from '../../host/addresses.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import type { NodeObject } from '../node.ts'
import { createNodeRoutes, removeNodeRoutes } from './node-routes.ts'
import { type PodRoute, podRoutes, routeChanges, trimToRoutes } from './routes.ts'

const node = (name: string, podCIDRs: readonly string[], ...addresses: readonly string[]): NodeObject =>
  ({
    metadata: { name },
    spec: { podCIDRs },
    status: { addresses: addresses.map(address => ({ type: 'InternalIP', address })) },
  }) as unknown as NodeObject
const networks: readonly ConnectedNetwork[] = [
  { interface: 'eth0', address: '10.0.0.1', cidr: '10.0.0.1/24' },
  { interface: 'eth0', address: 'fd00:a::1', cidr: 'fd00:a::1/64' },
  { interface: 'eth1', address: '192.168.7.1', cidr: '192.168.7.1/16' },
]
const own = node('n1', ['10.244.1.0/24'], '10.0.0.1')

t.test('which routes', async t => {
  for (const [name, nodes, routes, far] of [
    ['none to our own pods', [own], [], []],
    ['none to a node without a range', [own, node('n2', [], '10.0.0.2')], [], []],
    [
      'one by the address of each other node',
      [own, node('n2', ['10.244.2.0/24'], '10.0.0.2')],
      [['10.244.2.0/24', '10.0.0.2', 'eth0']],
      [],
    ],
    [
      'one of each family by an address of that family',
      [node('n2', ['10.244.2.0/24', 'fd00:244:2::/64'], '10.0.0.2', 'fd00:a::2')],
      [
        ['10.244.2.0/24', '10.0.0.2', 'eth0'],
        ['fd00:244:2::/64', 'fd00:a::2', 'eth0'],
      ],
      [],
    ],
    [
      'by the address that is in a network of ours, where a node has several',
      [node('n2', ['10.244.2.0/24'], '172.16.0.2', '192.168.9.2')],
      [['10.244.2.0/24', '192.168.9.2', 'eth1']],
      [],
    ],
    ['none across a router, and it is told', [node('n2', ['10.244.2.0/24'], '172.16.0.2')], [], [['n2', ['172.16.0.2']]]],
    ['none without an address of the family', [node('n2', ['fd00:244:2::/64'], '10.0.0.2')], [], [['n2', []]]],
    ['none by an address of our own', [node('n2', ['10.244.2.0/24'], '10.0.0.1')], [], [['n2', ['10.0.0.1']]]],
    ['with host bits cleared', [node('n2', ['10.244.2.7/24'], '10.0.0.2')], [['10.244.2.0/24', '10.0.0.2', 'eth0']], []],
  ] as const) {
    const got = podRoutes(nodes as readonly NodeObject[], 'n1', networks)
    t.same([got.routes.map(it => [it.cidr, it.via, it.dev]), got.far.map(it => [it.name, it.addresses])], [routes, far], name)
  }
})

t.test('what is kept of a Node is enough for its routes', async t => {
  const full = { ...node('n2', ['10.244.2.0/24'], '10.0.0.2'), more: 'a lot' } as NodeObject
  t.same(podRoutes([trimToRoutes(full)], 'n1', networks), podRoutes([full], 'n1', networks))
})

t.test('which commands', async t => {
  const a: PodRoute = { cidr: '10.244.2.0/24', via: '10.0.0.2', dev: 'eth0' }
  for (const [name, there, wanted, commands] of [
    ['nothing when all is as it should be', [a], [a], []],
    ['a new one is added', [], [a], ['route add 10.244.2.0/24 via 10.0.0.2 dev eth0 proto 78']],
    [
      'one that leads elsewhere is replaced',
      [{ ...a, via: '10.0.0.9' }],
      [a],
      ['route replace 10.244.2.0/24 via 10.0.0.2 dev eth0 proto 78'],
    ],
    ['one of a node that is gone goes', [a], [], ['route del 10.244.2.0/24 via 10.0.0.2 dev eth0 proto 78']],
  ] as const)
    t.same(routeChanges(there, wanted), commands, name)
})

const setUp = () => {
  const clock = fakeClock()
  const nodes = createStore<NodeObject>()
  const lines: string[] = []
  const say = (_: object, message: string) => void lines.push(message)
  const log: Log = { error: say, warn: say, info: () => undefined, debug: () => undefined, child: () => log }
  const kernel = new Map<string, { dst: string; gateway: string; dev: string }>()
  const batches: string[][] = []
  const state: { refusal: Fault | undefined; problem: Fault | undefined } = { refusal: undefined, problem: undefined }
  const link = {
    query: async <T>([family]: readonly string[]) =>
      [...kernel.values()].filter(it => it.dst.includes(':') === (family === '-6')) as unknown as readonly T[],
    batchEach: async (lists: readonly (readonly string[])[]) => {
      batches.push(lists.flat())
      if (state.refusal !== undefined) return lists.map(() => state.refusal)
      for (const [, verb, dst = '', , gateway = '', , dev = ''] of lists.flat().map(it => it.split(' '))) {
        if (verb === 'del') kernel.delete(dst)
        else kernel.set(dst, { dst, gateway, dev })
      }
      return lists.map(() => undefined)
    },
  }
  const source = { ...nodes, problem: () => state.problem }
  Object.defineProperty(source, 'isSynced', { get: () => nodes.isSynced })
  const routes = createNodeRoutes({ nodes: source, ownName: 'n1', link, networks: () => networks, clock, log })
  const there = () => [...kernel.values()].map(it => `${it.dst} ${it.gateway}`)
  return { clock, nodes, lines, kernel, batches, state, link, routes, there }
}

t.test('the kernel follows the Nodes', async t => {
  const { clock, nodes, there, batches, kernel } = setUp()
  kernel.set('10.244.9.0/24', { dst: '10.244.9.0/24', gateway: '10.0.0.9', dev: 'eth0' })
  nodes.put(own)
  nodes.put(node('n2', ['10.244.2.0/24'], '10.0.0.2'))
  nodes.put(node('n3', ['10.244.3.0/24'], '10.0.0.3'))
  await clock.advance(0)
  t.same(batches, [], 'nothing before the first full list')
  nodes.markSynced()
  await clock.advance(0)
  t.same(there(), ['10.244.2.0/24 10.0.0.2', '10.244.3.0/24 10.0.0.3'], 'a route of an earlier run to a node that is gone goes')
  t.equal(batches.length, 1, 'all in one process')
  nodes.put(node('n2', ['10.244.2.0/24'], '10.0.0.22'))
  nodes.remove('', 'n3')
  await clock.advance(0)
  t.same(there(), ['10.244.2.0/24 10.0.0.22'])
  t.equal(batches.length, 2)
})

t.test('a heartbeat of a node costs nothing', async t => {
  const { clock, nodes, batches, link } = setUp()
  const n2 = node('n2', ['10.244.2.0/24'], '10.0.0.2')
  nodes.put(n2)
  nodes.markSynced()
  await clock.advance(0)
  let asked = 0
  link.query = async () => {
    asked += 1
    return []
  }
  nodes.put({ ...n2, metadata: { name: 'n2', resourceVersion: '9' } })
  await clock.advance(0)
  t.equal(asked, 0)
  t.equal(batches.length, 1)
})

t.test('a route that somebody took away is back within a minute, or at once when asked for', async t => {
  const { clock, nodes, kernel, there, routes } = setUp()
  nodes.put(node('n2', ['10.244.2.0/24'], '10.0.0.2'))
  nodes.markSynced()
  await clock.advance(0)
  kernel.clear()
  await clock.advance(62_000)
  t.same(there(), ['10.244.2.0/24 10.0.0.2'])
  kernel.clear()
  await routes.repair()
  t.same(there(), ['10.244.2.0/24 10.0.0.2'])
  routes.stop()
  kernel.clear()
  await clock.advance(120_000)
  t.same(there(), [], 'nothing after the end')
})

t.test('what cannot be is said once, in words that help', async t => {
  for (const [name, given, line] of [
    [
      'a node across a router',
      node('n2', ['10.244.2.0/24'], '172.16.0.2'),
      /^no route to the pods of node n2 \(10.244.2.0\/24\).*172.16.0.2.*router/,
    ],
    ['a node without an address', node('n2', ['10.244.2.0/24']), /no InternalIP of that family/],
  ] as const) {
    const { clock, nodes, lines } = setUp()
    nodes.put(given)
    nodes.markSynced()
    await clock.advance(300_000)
    t.equal(lines.length, 1, name)
    t.match(lines[0], line, name)
  }
})

t.test('a route of the administrator’s to the same range is left, and said once', async t => {
  const { clock, nodes, lines, state } = setUp()
  state.refusal = new Fault('already-exists', 'ip route add: RTNETLINK answers: File exists')
  nodes.put(node('n2', ['10.244.2.0/24'], '10.0.0.2'))
  nodes.markSynced()
  await clock.advance(300_000)
  t.match(lines, [/^a route of somebody else stands in place of ours and is left: route add 10.244.2.0\/24/])
})

t.test('without the right to list Nodes one line names what gives it, and routes stay', async t => {
  const { clock, lines, state, kernel, there } = setUp()
  kernel.set('10.244.2.0/24', { dst: '10.244.2.0/24', gateway: '10.0.0.2', dev: 'eth0' })
  state.problem = new Fault('api-forbidden', 'nodes is forbidden')
  await clock.advance(300_000)
  t.equal(lines.length, 1)
  t.match(lines[0], /may not list Nodes; apply deploy\/rbac.yaml.*system:node-proxier; pods run on/)
  t.same(there(), ['10.244.2.0/24 10.0.0.2'])
})

t.test('cleaning up takes all of ours', async t => {
  const { link, kernel, there } = setUp()
  kernel.set('10.244.2.0/24', { dst: '10.244.2.0/24', gateway: '10.0.0.2', dev: 'eth0' })
  kernel.set('fd00:244:2::/64', { dst: 'fd00:244:2::/64', gateway: 'fd00:a::2', dev: 'eth0' })
  await removeNodeRoutes(link)
  t.same(there(), [])
})
