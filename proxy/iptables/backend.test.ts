// The iptables backend in memory: the packet contract, what the settings ask, what a change costs, what any way to a state ends in.
import t from 'tap'
import type { IPFamily } from '../../api/service-types.ts'
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
import { toFrontends } from '../model.ts'
import { createRandomChanges, randomNode } from '../random-changes.fake.ts'
import { defaultSettings } from '../settings.ts'
import { createIptablesBackend } from './backend.ts'
import { both, clock, many, nodeIPs, ready, type Start, service, shown, slice, start } from './kernel.fake.ts'
import { fakeIptables } from './table.fake.ts'
import { v4 } from './words.ts'

// Timers of the system clock do not keep a process alive.
const alive = setInterval(() => undefined, 1_000)
t.teardown(() => clearInterval(alive))

const world = (family: IPFamily, options: Start = {}): World => {
  const { tables, services, slices, proxier } = start(options)
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
      const verdict = tables[family].walk({
        ...{ fromNode: sender === 'node', from: from[sender], to, port },
        protocol: protocol.toLowerCase() as 'tcp',
      })
      if (verdict === 'rejected') return 'refused'
      const reached =
        typeof verdict === 'string' ? undefined : Object.entries(endpoints).find(([, address]) => address === verdict.to)?.[0]
      if (typeof verdict === 'string' || reached === undefined) return 'dropped'
      return { reached: reached as 'a', sees: verdict.masqueraded || sender === 'node' ? 'node' : 'client' }
    },
  }
}

for (const variant of ['nft', 'legacy'] as const)
  for (const family of both)
    t.test(`packets of ${family}, iptables-${variant}`, t2 => backendContract(t2, world(family, { variant }), family))

t.test('SCTP is routed like the others', async t2 => {
  const sctp = world('IPv4')
  await sctp.set([contractService('IPv4', { type: 'NodePort' }, ['SCTP'])], [contractSlice('IPv4', { a: ready }, ['SCTP'])])
  const { cluster, node } = addresses.IPv4
  t2.same(await sctp.send({ from: 'pod', to: cluster, port: 80, protocol: 'SCTP' }), { reached: 'a', sees: 'client' })
  t2.same(await sctp.send({ from: 'outside', to: node, port: 30_080, protocol: 'SCTP' }), { reached: 'a', sees: 'node' })
  t2.same(await sctp.send({ from: 'pod', to: cluster, port: 80 }), 'refused', 'TCP to it is not')
})

const { pod, cluster } = addresses.IPv4
const toCluster = { fromNode: false, from: pod, to: cluster, protocol: 'tcp', port: 80 } as const

t.test('masquerade-all hides pods too; without a way to tell pods nobody is hidden', async t2 => {
  for (const [settings, masqueraded] of [
    [{ masqueradeAll: true }, true],
    [{ localTraffic: { by: 'none' } }, false],
  ] as const) {
    const { tables, services, slices, sync } = start({ settings })
    services.put(contractService('IPv4'))
    slices.put(contractSlice('IPv4', { a: ready }))
    await sync()
    t2.match(tables.IPv4.walk(toCluster), { masqueraded }, JSON.stringify(settings))
  }
})

t.test('pods may be told by their interface', async t2 => {
  for (const [localTraffic, iif, masqueraded] of [
    [{ by: 'interface', name: 'nodelet0' }, 'nodelet0', false],
    [{ by: 'interface', name: 'nodelet0' }, 'eth0', true],
    [{ by: 'interface-prefix', prefix: 'veth' }, 'veth12', false],
    [{ by: 'interface-prefix', prefix: 'veth' }, 'eth0', true],
  ] as const) {
    const { tables, services, slices, sync } = start({ settings: { localTraffic } })
    services.put(contractService('IPv4'))
    slices.put(contractSlice('IPv4', { a: ready }))
    await sync()
    t2.match(tables.IPv4.walk({ ...toCluster, iif }), { masqueraded }, `${localTraffic.by}, ${iif}`)
  }
})

t.test('node ports on loopback: where they are asked for, and only for the node itself', async t2 => {
  const everywhere = ['0.0.0.0/0', '::/0']
  for (const [name, settings, answers] of [
    ['asked for', { nodePortAddresses: everywhere, localhostNodePorts: true }, true],
    ['not asked for', { nodePortAddresses: everywhere, localhostNodePorts: false }, false],
    ['asked for, but loopback is not among the addresses', { localhostNodePorts: true }, false],
    ['its range alone', { nodePortAddresses: ['127.0.0.0/8'], localhostNodePorts: true }, true],
  ] as const) {
    const { tables, services, slices, sync } = start({ settings })
    services.put(contractService('IPv4', { type: 'NodePort' }))
    slices.put(contractSlice('IPv4', { a: ready }))
    await sync()
    const packet = { to: '127.0.0.1', protocol: 'tcp', port: 30_080 } as const
    const own = tables.IPv4.walk({ ...packet, fromNode: true, from: '127.0.0.1' })
    t2.match(own, answers ? { translated: true, masqueraded: true } : { translated: false }, name)
    if (answers)
      t2.equal(
        tables.IPv4.walk({ ...packet, port: 9_999, fromNode: false, from: '192.168.50.2' }),
        'dropped',
        'what else listens on loopback is closed to the neighbours, whom route_localnet would let in',
      )
  }
})

t.test('a change costs what changed, not what exists', async t2 => {
  const one = start()
  many(one, 2_000)
  await one.sync()
  const { applied } = one.tables.IPv4
  t2.equal(applied.length, 4, 'the first sync goes in bounded transactions')
  const cost = async (change: () => void) => {
    applied.length = 0
    change()
    await one.proxier.settled()
    // Names of chains are hashes.
    return applied
      .join('')
      .replace(/KUBE-SVC-\w+/g, 'KUBE-SVC-X')
      .split('\n')
      .filter(Boolean)
  }
  const more = await cost(() => {
    one.services.put(service(2_000))
    one.slices.put(slice(2_000, [0, 1]))
  })
  t2.same(
    more.filter(line => line.startsWith(':')),
    [
      ':KUBE-PROXY-BEGIN - [0:0]',
      ':KUBE-SVC-X - [0:0]',
      ':KUBE-SERVICES-d0 - [0:0]',
      ':KUBE-PROXY-END - [0:0]',
      ':KUBE-PROXY-BEGIN - [0:0]',
      ':KUBE-SERVICES-d0 - [0:0]',
      ':KUBE-PROXY-END - [0:0]',
    ],
    'one Service more: its own chain and a 256th of the others',
  )
  t2.same(
    await cost(() => one.slices.put(slice(7, [1]))),
    [
      '*nat',
      ':KUBE-PROXY-BEGIN - [0:0]',
      '-X KUBE-PROXY-BEGIN',
      ':KUBE-SVC-X - [0:0]',
      '-A KUBE-SVC-X -j KUBE-MARK-OFF-CLUSTER',
      '-A KUBE-SVC-X -p tcp -j DNAT --to-destination 10.101.0.7:8080',
      ':KUBE-PROXY-END - [0:0]',
      '-X KUBE-PROXY-END',
      'COMMIT',
    ],
    'one endpoint fewer: one chain',
  )
  t2.equal(one.proxier.status().perFamily.IPv4?.rules['nat']?.last, 2, 'and two rules')
  t2.same(await cost(() => one.slices.put({ ...slice(9, [0, 1]) })), [], 'a slice that says the same costs nothing')
})

t.test('frontends that the kernel has no rules for are left out, the others are routed', async t2 => {
  const fake = fakeIptables(nodeIPs)
  const turns = createSlices(clock)
  const settings = { ...defaultSettings, nodeIPs }
  const backend = createIptablesBackend({
    ...{ iptables: fake, words: v4, variant: 'nft', settings: () => settings, slices: turns },
    takes: ({ protocol }) => protocol !== 'SCTP',
  })
  const frontends = toFrontends(
    contractService('IPv4', {}, ['TCP', 'SCTP']),
    [contractSlice('IPv4', { a: ready }, ['TCP', 'SCTP'])],
    'IPv4',
    { name: nodeName, zone: '', ips: nodeIPs },
  )
  await backend.full(frontends)
  t2.match(fake.walk(toCluster), { translated: true })
  t2.notMatch(fake.applied.join(''), /sctp/)
})

t.test('ten thousand random changes end as one full sync of the outcome', async t2 => {
  for (const seed of [11, 12]) {
    const one = start({ node: randomNode })
    await one.sync()
    const changes = createRandomChanges({ services: one.services, slices: one.slices, seed })
    for (let step = 0; step < 5_000; step++) {
      changes.next()
      if (step % 7 === 0) await one.proxier.settled()
    }
    await one.proxier.settled()
    t2.equal(one.proxier.status().failures, 0, 'no transaction was refused')
    for (const family of both)
      for (const [table, { total }] of Object.entries(one.proxier.status().perFamily[family]!.rules)) {
        const chains = [...one.tables[family].tables.get(table as 'nat')!].filter(([name]) => name.startsWith('KUBE-'))
        t2.equal(
          total,
          chains.reduce((sum, [, rules]) => sum + rules.length, 0),
          `rules of ${table} ${family} are counted`,
        )
      }
    const again = start({ node: randomNode })
    for (const object of one.services.list()) again.services.put(object)
    for (const object of one.slices.list()) again.slices.put(object)
    await again.sync()
    t2.same(shown(one.tables), shown(again.tables), `seed ${seed}`)
  }
})
