// Service routing with real packets: the backend contract in namespaces for both families, then what only a kernel can show:
// conntrack, foreign changes to our table, a refused transaction, a restart under load, and the way out.
import t from 'tap'
import type { EndpointSlice, IPFamily, Service } from '../../api/service-types.ts'
import { systemClock } from '../../host/clock.ts'
import { createLog } from '../../host/log.ts'
import { createNft } from '../../host/nft.ts'
import type { ForeignChange } from '../../host/nftmonitor.ts'
import { addresses, backendContract, nodeName, service, slice, type World } from '../../proxy/backend.contract.ts'
import { cleanupProxy, createProxy, type Proxy as ServiceProxy } from '../../proxy/main.ts'
import { inUse } from '../support/ruleset.ts'
import { createServiceStores } from '../support/service-stores.ts'
import { createServiceWorld } from '../support/service-world.ts'
import { patience, waitFor } from '../support/wait.ts'

const both: readonly IPFamily[] = ['IPv4', 'IPv6']
const { cluster } = addresses.IPv4
const ready = { ready: true }

const net = await createServiceWorld()
const { services, slices, fill: fillStores } = createServiceStores()
const lines: string[] = []
const alsoGone: ForeignChange[] = []

const start = (): Promise<ServiceProxy> =>
  createProxy({
    services,
    endpointSlices: slices,
    nodeName,
    settings: {
      nodeIPs: both.map(family => addresses[family].node),
      localTraffic: { by: 'cidr', cidrs: both.map(family => addresses[family].podRange) },
    },
    alsoWatch: { tables: ['ip nodelet-cni'], onForeignChange: change => alsoGone.push(change) },
    exec: net.node.exec,
    clock: systemClock,
    log: createLog({
      verbosity: 2,
      human: false,
      write: line => lines.push(line),
    }),
    prepareKernel: async () => undefined,
  })

let proxy = await start()
services.markSynced()
slices.markSynced()
t.teardown(async () => {
  await proxy.stop()
  await net.remove()
})

const fill = async (wantedServices: readonly Service[], wantedSlices: readonly EndpointSlice[]) => {
  fillStores(wantedServices, wantedSlices)
  await proxy.settled()
}
const world: World = { protocols: ['TCP', 'UDP'], set: fill, send: net.send }
const nft = (text: string) => net.node.run(['nft', '-f', '-'], { input: `${text}\n` })
const reach = (family: IPFamily = 'IPv4') => net.send({ from: 'pod', to: addresses[family].cluster, port: 80 })
const drifts = () => proxy.status().drifts

for (const family of both) await t.test(`packets of ${family}`, t2 => backendContract(t2, world, family))

await t.test('a Service of both families answers on both of its addresses', async t2 => {
  const dual = service('IPv4', {
    clusterIPs: both.map(family => addresses[family].cluster),
    ipFamilies: both,
    ipFamilyPolicy: 'RequireDualStack',
  })
  await fill([dual], [slice('IPv4', { a: ready }), slice('IPv6', { b: ready })])
  t2.same(await reach('IPv4'), { reached: 'a', sees: 'client' })
  t2.same(await reach('IPv6'), { reached: 'b', sees: 'client' })
})

await t.test('a UDP client that keeps its port is moved when its endpoint goes', async t2 => {
  const ask = (to: string, port: number) =>
    net.peers[to === cluster ? 'pod' : 'outside'].ask({ to, port, protocol: 'UDP' }, { fromPort: 40_001, timeoutMs: 400 })
  const exposed = service('IPv4', { type: 'NodePort' })
  await fill([exposed], [slice('IPv4', { a: ready })])
  t2.match(await ask(cluster, 80), /^a /)
  t2.match(await ask(addresses.IPv4.node, 30_080), /^a /)
  const removed = proxy.status().staleFlowsRemoved
  await fill([exposed], [slice('IPv4', { b: ready })])
  t2.match(await ask(cluster, 80), /^b /, 'the cluster IP')
  t2.match(await ask(addresses.IPv4.node, 30_080), /^b /, 'the node port')
  t2.equal(proxy.status().staleFlowsRemoved - removed, 2, 'and both flows were counted')
})

await t.test('a UDP client that was there before the Service is served by it', async t2 => {
  await fill([], [])
  const ask = () => net.peers.pod.ask({ to: cluster, port: 80, protocol: 'UDP' }, { fromPort: 40_002 })
  t2.not((await ask()).split(' ')[0], 'a')
  await fill([service('IPv4')], [slice('IPv4', { a: ready })])
  t2.match(await ask(), /^a /)
})

await t.test('flows that are not ours stay', async t2 => {
  const ask = () => net.peers.pod.ask({ to: addresses.IPv4.endpoints.a, port: 8080, protocol: 'UDP' }, { fromPort: 40_003 })
  t2.match(await ask(), /^a /)
  await fill([service('IPv4')], [slice('IPv4', { b: ready })])
  const { stdout } = await net.node.run(['conntrack', '-L', '-p', 'udp', '--sport', '40003'])
  t2.match(stdout, /dport=8080/, 'the direct flow to an endpoint that left the Service is still tracked')
})

const foreign: readonly (readonly [string, string])[] = [
  ['flushes the whole ruleset', 'flush ruleset'],
  ['deletes our table', 'delete table ip nodelet-proxy'],
  ['flushes our table', 'flush table ip nodelet-proxy'],
  ['flushes one of our chains', 'flush chain ip nodelet-proxy services'],
  ['deletes an element', `delete element ip nodelet-proxy service-ips { ${cluster} . tcp . 80 }`],
]
/** Late reports of what went last would make one of it and of what goes now. */
const lastOneIsTold = () => systemClock.sleep(500 * Math.sqrt(patience))
for (const [what, text] of foreign)
  await t.test(`somebody ${what}: traffic is back within a second`, async t2 => {
    await fill([service('IPv4')], [slice('IPv4', { a: ready })])
    t2.same(await reach(), { reached: 'a', sees: 'client' })
    await lastOneIsTold()
    const before = drifts()
    lines.length = 0
    await nft(await inUse(net.node, text))
    const began = systemClock.monotonic()
    await waitFor('traffic to be back', async () => drifts() > before && typeof (await reach()) === 'object', 2_000)
    t2.ok(systemClock.monotonic() - began < 1_000 * patience, `took ${Math.round(systemClock.monotonic() - began)} ms`)
    const told = () => lines.filter(line => line.includes('somebody else removed rules'))
    await waitFor('the log', () => told().length > 0)
    await proxy.settled()
    t2.equal(told().length, 1, 'one line of the log')
    t2.match(
      told()[0],
      /"where":"(ip6 nodelet-proxy, )?ip nodelet-proxy\b.*"gone":\["ip6? nodelet-proxy .+"\]/,
      'names what vanished',
    )
    t2.equal(drifts(), before + 1, 'and it counts as one')
  })

await t.test('our own changes are not taken for drift', async t2 => {
  await fill([service('IPv4')], [slice('IPv4', { a: ready })])
  await systemClock.sleep(100)
  const before = drifts()
  for (const endpoints of [{ a: ready, b: ready }, { b: ready }, {}, { a: ready }])
    await fill([service('IPv4')], [slice('IPv4', endpoints)])
  proxy.resync('a test asks')
  await proxy.settled()
  await systemClock.sleep(200)
  t2.equal(drifts(), before)
})

await t.test('another table that is watched is reported, its own signed changes are not', async t2 => {
  await nft(
    'add table ip nodelet-cni\nadd set ip nodelet-cni signature { type mark ; }\nadd set ip nodelet-cni pods { type ipv4_addr ; }\nadd element ip nodelet-cni pods { 10.0.0.1, 10.0.0.2 }',
  )
  const { signed } = await import('../../host/nftmonitor.ts')
  await createNft(net.node.exec).apply(signed('ip nodelet-cni', ['delete element ip nodelet-cni pods { 10.0.0.1 }']))
  await nft('delete element ip nodelet-cni pods { 10.0.0.2 }')
  await waitFor('the report', () => alsoGone.some(({ gone }) => gone.includes('element pods')))
  t2.same(alsoGone.at(-1), { table: 'ip nodelet-cni', gone: ['element pods'] })
  await nft('delete table ip nodelet-cni')
})

await t.test('a watch that dies is started again, and everything is written anew', async t2 => {
  const full = proxy.status().fullSyncs
  const { stdout } = await net.node.run(['ip', 'netns', 'pids', net.node.name])
  for (const pid of stdout.split('\n').filter(Boolean)) {
    const { stdout: name } = await net.node.exec.try(['cat', `/proc/${pid}/comm`])
    if (name.trim() === 'nft') process.kill(Number(pid))
  }
  await waitFor('a full sync', () => proxy.status().fullSyncs > full && proxy.status().watching)
  const before = drifts()
  await waitFor('drift to be seen again', async () => {
    await nft(await inUse(net.node, 'flush chain ip nodelet-proxy services')).catch(() => undefined)
    return drifts() > before
  })
  await proxy.settled()
  t2.same(await reach(), { reached: 'a', sees: 'client' })
})

await t.test('a change that the kernel refuses leaves the old rules whole, then everything is written anew', async t2 => {
  await fill([service('IPv4')], [slice('IPv4', { a: ready })])
  // Somebody put an element of his own where the next Service belongs: adding it is refused.
  await nft(await inUse(net.node, 'add element ip nodelet-proxy endpoints-tcp { 10.96.0.77 . 80 . 0 : 10.0.0.1 . 1 }'))
  const { failures } = proxy.status()
  const other: Service = {
    ...service('IPv4', { clusterIP: '10.96.0.77', clusterIPs: ['10.96.0.77'] }),
    metadata: { namespace: 'default', name: 'other' },
  }
  services.put(other)
  slices.put(slice('IPv4', { b: ready }, ['TCP'], 'other'))
  await waitFor('the refusal', () => proxy.status().failures > failures)
  t2.same(await reach(), { reached: 'a', sees: 'client' }, 'the old Service answers meanwhile')
  await proxy.settled()
  t2.same(
    await net.send({ from: 'pod', to: '10.96.0.77', port: 80 }),
    { reached: 'b', sees: 'client' },
    'the new one after the full sync',
  )
  t2.same(await reach(), { reached: 'a', sees: 'client' })
})

await t.test('a restart of the daemon drops no connection and leaves no gap', async t2 => {
  await fill([service('IPv4')], [slice('IPv4', { a: ready, b: ready })])
  const outcomes: string[] = []
  let running = true
  const load = (async () => {
    while (running) outcomes.push(JSON.stringify(await reach()))
  })()
  const more = (count: number) => {
    const wanted = outcomes.length + count
    return waitFor(`${count} connections more`, () => outcomes.length >= wanted)
  }
  await more(10)
  await proxy.stop()
  proxy = await start()
  await proxy.settled()
  // However slow the machine is, some connections are of the time after the restart.
  await more(15)
  running = false
  await load
  t2.ok(outcomes.length > 20, `${outcomes.length} connections meanwhile`)
  t2.same(
    outcomes.filter(text => !text.includes('reached')),
    [],
  )
})

await t.test('clean-up removes our tables and says so', async t2 => {
  await nft('add table ip somebody-elses')
  await proxy.stop()
  t2.same(await cleanupProxy({ exec: net.node.exec }), ['nftables table ip nodelet-proxy', 'nftables table ip6 nodelet-proxy'])
  t2.same(await cleanupProxy({ exec: net.node.exec }), [], 'nothing is left to remove')
  const { stdout } = await net.node.run(['nft', 'list', 'tables'])
  t2.equal(stdout.trim(), 'table ip somebody-elses')
})
