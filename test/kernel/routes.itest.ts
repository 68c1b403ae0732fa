// Routes to the pods of another node, in packets: the machine outside stands for the other node, and addresses of its own for its pods.
import { join } from 'node:path'
import t from 'tap'
import type { NodeObject } from '../../agent/node.ts'
import { createNodeRoutes, removeNodeRoutes } from '../../agent/routes/node-routes.ts'
import { createStore } from '../../api/source.ts'
import type { ConnectedNetwork } from '../../host/addresses.ts'
import { systemClock } from '../../host/clock.ts'
import { createLink } from '../../host/link.ts'
import type { Log } from '../../host/log.ts'
import { createCniHost, execInside } from '../support/cni-host.ts'

const host = await createCniHost({ subnets: ['10.123.0.0/24', 'fd00:123::/64'] })
t.teardown(() => host.end())

const pods = { four: '10.123.7.5', six: 'fd00:123:7::5', moved: '10.123.8.5' }
await createLink(execInside(host.outside)).batch([
  'link set dev lo up',
  ...Object.values(pods).map(address => `addr add ${address}/${address.includes(':') ? 128 : 32} dev lo`),
])
await host.listen(host.outside, 8080)

const program = `import { connectedNetworks } from ${JSON.stringify(join(import.meta.dirname, '../../host/addresses.ts'))}
console.log(JSON.stringify(connectedNetworks()))`
const { stdout } = await host.host.run([process.execPath, '--input-type=module', '--eval', program])
const networks = JSON.parse(stdout) as readonly ConnectedNetwork[]

const other = (...podCIDRs: readonly string[]): NodeObject =>
  ({
    metadata: { name: 'other' },
    spec: { podCIDRs },
    status: { addresses: ['192.0.2.2', '2001:db8:9::2'].map(address => ({ type: 'InternalIP', address })) },
  }) as unknown as NodeObject

const lines: string[] = []
const say = (_: object, message: string) => void lines.push(message)
const log: Log = { error: say, warn: say, info: () => undefined, debug: () => undefined, child: () => log }
const nodes = createStore<NodeObject>()
const link = createLink(host.host)
const routes = createNodeRoutes({ nodes, ownName: 'own', link, networks: () => networks, clock: systemClock, log })
t.teardown(() => routes.stop())
const ask = (address: string) => host.ask(host.name, 'tcp', address, 8080)

t.test('the networks that this node is on are found', async t => {
  t.match(
    networks.map(it => [it.interface, it.cidr]),
    [
      ['up0', '192.0.2.1/24'],
      ['up0', '2001:db8:9::1/64'],
    ],
  )
})

t.test('pods of the other node are reached in both families as soon as its Node is seen', async t => {
  nodes.put(other('10.123.7.0/24', 'fd00:123:7::/64'))
  nodes.markSynced()
  await routes.repair()
  t.equal(await ask(pods.four), '192.0.2.1', 'they see the address of the node: no NAT is in between')
  t.equal(await ask(pods.six), '2001:db8:9::1')
})

t.test('routes that somebody flushed are back', async t => {
  for (const family of ['-4', '-6']) await host.host.run(['ip', family, 'route', 'flush', 'proto', '78'])
  t.equal(await ask(pods.four), undefined)
  await routes.repair()
  t.equal(await ask(pods.four), '192.0.2.1')
  t.equal(await ask(pods.six), '2001:db8:9::1')
})

t.test('setting them anew changes nothing and complains about nothing', async t => {
  await routes.repair()
  t.same(lines, [])
})

t.test('a node that got another range is routed to by that', async t => {
  nodes.put(other('10.123.8.0/24'))
  await routes.repair()
  t.equal(await ask(pods.moved), '192.0.2.1')
  t.equal(await ask(pods.four), undefined)
})

t.test('a route of the administrator’s is left as it is', async t => {
  await link.batch(['route add 10.123.7.0/24 via 192.0.2.99 dev up0'])
  nodes.put(other('10.123.7.0/24'))
  await routes.repair()
  t.match(await link.query(['route', 'show', '10.123.7.0/24']), [{ gateway: '192.0.2.99' }])
  t.match(lines, [/^a route of somebody else stands in place of ours/])
  await link.batch(['route del 10.123.7.0/24'])
})

t.test('a node that is gone is routed to no more', async t => {
  await routes.repair()
  t.equal(await ask(pods.four), '192.0.2.1')
  nodes.remove('', 'other')
  await routes.repair()
  t.equal(await ask(pods.four), undefined)
  t.same(await link.query(['route', 'show', 'proto', '78']), [])
})

t.test('cleaning up leaves none', async t => {
  nodes.put(other('10.123.7.0/24', 'fd00:123:7::/64'))
  await routes.repair()
  routes.stop()
  await removeNodeRoutes(link)
  t.same(await link.query(['route', 'show', 'proto', '78']), [])
  t.same(await link.query(['-6', 'route', 'show', 'proto', '78']), [])
})
