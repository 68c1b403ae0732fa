// Flows that a change of Services leaves behind, with real UDP clients that keep their port, as one that sends without a pause does:
// each is moved or told as soon as its endpoint, Service or node port goes, and nobody else's flow is touched. SCTP has no sockets on
// every kernel: its entries are made by conntrack(8).
import t from 'tap'
import type { EndpointSlice, IPFamily, Service } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import { systemClock } from '../../host/clock.ts'
import { silentLog } from '../../host/log.ts'
import { addresses, balancedService, nodeName, nodePort, service, slice } from '../../proxy/backend.contract.ts'
import { createProxy } from '../../proxy/main.ts'
import { createServiceWorld } from '../support/service-world.ts'

const both: readonly IPFamily[] = ['IPv4', 'IPv6']
const ready = { ready: true }
const net = await createServiceWorld()
const services = createStore<Service>()
const slices = createStore<EndpointSlice>()
services.markSynced()
slices.markSynced()

const start = () =>
  createProxy({
    services,
    endpointSlices: slices,
    nodeName,
    settings: {
      // Node ports by ranges: what of them is this node's is asked of the host.
      nodePortAddresses: ['192.168.50.0/24', 'fd00:50::/64'],
      localTraffic: { by: 'cidr', cidrs: both.map(family => addresses[family].podRange) },
    },
    exec: net.node.exec,
    clock: systemClock,
    log: silentLog,
    localAddresses: () => both.map(family => addresses[family].node),
    prepareKernel: async () => undefined,
  })
let proxy = await start()
t.teardown(async () => {
  await proxy.stop()
  await net.remove()
})

const put = (one: Service | undefined, its: readonly EndpointSlice[]) => {
  for (const { metadata } of slices.list())
    if (!its.some(it => it.metadata.name === metadata.name)) slices.remove('default', metadata.name)
  if (one === undefined) services.remove('default', 'web')
  else services.put(one)
  for (const it of its) slices.put(it)
}
const set = async (one: Service | undefined, its: readonly EndpointSlice[]) => {
  put(one, its)
  await proxy.settled()
}
const removed = () => proxy.status().staleFlowsRemoved

/** A client that keeps its port. */
const client = (from: 'pod' | 'outside' | 'node', fromPort: number) => (to: string, port: number, timeoutMs?: number) =>
  net.peers[from].ask({ to, port, protocol: 'UDP' }, { fromPort, ...(timeoutMs !== undefined && { timeoutMs }) })
let lastPort = 41_000
const nextPort = () => (lastPort += 1)
const nobody = /^(timeout|ECONNREFUSED|EHOSTUNREACH|ENETUNREACH)/
const listed = async (family: IPFamily, ...filter: readonly string[]) =>
  (await net.node.run(['conntrack', '-L', '-f', family.toLowerCase(), ...filter])).stdout.trim()

for (const family of both) {
  const { cluster, external, balancer, node, outside, endpoints } = addresses[family]
  const a = slice(family, { a: ready })
  const b = slice(family, { b: ready })

  await t.test(`${family}: an endpoint goes, and clients of every kind of address are moved`, async t => {
    const exposed = balancedService(family)
    await set(exposed, [a])
    const clients = [
      ['the cluster IP', client('pod', nextPort()), cluster, 80],
      ['the external IP', client('outside', nextPort()), external, 80],
      ['the load balancer', client('outside', nextPort()), balancer, 80],
      ['the node port', client('outside', nextPort()), node, nodePort],
      ['the node port, by a pod', client('pod', nextPort()), node, nodePort],
    ] as const
    for (const [name, ask, to, port] of clients) t.match(await ask(to, port), /^a /, name)
    const before = removed()
    await set(exposed, [b])
    for (const [name, ask, to, port] of clients) t.match(await ask(to, port), /^b /, name)
    t.equal(removed() - before, clients.length, 'each flow is counted once')
  })

  await t.test(`${family}: what serves keeps its clients, whatever policies and readiness say`, async t => {
    await set(service(family), [a])
    const ask = client('pod', nextPort())
    t.match(await ask(cluster, 80), /^a /)
    const before = removed()
    await set(service(family), [slice(family, { a: ready, b: ready })])
    t.match(await ask(cluster, 80), /^a /, 'one endpoint more')
    await set(service(family), [slice(family, { a: { ready: false, serving: true, terminating: true }, b: ready })])
    t.match(await ask(cluster, 80), /^a /, 'one that terminates and serves')
    await set(service(family, { internalTrafficPolicy: 'Local' }), [slice(family, { a: ready, b: ready })])
    t.match(await ask(cluster, 80), /^a /, 'another policy')
    t.equal(removed(), before)
  })

  await t.test(`${family}: a Service that is emptied refuses its clients, one that is deleted loses them`, async t => {
    await set(service(family), [a])
    const ask = client('pod', nextPort())
    t.match(await ask(cluster, 80), /^a /)
    await set(service(family), [slice(family, {})])
    t.match(await ask(cluster, 80, 300), nobody, 'though the pod still answers')
    await set(service(family), [a])
    t.match(await ask(cluster, 80), /^a /, 'and is served as soon as somebody is there')
    await set(undefined, [a])
    t.match(await ask(cluster, 80, 300), nobody)
    t.notMatch(await listed(family, '-p', 'udp', '--orig-dst', cluster), `src=${endpoints.a}`)
    await set(service(family), [b])
    t.match(await ask(cluster, 80), /^b /, 'and by a new Service of that address at once')
  })

  await t.test(`${family}: a node port that moves takes its clients with it no longer`, async t => {
    const on = (port: number) =>
      service(family, { type: 'NodePort', ports: [{ name: 'udp', protocol: 'UDP', port: 80, nodePort: port }] })
    await set(on(30_081), [a])
    const ask = client('outside', nextPort())
    t.match(await ask(node, 30_081), /^a /)
    await set(on(30_082), [a])
    t.match(await ask(node, 30_081, 300), nobody)
    t.match(await ask(node, 30_082), /^a /)
    // A program of the node's, or nobody, had that port before.
    const early = client('outside', nextPort())
    t.match(await early(node, 30_083, 300), nobody)
    await set(on(30_083), [a])
    t.match(await early(node, 30_083), /^a /, 'a client that was there before the node port is served by it')
  })

  await t.test(`${family}: flows of other software stay`, async t => {
    await set(balancedService(family), [a])
    const [direct, away] = [nextPort(), nextPort()]
    t.match(await client('pod', direct)(endpoints.a, 8080), /^a /)
    // Another host's port of the same number as the node port, within the range of nodePortAddresses.
    await client('pod', away)(outside, nodePort, 200)
    const before = removed()
    await set(balancedService(family), [b])
    await set(undefined, [])
    await set(balancedService(family), [b])
    t.equal(removed(), before)
    t.match(await listed(family, '-p', 'udp', '--sport', String(direct)), 'dport=8080', 'one to a pod itself')
    t.match(await listed(family, '-p', 'udp', '--sport', String(away)), `dport=${nodePort}`, 'one to another host')
  })

  await t.test(`${family}: endpoints that went while no daemon ran`, async t => {
    await set(service(family), [a])
    const ask = client('pod', nextPort())
    t.match(await ask(cluster, 80), /^a /)
    await proxy.stop()
    put(service(family), [b])
    t.match(await ask(cluster, 80), /^a /, 'nobody has told the kernel')
    proxy = await start()
    await proxy.settled()
    t.match(await ask(cluster, 80), /^b /)
    t.ok(removed() >= 1)
  })

  await t.test(`${family}: SCTP associations go with their endpoint`, async t => {
    const sctp = service(family, {}, ['SCTP'])
    await set(sctp, [slice(family, { a: ready, b: ready }, ['SCTP'])])
    const associate = (endpoint: string, port: string) =>
      net.node.run([
        ...['conntrack', '-I', '-p', 'sctp', '-s', addresses[family].pod, '-d', cluster],
        ...['--sport', port, '--dport', '80', '-r', endpoint, '-q', addresses[family].pod],
        ...['--reply-port-src', '8080', '--reply-port-dst', port, '--state', 'ESTABLISHED'],
        ...['--orig-vtag', '1', '--reply-vtag', '2', '-t', '120', '-u', 'ASSURED'],
      ])
    await associate(endpoints.a, '42001')
    await associate(endpoints.b, '42002')
    await set(sctp, [slice(family, { b: ready }, ['SCTP'])])
    const left = await listed(family, '-p', 'sctp', '--orig-dst', cluster)
    t.notMatch(left, 'sport=42001')
    t.match(left, 'sport=42002')
    await set(undefined, [])
    t.equal(await listed(family, '-p', 'sctp', '--orig-dst', cluster), '')
  })
}
