// Service routing written anew in a real kernel: random changes end as one full sync of the outcome, remembered clients stay with their
// endpoints over restarts, and nothing is left of the edition that went.
import t from 'tap'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import { systemClock } from '../../host/clock.ts'
import { silentLog } from '../../host/log.ts'
import { addresses, nodeName, service, slice } from '../../proxy/backend.contract.ts'
import { createProxy, type Proxy as ServiceProxy } from '../../proxy/main.ts'
import type { NodeView } from '../../proxy/model.ts'
import { parseListing } from '../../proxy/nftables/listing.ts'
import { meaningOf } from '../../proxy/nftables/meaning.fake.ts'
import { createRandomChanges, randomNode, randomPodRanges } from '../../proxy/random-changes.fake.ts'
import { createNetns, type Netns } from '../support/netns.ts'
import { createServiceWorld } from '../support/service-world.ts'

t.setTimeout(240_000)

const changes = 10_000
const perSync = 50

const start = (
  netns: Netns,
  services: Stores['services'],
  slices: Stores['slices'],
  node: NodeView,
  podRanges: readonly string[],
) =>
  createProxy({
    ...{ services, endpointSlices: slices, nodeName: node.name, zone: node.zone },
    settings: { nodeIPs: node.ips, localTraffic: { by: 'cidr', cidrs: podRanges } },
    ...{ exec: netns.exec, clock: systemClock, log: silentLog, prepareKernel: async () => undefined },
  })

const createStores = () => {
  const [services, slices] = [createStore<Service>(), createStore<EndpointSlice>()]
  services.markSynced()
  slices.markSynced()
  return { services, slices }
}
type Stores = ReturnType<typeof createStores>

const read = async (netns: Netns, family: 'ip' | 'ip6') => {
  const { stdout } = await netns.run(['nft', 'list', 'table', family, 'nodelet-proxy'])
  const { sets } = await parseListing(stdout, () => undefined)
  return meaningOf(sets)
}

await t.test(`${changes} random changes end in the kernel state of one full sync`, { timeout: 120_000 }, async t2 => {
  const netns = await createNetns()
  t2.teardown(netns.remove)
  const { services, slices } = createStores()
  const proxy = await start(netns, services, slices, randomNode, randomPodRanges)
  const random = createRandomChanges({ services, slices, seed: 11 })
  for (let step = 1; step <= changes; step++) {
    random.next()
    if (step % perSync === 0) await proxy.settled()
  }
  await proxy.settled()
  const { failures, drifts, fullSyncs } = proxy.status()
  t2.same({ failures, drifts, fullSyncs }, { failures: 0, drifts: 0, fullSyncs: 2 }, 'the kernel took every change as it came')
  const changed = { ip: await read(netns, 'ip'), ip6: await read(netns, 'ip6') }
  await proxy.stop()
  const fresh = await createNetns()
  t2.teardown(fresh.remove)
  const stores = createStores()
  for (const object of services.list().toReversed()) stores.services.put(object)
  for (const object of slices.list().toReversed()) stores.slices.put(object)
  // One daemon that writes everything at once, and one that comes after the one that made the changes.
  for (const host of [fresh, netns]) {
    const again = await start(host, stores.services, stores.slices, randomNode, randomPodRanges)
    await again.settled()
    t2.same(again.status().failures, 0)
    t2.same((await again.diff()).differences, [], 'nothing differs, in either edition')
    await again.stop()
    for (const family of ['ip', 'ip6'] as const) t2.same(changed[family], await read(host, family), family)
  }
  t2.ok((changed.ip['service-ips']?.length ?? 0) > 10, 'there was something to compare')
})

await t.test('remembered clients stay with their endpoints over restarts and full syncs', { timeout: 120_000 }, async t2 => {
  const net = await createServiceWorld()
  t2.teardown(net.remove)
  const { services, slices } = createStores()
  const { IPv4: v4, IPv6: v6 } = addresses
  const node = { name: nodeName, zone: '', ips: [v4.node, v6.node] }
  const run = (): Promise<ServiceProxy> => start(net.node, services, slices, node, [v4.podRange, v6.podRange])
  const ready = { ready: true }
  services.put(service('IPv4', { sessionAffinity: 'ClientIP' }))
  slices.put(slice('IPv4', { a: ready, b: ready, remote: ready }))
  let proxy = await run()
  await proxy.settled()
  const reach = (from: 'pod' | 'node' | 'a') => net.send({ from, to: v4.cluster, port: 80 })
  const senders = ['pod', 'node', 'a'] as const
  const first = new Map(await Promise.all(senders.map(async from => [from, await reach(from)] as const)))
  for (let round = 1; round <= 3; round++) {
    await proxy.stop()
    // Numbers by the order of coming would now be others.
    slices.put(slice('IPv4', { remote: ready, ...(round % 2 === 0 ? { a: ready, b: ready } : { b: ready, a: ready }) }))
    proxy = await run()
    await proxy.settled()
    proxy.resync('a test asks')
    await proxy.settled()
    for (const from of senders)
      for (let time = 0; time < 4; time++) t2.same(await reach(from), first.get(from), `${from} after restart ${round}`)
  }
  t2.equal(proxy.status().failures, 0)
  const { stdout } = await net.node.run(['nft', 'list', 'chains', 'ip'])
  t2.equal(stdout.match(/chain nat-prerouting/g)?.length, 1, 'one edition is left')
  await proxy.stop()
})
