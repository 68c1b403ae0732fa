// The IPVS mode in memory: the packet contract, what a change costs and in which order, what stays on its way out, what a restart and
// a refusal leave, and ten thousand random changes.
import t from 'tap'
import type { EndpointSlice, IPFamily, Service } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import { type Clock, systemClock } from '../../host/clock.ts'
import type { Exec } from '../../host/exec.ts'
import { silentLog } from '../../host/log.ts'
import { createSlices } from '../../host/loop.ts'
import { ipvsStateOf } from '../../test/support/ipvs-state.ts'
import { hold } from '../../test/support/service-stores.ts'
import {
  addresses,
  backendContract,
  balancedService,
  nodeName,
  type Outcome,
  service,
  slice,
  type World,
} from '../backend.contract.ts'
import type { NodeView } from '../model.ts'
import { createProxier } from '../proxier.ts'
import { createRandomChanges, randomNode, randomPodRanges } from '../random-changes.fake.ts'
import { defaultSettings, type ProxySettings } from '../settings.ts'
import type { IpvsBackend } from './backend.ts'
import { cleanupIpvs } from './cleanup.ts'
import { createMachine, type Machine } from './machine.fake.ts'
import { openIpvs } from './mode.ts'
import { defaultIpvsSettings, type IpvsSettings } from './settings.ts'

const both: readonly IPFamily[] = ['IPv4', 'IPv6']
const nodeIPs = both.map(family => addresses[family].node)
const ready = { ready: true }

// Timers of the system clock do not keep a process alive.
const alive = setInterval(() => undefined, 1_000)
t.teardown(() => clearInterval(alive))

const clock: Clock = {
  ...systemClock,
  after: (ms, run) => {
    if (ms > 0) return systemClock.after(ms, run)
    const immediate = setImmediate(run)
    return { cancel: () => clearImmediate(immediate) }
  },
}

const newMachine = () => createMachine([...nodeIPs, '10.244.1.1', 'fd00:244:1::1'])

const start = async (
  machine: Machine = newMachine(),
  given: Partial<ProxySettings> = {},
  ipvs: Partial<IpvsSettings> = {},
  node: NodeView = { name: nodeName, zone: '', ips: nodeIPs },
) => {
  const settings: ProxySettings = {
    ...defaultSettings,
    nodeIPs,
    localTraffic: { by: 'cidr', cidrs: both.map(family => addresses[family].podRange) },
    ...given,
  }
  const services = createStore<Service>()
  const slices = createStore<EndpointSlice>()
  const mode = await openIpvs({
    ...{ exec: machine.exec as Exec, clock, log: silentLog, others: {} },
    ipvs: { ...defaultIpvsSettings, ...ipvs },
  })
  const turns = createSlices(clock)
  const backends = mode.backends({ settings: () => settings, slices: turns }) as readonly IpvsBackend[]
  const proxier = createProxier({
    ...{ services, endpointSlices: slices, backends, clock, slices: turns, log: silentLog, minGapMs: 0 },
    node,
    conntrack: { list: async () => [], remove: async () => undefined },
  })
  t.teardown(() => proxier.stop())
  services.markSynced()
  slices.markSynced()
  const set = async (wantedServices: readonly Service[], wantedSlices: readonly EndpointSlice[]) => {
    hold(services, wantedServices)
    hold(slices, wantedSlices)
    await proxier.settled()
  }
  return { machine, mode, backends, proxier, services, slices, set }
}

const sendThrough =
  ({ walk }: Machine, family: IPFamily): World['send'] =>
  async ({ from: sender, to, port, protocol = 'TCP' }): Promise<Outcome> => {
    const { node, outside, pod, endpoints } = addresses[family]
    const from = { pod, a: endpoints.a, node, outside }[sender]
    const verdict = walk({ fromNode: sender === 'node', from, to, protocol: protocol.toLowerCase() as 'tcp', port })
    if (verdict === 'rejected') return 'refused'
    const reached = typeof verdict === 'string' ? undefined : Object.entries(endpoints).find(([, ip]) => ip === verdict.to)?.[0]
    if (typeof verdict === 'string' || reached === undefined) return 'dropped'
    return { reached: reached as 'a', sees: verdict.masqueraded ? 'node' : 'client' }
  }

for (const family of both)
  t.test(`packets of ${family}`, async t => {
    const { machine, set } = await start()
    await backendContract(t, { protocols: ['TCP', 'UDP', 'SCTP'], set, send: sendThrough(machine, family) }, family)
  })

t.test('SCTP is routed like the others', async t => {
  const { machine, set } = await start()
  const send = sendThrough(machine, 'IPv4')
  await set([service('IPv4', { type: 'NodePort' }, ['SCTP'])], [slice('IPv4', { a: ready }, ['SCTP'])])
  const { cluster, node } = addresses.IPv4
  t.same(await send({ from: 'pod', to: cluster, port: 80, protocol: 'SCTP' }), { reached: 'a', sees: 'client' })
  t.same(await send({ from: 'outside', to: node, port: 30_080, protocol: 'SCTP' }), { reached: 'a', sees: 'node' })
  t.same(await send({ from: 'pod', to: cluster, port: 80 }), 'refused', 'TCP to it is not')
})

const since = (machine: Machine, at: number) => machine.ran.slice(at).map(({ argv, input }) => `${argv[0]} ${input}`.trim())

t.test('a change of endpoints costs one ipvsadm, and a set where they run here', async t => {
  const { machine, set } = await start()
  const tcp = service('IPv4', {}, ['TCP'])
  await set([tcp], [slice('IPv4', { remote: ready }, ['TCP'])])
  let at = machine.ran.length
  await set([tcp], [slice('IPv4', { remote: ready, a: ready }, ['TCP'])])
  t.same(since(machine, at), [
    'ipset add KUBE-LOOP-BACK 10.244.1.11,tcp:8080,10.244.1.11',
    'ipvsadm -a -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 1',
  ])
  at = machine.ran.length
  await set([tcp], [slice('IPv4', { a: ready }, ['TCP'])])
  t.same(since(machine, at), ['ipvsadm -e -t 10.96.0.10:80 -r 10.244.2.11:8080 -m -w 0'])
})

t.test('a Service comes with its rules first and its address last, and nothing answers in its place while it goes', async t => {
  const { machine, set } = await start()
  await set([], [])
  let at = machine.ran.length
  const udp = service('IPv4', {}, ['UDP'])
  await set([udp], [slice('IPv4', { remote: ready }, ['UDP'])])
  t.same(since(machine, at), [
    'ipset add KUBE-CLUSTER-IP 10.96.0.10,udp:80\nadd KUBE-IPVS-IPS 10.96.0.10',
    'ipvsadm -A -u 10.96.0.10:80 -s rr\n-a -u 10.96.0.10:80 -r 10.244.2.11:8080 -m -w 1',
    'ip addr replace 10.96.0.10/32 dev kube-ipvs0',
  ])
  at = machine.ran.length
  await set([], [])
  t.same(since(machine, at), [
    'ipset del KUBE-CLUSTER-IP 10.96.0.10,udp:80',
    'ipvsadm -D -u 10.96.0.10:80',
    'ip addr del 10.96.0.10/32 dev kube-ipvs0',
    'ipset del KUBE-IPVS-IPS 10.96.0.10',
  ])
})

t.test(
  'a TCP endpoint that is gone gets nothing new, and goes when its last connection has ended; a UDP one goes at once',
  async t => {
    const { machine, set, backends } = await start()
    await set([service('IPv4')], [slice('IPv4', { a: ready, b: ready })])
    const server = machine.servers.get('-t 10.96.0.10:80')!
    server.connections.set('10.244.1.11:8080', 2)
    await set([service('IPv4')], [slice('IPv4', { b: ready })])
    t.same(
      [...server.destinations],
      [
        ['10.244.1.11:8080', 0],
        ['10.244.1.12:8080', 1],
      ],
    )
    t.same([...machine.servers.get('-u 10.96.0.10:80')!.destinations.keys()], ['10.244.1.12:8080'])
    const [v4] = backends
    t.equal(await v4!.sweep(), 0, 'connections are left alone')
    server.connections.clear()
    t.equal(await v4!.sweep(), 1)
    t.same([...server.destinations.keys()], ['10.244.1.12:8080'])
    await set([service('IPv4')], [slice('IPv4', { a: ready, b: ready })])
    t.equal(server.destinations.get('10.244.1.11:8080'), 1, 'it may come back')
  },
)

t.test('a Service whose endpoints are all gone has no virtual server, as soon as connections have ended', async t => {
  const { machine, set, backends, proxier } = await start()
  const [v4] = backends
  const tcp = service('IPv4', {}, ['TCP'])
  await set([tcp], [])
  t.same([...machine.servers.keys()], [], 'nor before there were any')
  await set([tcp], [slice('IPv4', { a: ready }, ['TCP'])])
  const server = machine.servers.get('-t 10.96.0.10:80')!
  server.connections.set('10.244.1.11:8080', 1)
  await set([tcp], [])
  t.same([...server.destinations], [['10.244.1.11:8080', 0]])
  t.same((await v4!.inspector.diff())?.differences, [])
  proxier.resync('again', 'IPv4')
  await proxier.settled()
  t.same([...machine.servers.get('-t 10.96.0.10:80')!.destinations], [['10.244.1.11:8080', 0]], 'also when all is written anew')
  server.connections.clear()
  t.equal(await v4!.sweep(), 1)
  t.same([...machine.servers.keys()], [])
  t.same((await v4!.inspector.diff())?.differences, [])
  await set([tcp], [slice('IPv4', { a: ready }, ['TCP'])])
  t.same([...machine.servers.get('-t 10.96.0.10:80')!.destinations], [['10.244.1.11:8080', 1]])
  await set([], [])
  t.same([...machine.servers.keys()], [])
  t.equal(proxier.status().failures, 0)
})

t.test('a restart changes nothing of what stands, and marks stay as they were', async t => {
  const { machine, set, proxier } = await start()
  const objects = [
    [balancedService('IPv4', { externalTrafficPolicy: 'Local', sessionAffinity: 'ClientIP' })],
    [slice('IPv4', { a: ready, remote: ready })],
  ] as const
  await set(...objects)
  await proxier.stop()
  const at = machine.ran.length
  const before = JSON.stringify([...machine.servers].map(([name, one]) => [name, one.options, ...one.destinations]))
  const next = await start(machine)
  await next.set(...objects)
  t.same(JSON.stringify([...machine.servers].map(([name, one]) => [name, one.options, ...one.destinations])), before)
  const changed = machine.ran.slice(at).filter(({ argv, input }) => argv[0] === 'ipvsadm' && argv[1] === '-R' && input !== '')
  t.same(changed, [], 'no virtual server is touched')
  for (const { inspector } of next.backends) t.same((await inspector.diff())?.differences, [])
})

t.test('virtual servers of nobody are taken away, but those of excluded ranges', async t => {
  const machine = newMachine()
  for (const name of ['-t 172.30.0.1:80', '-t 10.96.0.99:80', '-f 7'])
    machine.servers.set(name, { options: '-s wlc', destinations: new Map(), connections: new Map() })
  const { set } = await start(machine, {}, { excludeCIDRs: ['172.30.0.0/16'] })
  await set([], [])
  t.same([...machine.servers.keys()], ['-t 172.30.0.1:80', '-f 7'])
})

t.test('a refused change is followed by everything anew, and the kernel ends as it should', async t => {
  for (const program of ['ipvsadm', 'ipset', 'ip']) {
    const { machine, set, proxier, backends } = await start()
    await set([service('IPv4')], [slice('IPv4', { a: ready })])
    machine.refuse(program, 1)
    await set([service('IPv4'), balanced], [slice('IPv4', { a: ready, b: ready }), other])
    t.equal(proxier.status().failures, 1, program)
    t.same((await backends[0]!.inspector.diff())?.differences, [], program)
  }
})
const balanced: Service = {
  metadata: { namespace: 'default', name: 'other' },
  spec: { ...service('IPv4').spec, clusterIP: '10.96.0.11', clusterIPs: ['10.96.0.11'] },
}
const other = slice('IPv4', { b: ready }, ['TCP', 'UDP'], 'other')

t.test('what somebody else changed is found', async t => {
  const { machine, set, backends } = await start()
  await set([service('IPv4')], [slice('IPv4', { a: ready })])
  const found = async () => (await backends[0]!.inspector.diff())!.differences.map(({ kind, what }) => `${kind}: ${what}`)
  machine.servers.get('-t 10.96.0.10:80')!.destinations.clear()
  machine.servers.delete('-u 10.96.0.10:80')
  machine.servers.set('-t 10.96.0.99:80', { options: '-s rr', destinations: new Map(), connections: new Map() })
  machine.devices.get('kube-ipvs0')!.clear()
  machine.sets.get('KUBE-CLUSTER-IP')!.entries.clear()
  machine.iptables.iptables['nat']!.get('PREROUTING')!.length = 0
  machine.iptables.iptables['filter']!.get('KUBE-IPVS-FILTER')!.length = 0
  t.same(await found(), [
    'different: virtual server -t 10.96.0.10:80',
    'missing: virtual server -u 10.96.0.10:80',
    'foreign: virtual server -t 10.96.0.99:80',
    'missing: address 10.96.0.10',
    'different: set KUBE-CLUSTER-IP',
    'missing: jump from PREROUTING to KUBE-SERVICES',
    'missing: chain KUBE-IPVS-FILTER',
  ])
})

t.test('the scheduler is the one asked for, mh with ports', async t => {
  const { machine, set } = await start(newMachine(), {}, { scheduler: 'mh' })
  await set([service('IPv4', { sessionAffinity: 'ClientIP' }, ['TCP'])], [slice('IPv4', { a: ready }, ['TCP'])])
  t.equal(machine.servers.get('-t 10.96.0.10:80')!.options, '-s mh -p 10800 -b mh-port')
})

t.test('an address that another device bears is not put on ours', async t => {
  const { machine, set } = await start()
  await set([service('IPv4', { externalIPs: [addresses.IPv4.node] }, ['TCP'])], [slice('IPv4', { a: ready }, ['TCP'])])
  t.same([...machine.devices.get('kube-ipvs0')!], ['10.96.0.10'])
  const reached = await sendThrough(machine, 'IPv4')({ from: 'outside', to: addresses.IPv4.node, port: 80 })
  t.same(reached, { reached: 'a', sees: 'node' })
})

t.test('node ports are served at every address of the ranges, and at one that the node gets later', async t => {
  const { machine, set, backends, proxier } = await start(newMachine(), { nodePortAddresses: ['0.0.0.0/0', '::/0'] })
  await set([service('IPv4', { type: 'NodePort' }, ['TCP'])], [slice('IPv4', { a: ready }, ['TCP'])])
  const served = () => [...machine.servers.keys()].filter(name => name.endsWith(':30080'))
  t.same(served(), ['-t 192.168.50.1:30080', '-t 10.244.1.1:30080'])
  machine.devices.set('eth1', new Set(['172.16.0.1']))
  const different = async () => (await backends[0]!.inspector.diff())!.differences.map(({ what }) => what)
  t.same(await different(), ['node ports of 172.16.0.1'])
  proxier.resync('it differs', 'IPv4')
  await proxier.settled()
  t.same(served(), ['-t 192.168.50.1:30080', '-t 10.244.1.1:30080', '-t 172.16.0.1:30080'])
  t.same(await different(), [])
})

t.test('two frontends that come to the same address and port: the first has it, then the other', async t => {
  const { machine, set, proxier } = await start()
  const exposed = service('IPv4', { type: 'NodePort' }, ['TCP'])
  const claiming: Service = {
    metadata: { namespace: 'default', name: 'claims' },
    spec: {
      ...service('IPv4', { externalIPs: [addresses.IPv4.node] }).spec,
      clusterIP: '10.96.0.12',
      clusterIPs: ['10.96.0.12'],
      ports: [{ name: 'tcp', port: 30_080 }],
    },
  }
  const claims = slice('IPv4', { b: ready }, ['TCP'], 'claims')
  await set([exposed], [slice('IPv4', { a: ready }, ['TCP'])])
  await set([exposed, claiming], [slice('IPv4', { a: ready }, ['TCP']), claims])
  const name = `-t ${addresses.IPv4.node}:30080`
  t.same([...machine.servers.get(name)!.destinations.keys()], ['10.244.1.11:8080'])
  await set([claiming], [claims])
  t.equal(machine.servers.get(name)!.destinations.get('10.244.1.12:8080'), 1)
  t.equal(proxier.status().failures, 0)
})

t.test('ten thousand random changes end as one full sync of the outcome', async t => {
  for (const seed of [3, 6]) {
    const settings = { nodeIPs: randomNode.ips, localTraffic: { by: 'cidr', cidrs: randomPodRanges } } as const
    const { machine, services, slices, proxier, backends } = await start(createMachine(randomNode.ips), settings, {}, randomNode)
    const changes = createRandomChanges({ services, slices, seed })
    for (let step = 1; step <= 5_000; step++) {
      changes.next()
      if (step % 8 === 0) await proxier.settled()
    }
    await proxier.settled()
    t.equal(proxier.status().failures, 0, 'nothing was refused')
    for (const { inspector } of backends) t.same((await inspector.diff())?.differences, [], 'the book is true')
    const again = await start(createMachine(randomNode.ips), settings, {}, randomNode)
    for (const object of services.list().toReversed()) again.services.put(object)
    for (const object of slices.list().toReversed()) again.slices.put(object)
    await again.proxier.settled()
    t.same(await ipvsStateOf(machine.exec), await ipvsStateOf(again.machine.exec), `seed ${seed}`)
  }
})

t.test('the way out takes all of it, and leaves a kube-proxy alone', async t => {
  const { machine, set, proxier } = await start()
  machine.servers.set('-f 7', { options: '-s rr', destinations: new Map(), connections: new Map() })
  await set([balancedService('IPv4', { externalTrafficPolicy: 'Local' })], [slice('IPv4', { a: ready, remote: ready })])
  await proxier.stop()
  t.match(await cleanupIpvs(machine.exec), [/virtual servers/, /ipsets/, /device kube-ipvs0/])
  t.same([...machine.servers.keys()], ['-f 7'])
  t.same([...machine.sets.keys()], [])
  t.same([...machine.devices.keys()], ['eth0'])
  for (const tables of Object.values(machine.iptables))
    for (const chains of Object.values(tables)) t.same([...chains.values()].flat(), [])
  t.same(await cleanupIpvs(machine.exec), [], 'a second time there is nothing')
  machine.sets.set('KUBE-CLUSTER-IP', { type: 'hash:ip,port', family: 'inet', entries: new Map() })
  machine.devices.set('kube-ipvs0', new Set(['10.96.0.1']))
  t.same(await cleanupIpvs(machine.exec), [], "a kube-proxy's device and sets are its own")
})
