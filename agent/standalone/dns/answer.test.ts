import type { Answer } from 'dns-packet'
import t from 'tap'
import type { Endpoint, EndpointSlice, Service, ServiceSpec } from '../../../api/service-types.ts'
import { createStore } from '../../../api/source.ts'
import type { Pod } from '../../../api/types.ts'
import { parseCidr } from '../../../host/address.ts'
import { answer } from './answer.ts'
import { createZone } from './zone.ts'

const config = {
  domain: 'cluster.local',
  addresses: ['10.96.0.10'],
  ranges: [parseCidr('10.96.0.0/16')!, parseCidr('fd00:96::/112')!],
}

const service = (name: string, spec: ServiceSpec, namespace = 'default'): Service => ({ metadata: { name, namespace }, spec })
const slice = (
  name: string,
  of: string,
  addressType: 'IPv4' | 'IPv6',
  endpoints: readonly Endpoint[],
  port = 8080,
): EndpointSlice => ({
  metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': of } },
  addressType,
  endpoints,
  ports: [{ name: 'http', port, protocol: 'TCP' }],
})
const http = { name: 'http', port: 80, protocol: 'TCP' } as const

const services = createStore<Service>()
const endpointSlices = createStore<EndpointSlice>()
const pods = createStore<Pod>()
for (const it of [
  service('web', {
    clusterIP: '10.96.1.1',
    clusterIPs: ['10.96.1.1', 'fd00:96::11'],
    ports: [http, { name: 'dns', port: 53, protocol: 'UDP' }, { port: 81 }],
  }),
  service('four', { clusterIP: '10.96.1.4', clusterIPs: ['10.96.1.4'], ports: [http] }),
  service('db', { clusterIP: 'None', clusterIPs: ['None'], ports: [http] }),
  service('empty', { clusterIP: 'None', ports: [http] }),
  service('ext', { type: 'ExternalName', externalName: 'db.example.com.' }),
  service('broken', { type: 'ExternalName', externalName: 'a..b' }),
  service('alias', { type: 'ExternalName', externalName: 'web.default.svc.cluster.local' }),
])
  services.put(it)
endpointSlices.put(
  slice('db-4', 'db', 'IPv4', [
    { addresses: ['10.1.0.1'], conditions: { ready: true }, hostname: 'db-0' },
    { addresses: ['10.1.0.2'], conditions: { ready: true } },
    { addresses: ['10.1.0.3'], conditions: { ready: false }, hostname: 'db-2' },
  ]),
)
endpointSlices.put(slice('db-6', 'db', 'IPv6', [{ addresses: ['fd00::1'], conditions: { ready: true }, hostname: 'db-0' }]))
endpointSlices.put(slice('web-4', 'web', 'IPv4', [{ addresses: ['10.1.0.9'], conditions: { ready: true } }]))
pods.put({
  metadata: { name: 'p', namespace: 'apps' },
  spec: { containers: [] },
  status: { phase: 'Running', podIPs: [{ ip: '10.1.0.7' }, { ip: 'fd00::7' }] },
})
const unsynced = createZone({ services: createStore<Service>(), endpointSlices, pods }).zone
for (const store of [services, endpointSlices, pods]) store.markSynced()
const { zone } = createZone({ services, endpointSlices, pods })

const text = (record: Answer): string => {
  if (record.type === 'SRV') return `SRV ${record.name} ${record.data.port} ${record.data.target}`
  return `${record.type} ${record.name} ${'data' in record ? String(record.data) : ''}`
}
const ask = (name: string, type: string) => {
  const reply = answer({ name, type }, zone, config)
  return reply === 'forward' ? reply : { ...reply, texts: reply.answers.map(text), more: reply.additionals.map(text) }
}

for (const [name, type, expected] of [
  ['web.default.svc.cluster.local', 'A', ['A web.default.svc.cluster.local 10.96.1.1']],
  ['web.default.svc.cluster.local', 'AAAA', ['AAAA web.default.svc.cluster.local fd00:96::11']],
  ['WEB.Default.svc.cluster.LOCAL', 'A', ['A WEB.Default.svc.cluster.LOCAL 10.96.1.1']],
  ['db.default.svc.cluster.local', 'A', ['A db.default.svc.cluster.local 10.1.0.1', 'A db.default.svc.cluster.local 10.1.0.2']],
  ['db.default.svc.cluster.local', 'AAAA', ['AAAA db.default.svc.cluster.local fd00::1']],
  ['db-0.db.default.svc.cluster.local', 'A', ['A db-0.db.default.svc.cluster.local 10.1.0.1']],
  ['db-0.db.default.svc.cluster.local', 'AAAA', ['AAAA db-0.db.default.svc.cluster.local fd00::1']],
  ['10-1-0-2.db.default.svc.cluster.local', 'A', ['A 10-1-0-2.db.default.svc.cluster.local 10.1.0.2']],
  [
    '_http._tcp.web.default.svc.cluster.local',
    'SRV',
    ['SRV _http._tcp.web.default.svc.cluster.local 80 web.default.svc.cluster.local'],
  ],
  [
    '_dns._udp.web.default.svc.cluster.local',
    'SRV',
    ['SRV _dns._udp.web.default.svc.cluster.local 53 web.default.svc.cluster.local'],
  ],
  [
    '_http._tcp.db.default.svc.cluster.local',
    'SRV',
    [
      'SRV _http._tcp.db.default.svc.cluster.local 8080 db-0.db.default.svc.cluster.local',
      'SRV _http._tcp.db.default.svc.cluster.local 8080 10-1-0-2.db.default.svc.cluster.local',
    ],
  ],
  ['ext.default.svc.cluster.local', 'A', ['CNAME ext.default.svc.cluster.local db.example.com']],
  ['ext.default.svc.cluster.local', 'CNAME', ['CNAME ext.default.svc.cluster.local db.example.com']],
  ['1.1.96.10.in-addr.arpa', 'PTR', ['PTR 1.1.96.10.in-addr.arpa web.default.svc.cluster.local']],
  ['1.0.1.10.in-addr.arpa', 'PTR', ['PTR 1.0.1.10.in-addr.arpa db-0.db.default.svc.cluster.local']],
  [
    '1.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa',
    'PTR',
    ['PTR 1.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa web.default.svc.cluster.local'],
  ],
  ['10-1-0-7.apps.pod.cluster.local', 'A', ['A 10-1-0-7.apps.pod.cluster.local 10.1.0.7']],
  ['fd00--7.apps.pod.cluster.local', 'AAAA', ['AAAA fd00--7.apps.pod.cluster.local fd00::7']],
  ['dns-version.cluster.local', 'TXT', ['TXT dns-version.cluster.local 1.1.0']],
  ['cluster.local', 'NS', ['NS cluster.local ns.dns.cluster.local']],
  ['ns.dns.cluster.local', 'A', ['A ns.dns.cluster.local 10.96.0.10']],
] as const)
  t.test(`${type} of ${name}`, async t => {
    const reply = ask(name, type)
    t.match(reply, { rcode: 'NOERROR', authoritative: true, texts: expected, authorities: [] })
    if (reply !== 'forward') t.equal(reply.texts.length, expected.length)
  })

for (const [why, name, type] of [
  ['a Service of one family has no address of the other', 'four.default.svc.cluster.local', 'AAAA'],
  ['a Service has no MX', 'web.default.svc.cluster.local', 'MX'],
  ['a headless Service without ready endpoints exists all the same', 'empty.default.svc.cluster.local', 'A'],
  ['a namespace exists by what is in it', 'default.svc.cluster.local', 'A'],
  ['a namespace exists for pods too', 'apps.pod.cluster.local', 'A'],
  ['svc has names below it', 'svc.cluster.local', 'A'],
  ['a protocol with ports has names below it', '_tcp.web.default.svc.cluster.local', 'SRV'],
  ['a port has no address', '_http._tcp.web.default.svc.cluster.local', 'A'],
] as const)
  t.test(`NODATA with the SOA: ${why}`, async t =>
    t.match(ask(name, type), { rcode: 'NOERROR', answers: [], authorities: [{ type: 'SOA', name: 'cluster.local' }] }),
  )

for (const [why, name, type] of [
  ['there is no such Service', 'nope.default.svc.cluster.local', 'A'],
  ['there is no such namespace', 'web.other.svc.cluster.local', 'A'],
  ['a search domain was added to a name of the world', 'example.com.default.svc.cluster.local', 'A'],
  ['an endpoint that is not ready has no name', 'db-2.db.default.svc.cluster.local', 'A'],
  ['endpoints of a Service with a cluster IP have none', '10-1-0-9.web.default.svc.cluster.local', 'A'],
  ['there is no such port', '_ftp._tcp.web.default.svc.cluster.local', 'SRV'],
  ['the port has another protocol', '_http._udp.web.default.svc.cluster.local', 'SRV'],
  ['a port without a name has no SRV', '_81._tcp.web.default.svc.cluster.local', 'SRV'],
  ['no pod has the address', '10-1-0-8.apps.pod.cluster.local', 'A'],
  ['the pod with the address is in another namespace', '10-1-0-7.default.pod.cluster.local', 'A'],
  ['what is no address is no pod', 'p.apps.pod.cluster.local', 'A'],
  ['the domain has nothing else', 'www.cluster.local', 'A'],
] as const)
  t.test(`NXDOMAIN with the SOA: ${why}`, async t =>
    t.match(ask(name, type), { rcode: 'NXDOMAIN', authoritative: true, answers: [], authorities: [{ type: 'SOA' }] }),
  )

for (const [name, type] of [
  ['example.com', 'A'],
  ['notcluster.local', 'A'],
  ['8.8.8.8.in-addr.arpa', 'PTR'],
  ['9.0.1.10.in-addr.arpa', 'PTR'],
  ['168.192.in-addr.arpa', 'SOA'],
  ['.', 'NS'],
] as const)
  t.test(`${type} of ${name} is asked elsewhere`, async t => t.equal(ask(name, type), 'forward'))

t.test('an address of the service range that is nobody’s is known to have no name', async t =>
  t.match(ask('99.99.96.10.in-addr.arpa', 'PTR'), { rcode: 'NXDOMAIN', answers: [] }),
)

t.test('an alias says what else the client wants, unless it wants the alias', async t => {
  t.match(ask('ext.default.svc.cluster.local', 'AAAA'), { alias: 'db.example.com' })
  t.notHas(ask('ext.default.svc.cluster.local', 'CNAME'), { alias: String })
  t.match(ask('broken.default.svc.cluster.local', 'A'), { rcode: 'SERVFAIL' }, 'a name that fits no packet')
})

t.test('an SRV brings the addresses of its targets along', async t => {
  const target = 'db-0.db.default.svc.cluster.local'
  t.match(ask('_http._tcp.db.default.svc.cluster.local', 'SRV'), {
    more: [`A ${target} 10.1.0.1`, 'A 10-1-0-2.db.default.svc.cluster.local 10.1.0.2', `AAAA ${target} fd00::1`],
  })
})

t.test('before everything is known nothing is denied', async t =>
  t.match(answer({ name: 'web.default.svc.cluster.local', type: 'A' }, unsynced, config), {
    rcode: 'SERVFAIL',
    authoritative: false,
  }),
)

t.test('the zone follows its sources', async t => {
  const name = 'new.default.svc.cluster.local'
  services.put(service('new', { clusterIP: '10.96.1.9' }))
  t.match(ask(name, 'A'), { rcode: 'NOERROR' })
  services.put(service('new', { clusterIP: '10.96.1.8' }))
  t.match(ask('9.1.96.10.in-addr.arpa', 'PTR'), { rcode: 'NXDOMAIN' })
  t.match(ask('8.1.96.10.in-addr.arpa', 'PTR'), { rcode: 'NOERROR' })
  services.remove('default', 'new')
  t.match(ask(name, 'A'), { rcode: 'NXDOMAIN' })
  t.match(ask('8.1.96.10.in-addr.arpa', 'PTR'), { rcode: 'NXDOMAIN' })
})
