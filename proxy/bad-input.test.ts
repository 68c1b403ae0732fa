// What a cluster may hold and nobody would write by hand, in nftables mode: each leaves every other Service routed, and what cannot be
// had is told in one line.
import t from 'tap'
import { type EndpointSlice, type Service, type ServiceSpec, serviceNameLabel } from '../api/service-types.ts'
import { createStore } from '../api/source.ts'
import { systemClock as clock } from '../host/clock.ts'
import { Fault } from '../host/fault.ts'
import { createLog } from '../host/log.ts'
import { createSlices } from '../host/loop.ts'
import { createNftBackend } from './nftables/backend.ts'
import { ip } from './nftables/ip.ts'
import { openNftables } from './nftables/mode.ts'
import { fakeNft } from './nftables/table.fake.ts'
import { createProxier } from './proxier.ts'
import { defaultSettings } from './settings.ts'

const node = { name: 'node-a', zone: '', ips: ['192.168.7.10'] }
const outside = '198.51.100.7'

// Timers of the system clock do not keep a process alive.
const alive = setInterval(() => undefined, 1_000)
t.teardown(() => clearInterval(alive))

const start = ({ mostPorts }: { readonly mostPorts?: number } = {}) => {
  const nft = fakeNft(node.ips)
  const lines: string[] = []
  const services = createStore<Service>()
  const endpointSlices = createStore<EndpointSlice>()
  services.markSynced()
  endpointSlices.markSynced()
  const slices = createSlices(clock)
  const settings = { ...defaultSettings, nodeIPs: node.ips }
  const proxier = createProxier({
    ...{ services, endpointSlices, node, clock, slices },
    ...(mostPorts !== undefined && { mostPorts }),
    backends: [createNftBackend({ nft, words: ip, settings: () => settings, slices })],
    conntrack: { list: async () => [], remove: async () => undefined },
    log: createLog({ verbosity: 2, human: false, write: line => lines.push(line) }),
  })
  t.teardown(() => proxier.stop())
  const send = (to: string, port: number) => {
    const verdict = nft.walk({ fromNode: false, from: outside, to, protocol: 'tcp', port })
    return typeof verdict === 'string' ? verdict : `${verdict.to}:${verdict.port}`
  }
  return { services, endpointSlices, proxier, send, lines, nft }
}

const service = (name: string, clusterIP: string, created: string, spec: Partial<ServiceSpec> = {}): Service => ({
  metadata: { namespace: 'default', name, creationTimestamp: created },
  spec: { clusterIP, ports: [{ port: 80 }], ...spec },
})
const slice = (of: string, addresses: readonly string[], ports: EndpointSlice['ports'] = [{ port: 8080 }]): EndpointSlice => ({
  metadata: { namespace: 'default', name: `${of}-a`, labels: { [serviceNameLabel]: of } },
  addressType: 'IPv4',
  ports,
  endpoints: addresses.map(address => ({ addresses: [address] })),
})

t.test('an address of the wrong family in a slice is passed over', async t2 => {
  const { services, endpointSlices, proxier, send, lines } = start()
  services.put(service('web', '10.96.0.1', ''))
  endpointSlices.put(slice('web', ['fd00:244::1', 'no address at all', '10.244.1.1']))
  services.put(service('only-bad', '10.96.0.2', ''))
  endpointSlices.put(slice('only-bad', ['fd00:244::1', '']))
  await proxier.settled()
  t2.equal(send('10.96.0.1', 80), '10.244.1.1:8080')
  t2.equal(send('10.96.0.2', 80), 'rejected')
  t2.equal(proxier.status().failures, 0)
  const told = () => lines.filter(line => line.includes('passed over'))
  t2.match(told(), [
    /default\/web.*"addresses":\["fd00:244::1","no address at all"\],"count":2.*not of IPv4/,
    /default\/only-bad/,
  ])
  services.put(service('web', '10.96.0.1', '', { ports: [{ port: 81 }] }))
  await proxier.settled()
  t2.equal(told().length, 2, 'once for each slice, whatever else changes')
})

for (const [what, spec, at] of [
  ['one node port', { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] }, [node.ips[0]!, 30_080]],
  ['one external IP', { externalIPs: ['203.0.113.9'] }, ['203.0.113.9', 80]],
] as readonly (readonly [string, Partial<ServiceSpec>, readonly [string, number]])[])
  t.test(`of two Services that claim ${what} the older one has it, until it goes`, async t2 => {
    const { services, endpointSlices, proxier, send, lines } = start()
    services.put(service('younger', '10.96.0.2', '2026-01-02T00:00:00Z', spec))
    endpointSlices.put(slice('younger', ['10.244.1.2']))
    services.put(service('older', '10.96.0.1', '2026-01-01T00:00:00Z', spec))
    endpointSlices.put(slice('older', ['10.244.1.1']))
    await proxier.settled()
    t2.equal(send(...at), '10.244.1.1:8080')
    t2.equal(send('10.96.0.2', 80), '10.244.1.2:8080', 'the other one is routed by its own address')
    const told = lines.filter(line => line.includes('default/younger'))
    t2.equal(told.length, 1, 'one line of the log')
    t2.match(told[0], /default\/older/, 'names both')
    services.remove('default', 'older')
    await proxier.settled()
    t2.equal(send(...at), '10.244.1.2:8080')
    t2.equal(proxier.status().failures, 0)
  })

t.test('a Service of 65,535 ports is routed, and so are the others', async t2 => {
  const { services, endpointSlices, proxier, send, nft } = start()
  await proxier.settled()
  nft.applied.length = 0
  const all = Array.from({ length: 65_535 }, (_, index) => index + 1)
  const ports = all.map(port => ({ name: `p${port}`, port }))
  services.put(service('web', '10.96.0.1', ''))
  endpointSlices.put(slice('web', ['10.244.1.1']))
  services.put(service('all', '10.96.0.2', '', { ports }))
  endpointSlices.put(slice('all', ['10.244.1.2'], ports))
  await proxier.settled()
  t2.same(
    [1, 80, 65_535].map(port => send('10.96.0.2', port)),
    ['10.244.1.2:1', '10.244.1.2:80', '10.244.1.2:65535'],
  )
  t2.equal(send('10.96.0.1', 80), '10.244.1.1:8080')
  t2.equal(nft.applied.length, 27, 'in bounded transactions')
})

t.test(
  'where a mode routes fewer ports, a Service with more is told of and keeps what it had, and the others are routed',
  async t2 => {
    const { services, endpointSlices, proxier, send, lines } = start({ mostPorts: 2 })
    const ports = [1, 2, 3].map(port => ({ name: `p${port}`, port }))
    services.put(service('many', '10.96.0.2', '', { ports: ports.slice(0, 2) }))
    endpointSlices.put(slice('many', ['10.244.1.2'], ports))
    await proxier.settled()
    services.put(service('many', '10.96.0.2', '', { ports }))
    services.put(service('web', '10.96.0.1', ''))
    endpointSlices.put(slice('web', ['10.244.1.1']))
    await proxier.settled()
    t2.same([send('10.96.0.2', 2), send('10.96.0.1', 80)], ['10.244.1.2:2', '10.244.1.1:8080'])
    t2.not(send('10.96.0.2', 3), '10.244.1.2:3')
    const told = lines.filter(line => line.includes('default/many'))
    t2.equal(told.length, 1, 'one line of the log')
    t2.match(told[0], /cannot be routed as it stands: it has 3 ports: this mode routes 2 of one Service, nftables all of them/)
  },
)

t.test('names of every legal character are names like others', async t2 => {
  const { services, endpointSlices, proxier, send } = start()
  // A Service's name is a DNS label, a slice's a subdomain, a port's at most 63 characters of a DNS label.
  const label = `a${'-0z9'.repeat(15)}-9`.slice(0, 63).replace(/-$/, 'z')
  const port = { name: label, port: 80 }
  services.put(service(label, '10.96.0.1', '', { ports: [port] }))
  endpointSlices.put({
    ...slice(label, ['10.244.1.1'], [{ name: label, port: 8080 }]),
    metadata: { namespace: 'default', name: `${label}.${label}.a.b-c.0`, labels: { [serviceNameLabel]: label } },
  })
  await proxier.settled()
  t2.equal(send('10.96.0.1', 80), '10.244.1.1:8080')
})

t.test('without nft the start says so', async t2 => {
  const exec = {
    try: async () => {
      throw new Fault('command', 'nft: spawn nft ENOENT')
    },
    run: async () => {
      throw new Error('not asked for')
    },
    watch: () => {
      throw new Error('not asked for')
    },
  }
  const log = createLog({ verbosity: 0, human: false, write: () => undefined })
  await t2.rejects(openNftables({ exec, clock, log }), {
    code: 'unsupported',
    message: /no nftables with NAT, which Service routing needs: .*nft: spawn nft ENOENT/,
  })
})
