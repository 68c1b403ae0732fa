// The nftables backend in memory: the packet contract, what a change costs, what the table looks like, and what a refusal leaves.
import t from 'tap'
import { type EndpointSlice, type IPFamily, type Service, serviceNameLabel } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import { type Clock, systemClock } from '../../host/clock.ts'
import { silentLog } from '../../host/log.ts'
import { createSlices } from '../../host/loop.ts'
import { hold } from '../../test/support/service-stores.ts'
import {
  addresses,
  backendContract,
  service as contractService,
  slice as contractSlice,
  nodeName,
  type Outcome,
  type World,
} from '../backend.contract.ts'
import type { NodeView } from '../model.ts'
import { createProxier } from '../proxier.ts'
import { createRandomChanges, randomNode } from '../random-changes.fake.ts'
import { defaultSettings, type ProxySettings } from '../settings.ts'
import { createNftBackend } from './backend.ts'
import { ip } from './ip.ts'
import { ip6 } from './ip6.ts'
import { meaningOf } from './meaning.fake.ts'
import { ruleComment } from './skeleton.ts'
import { fakeNft } from './table.fake.ts'

const both: readonly IPFamily[] = ['IPv4', 'IPv6']
const bridges = ['10.244.1.1', 'fd00:244:1::1']
const nodeIPs = both.map(family => addresses[family].node)

// Timers of the system clock do not keep a process alive.
const alive = setInterval(() => undefined, 1_000)
t.teardown(() => clearInterval(alive))

// What is due at once comes in the same millisecond: Node's shortest timer takes a whole one, and thousands are waited for here.
const clock: Clock = {
  ...systemClock,
  after: (ms, run) => {
    if (ms > 0) return systemClock.after(ms, run)
    const immediate = setImmediate(run)
    return { cancel: () => clearImmediate(immediate) }
  },
}

const start = (given: Partial<ProxySettings> = {}, node: NodeView = { name: nodeName, zone: '', ips: nodeIPs }) => {
  const settings: ProxySettings = {
    ...defaultSettings,
    nodeIPs,
    localTraffic: { by: 'cidr', cidrs: both.map(family => addresses[family].podRange) },
    ...given,
  }
  const nft = fakeNft([...nodeIPs, ...bridges])
  const services = createStore<Service>()
  const slices = createStore<EndpointSlice>()
  const turns = createSlices(clock)
  const proxier = createProxier({
    services,
    endpointSlices: slices,
    node,
    backends: [ip, ip6].map(words =>
      createNftBackend({ nft, words, settings: () => settings, slices: turns, perTransaction: 500 }),
    ),
    conntrack: { list: async () => [], remove: async () => undefined },
    clock,
    log: silentLog,
    slices: turns,
    minGapMs: 0,
  })
  t.teardown(() => proxier.stop())
  return { nft, services, slices, proxier }
}

const world = (family: IPFamily): World => {
  const { nft, services, slices, proxier } = start()
  services.markSynced()
  slices.markSynced()
  const { node, outside, pod, endpoints } = addresses[family]
  const from = { pod, a: endpoints.a, node, outside }
  return {
    protocols: ['TCP', 'UDP', 'SCTP'],
    set: async (wantedServices, wantedSlices) => {
      hold(services, wantedServices)
      hold(slices, wantedSlices)
      await proxier.settled()
    },
    send: async ({ from: sender, to, port, protocol = 'TCP' }): Promise<Outcome> => {
      const verdict = nft.walk({
        fromNode: sender === 'node',
        from: from[sender],
        to,
        protocol: protocol.toLowerCase() as 'tcp',
        port,
      })
      if (verdict === 'rejected') return 'refused'
      const reached =
        typeof verdict === 'string' ? undefined : Object.entries(endpoints).find(([, address]) => address === verdict.to)?.[0]
      if (typeof verdict === 'string' || reached === undefined) return 'dropped'
      return { reached: reached as 'a', sees: verdict.masqueraded || sender === 'node' ? 'node' : 'client' }
    },
  }
}

for (const family of both) t.test(`packets of ${family}`, t2 => backendContract(t2, world(family), family))

t.test('SCTP is routed like the others', async t2 => {
  const sctp = world('IPv4')
  await sctp.set(
    [contractService('IPv4', { type: 'NodePort' }, ['SCTP'])],
    [contractSlice('IPv4', { a: { ready: true } }, ['SCTP'])],
  )
  const { cluster, node } = addresses.IPv4
  t2.same(await sctp.send({ from: 'pod', to: cluster, port: 80, protocol: 'SCTP' }), { reached: 'a', sees: 'client' })
  t2.same(await sctp.send({ from: 'outside', to: node, port: 30_080, protocol: 'SCTP' }), { reached: 'a', sees: 'node' })
  t2.same(await sctp.send({ from: 'pod', to: cluster, port: 80 }), 'refused', 'TCP to it is not')
})

t.test('masquerade-all hides pods too', async t2 => {
  const { nft, services, slices, proxier } = start({ masqueradeAll: true })
  services.put(contractService('IPv4'))
  slices.put(contractSlice('IPv4', { a: { ready: true } }))
  services.markSynced()
  slices.markSynced()
  await proxier.settled()
  const { pod, cluster } = addresses.IPv4
  t2.match(nft.walk({ fromNode: false, from: pod, to: cluster, protocol: 'tcp', port: 80 }), { masqueraded: true })
})

t.test('pods may be told by their interface', async t2 => {
  for (const [localTraffic, iif, masqueraded] of [
    [{ by: 'interface', name: 'nodelet0' }, 'nodelet0', false],
    [{ by: 'interface', name: 'nodelet0' }, 'eth0', true],
    [{ by: 'interface-prefix', prefix: 'veth' }, 'veth12', false],
    [{ by: 'interface-prefix', prefix: 'veth' }, 'eth0', true],
    [{ by: 'none' }, 'eth0', false],
  ] as const) {
    const { nft, services, slices, proxier } = start({ localTraffic })
    services.put(contractService('IPv4'))
    slices.put(contractSlice('IPv4', { a: { ready: true } }))
    services.markSynced()
    slices.markSynced()
    await proxier.settled()
    const { pod, cluster } = addresses.IPv4
    t2.match(
      nft.walk({ fromNode: false, from: pod, to: cluster, protocol: 'tcp', port: 80, iif }),
      { masqueraded },
      `${localTraffic.by}, ${iif}`,
    )
  }
})

const octets = (index: number) => `${(index >> 8) & 255}.${index & 255}`
const service = (index: number, spec: Partial<Service['spec']> = {}): Service => ({
  metadata: { namespace: 'many', name: `s${index}` },
  spec: { type: 'ClusterIP', clusterIP: `10.96.${octets(index)}`, ports: [{ port: 80 }], ...spec },
})
const slice = (index: number, endpoints: readonly number[]): EndpointSlice => ({
  metadata: { namespace: 'many', name: `s${index}`, labels: { [serviceNameLabel]: `s${index}` } },
  addressType: 'IPv4',
  ports: [{ port: 8080 }],
  endpoints: endpoints.map(at => ({ addresses: [`10.${100 + at}.${octets(index)}`] })),
})

const pickOne = 'dnat ip to ip daddr . tcp dport . numgen random mod 1 map @endpoints-tcp'

t.test('a change costs what changed, not what exists', async t2 => {
  const { nft, services, slices, proxier } = start()
  for (let index = 0; index < 10_000; index++) {
    services.put(service(index))
    slices.put(slice(index, [0, 1]))
  }
  services.markSynced()
  slices.markSynced()
  await proxier.settled()
  const size = nft.size('ip nodelet-proxy')
  t2.equal(size.elements - 1 - 10_000 * 4, 0, 'four elements per Service and the node address')
  const before = nft.applied.length
  const cost = async (change: () => void) => {
    nft.applied.length = 0
    change()
    await proxier.settled()
    const lines = nft.applied.join('').split('\n')
    const own = lines.filter(line => !line.includes(' signature ') && line !== '')
    return { processes: nft.applied.length, lines: own }
  }
  t2.equal(before, 22, 'the first sync goes in bounded transactions')
  t2.same(
    await cost(() => {
      services.put(service(10_000))
      slices.put(slice(10_000, [0, 1]))
    }),
    {
      processes: 1,
      lines: [
        'add element ip nodelet-proxy service-ips { 10.96.39.16 . tcp . 80 : goto tcp-pick-2 }',
        'add element ip nodelet-proxy endpoints-tcp { 10.96.39.16 . 80 . 0 : 10.100.39.16 . 8080, 10.96.39.16 . 80 . 1 : 10.101.39.16 . 8080 }',
        'add element ip nodelet-proxy cluster-ips { 10.96.39.16 }',
      ],
    },
    'one Service more',
  )
  t2.same(
    await cost(() => slices.put(slice(7, [1]))),
    {
      processes: 1,
      lines: [
        'add chain ip nodelet-proxy tcp-pick-1',
        `add rule ip nodelet-proxy tcp-pick-1 ${pickOne} comment "${ruleComment(pickOne)}"`,
        'delete element ip nodelet-proxy service-ips { 10.96.0.7 . tcp . 80 }',
        'delete element ip nodelet-proxy endpoints-tcp { 10.96.0.7 . 80 . 0, 10.96.0.7 . 80 . 1 }',
        'add element ip nodelet-proxy service-ips { 10.96.0.7 . tcp . 80 : goto tcp-pick-1 }',
        'add element ip nodelet-proxy endpoints-tcp { 10.96.0.7 . 80 . 0 : 10.101.0.7 . 8080 }',
      ],
    },
    'one endpoint fewer, all in one transaction',
  )
  t2.same((await cost(() => slices.put({ ...slice(9, [0, 1]) }))).processes, 0, 'a slice that says the same costs nothing')
  t2.same(
    (
      await cost(() => {
        services.put(service(20_000))
        services.remove('many', 's20000')
      })
    ).processes,
    0,
    'what cancels itself costs nothing',
  )
})

t.test('the number of rules and chains depends on shapes, not on Services', async t2 => {
  const shapes: readonly (readonly [string, Partial<Service['spec']>, readonly number[], number, number])[] = [
    ['a cluster IP of one endpoint', {}, [0], 1, 1],
    ['a cluster IP without endpoints', {}, [], 0, 0],
    ['a node port', { type: 'NodePort', ports: [{ port: 80, nodePort: 30_001 }] }, [0, 1], 3, 4],
    ['external policy Local', { externalIPs: ['203.0.113.1'], externalTrafficPolicy: 'Local' }, [0], 3, 4],
    ['session affinity', { sessionAffinity: 'ClientIP' }, [0, 1], 5, 9],
  ]
  for (const [name, spec, endpoints, chains, rules] of shapes) {
    const { nft, services, slices, proxier } = start()
    services.markSynced()
    slices.markSynced()
    await proxier.settled()
    const empty = nft.size('ip nodelet-proxy')
    for (let index = 0; index < 3; index++) {
      services.put(
        service(index, {
          ...spec,
          ...(spec.externalIPs && { externalIPs: [`203.0.113.${index}`] }),
          ...(spec.type && { ports: [{ port: 80, nodePort: 30_000 + index }] }),
        }),
      )
      slices.put(slice(index, endpoints))
    }
    await proxier.settled()
    const full = nft.size('ip nodelet-proxy')
    t2.same({ chains: full.chains - empty.chains, rules: full.rules - empty.rules }, { chains, rules }, name)
  }
})

t.test('a refused change leaves the old rules whole, and everything is written anew', async t2 => {
  const { nft, services, slices, proxier } = start()
  services.put(service(1))
  slices.put(slice(1, [0]))
  services.markSynced()
  slices.markSynced()
  await proxier.settled()
  const packet = { fromNode: false, from: '10.244.1.10', protocol: 'tcp', port: 80 } as const
  const reaches = (index: number) => {
    const verdict = nft.walk({ ...packet, to: `10.96.0.${index}` })
    return typeof verdict === 'object' && verdict.translated
  }
  nft.refuse(1)
  services.put(service(2))
  slices.put(slice(2, [0]))
  const settled = proxier.settled()
  while (proxier.status().failures === 0) await new Promise(resolve => setImmediate(resolve))
  t2.ok(reaches(1), 'the old Service still answers')
  t2.notOk(reaches(2))
  t2.match(proxier.status(), { failures: 1, lastFailure: /told to refuse/ })
  await settled
  t2.ok(reaches(1) && reaches(2), 'both answer after the full sync')
  t2.match(
    nft.applied.at(-1),
    /^add element ip nodelet-proxy signature .*\ndelete chain ip nodelet-proxy services\n.*\nadd chain ip nodelet-proxy nat-prerouting\.b /s,
    'in one transaction with the removal of the old ones',
  )
})

t.test('nothing is written before both sources have told everything', async t2 => {
  const { nft, services, slices, proxier } = start()
  services.put(service(1))
  services.markSynced()
  await new Promise(resolve => setTimeout(resolve, 10))
  t2.same(nft.applied, [])
  slices.put(slice(1, [0]))
  slices.markSynced()
  await proxier.settled()
  t2.equal(nft.tables.get('ip nodelet-proxy')!.sets.get('service-ips')!.elements.size, 1)
})

t.test('ten thousand random changes end as one full sync of the outcome', async t2 => {
  for (const seed of [3, 6]) {
    const { nft, services, slices, proxier } = start({ nodeIPs: randomNode.ips }, randomNode)
    services.markSynced()
    slices.markSynced()
    const changes = createRandomChanges({ services, slices, seed })
    for (let step = 1; step <= 5_000; step++) {
      changes.next()
      if (step % 8 === 0) await proxier.settled()
    }
    await proxier.settled()
    t2.equal(proxier.status().failures, 0, 'no transaction was refused')
    const again = start({ nodeIPs: randomNode.ips }, randomNode)
    // In another order: who was told first decides nothing.
    for (const object of services.list().toReversed()) again.services.put(object)
    for (const object of slices.list().toReversed()) again.slices.put(object)
    again.services.markSynced()
    again.slices.markSynced()
    await again.proxier.settled()
    for (const table of ['ip nodelet-proxy', 'ip6 nodelet-proxy'])
      t2.same(meaning(nft, table), meaning(again.nft, table), `${table}, seed ${seed}`)
  }
})

const meaning = ({ tables }: ReturnType<typeof fakeNft>, table: string) =>
  meaningOf(new Map([...tables.get(table)!.sets].map(([name, { elements }]) => [name, elements])))
