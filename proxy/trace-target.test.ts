// Which Service a trace is about, by name and by address; what is said when there is none; and what is wrong with a Service as a whole.
import t from 'tap'
import type { EndpointSlice, Service } from '../api/service-types.ts'
import { addresses, balancedService, service, slice } from './backend.contract.ts'
import { toFrontends } from './model.ts'
import { parseAddressPort, resolveTarget, serviceNotes } from './trace-target.ts'
import type { TraceQuery } from './trace-types.ts'

const { IPv4: v4 } = addresses
const node = { name: 'node-1', zone: '', ips: [v4.node] }
const named = (one: Service, name: string, namespace = 'default'): Service => ({ ...one, metadata: { namespace, name } })
const other = named(service('IPv4', { clusterIP: '10.96.0.11', clusterIPs: ['10.96.0.11'] }), 'api', 'prod')
const slices: readonly EndpointSlice[] = [slice('IPv4', { a: { ready: true } })]
const cluster = { services: [balancedService('IPv4'), other], slices, node, families: ['IPv4', 'IPv6'] as const }
const ask = (target: string, more: Partial<TraceQuery> = {}): TraceQuery => ({
  ...{ target, namespace: 'default', from: undefined, protocol: undefined },
  ...more,
})
const resolve = (query: TraceQuery, at = cluster) => {
  const found = resolveTarget(query, at)
  if ('notes' in found) return found.notes
  return found.flatMap(({ service: { metadata }, frontends }) =>
    frontends.map(({ ip, port, protocol }) => `${metadata.namespace}/${metadata.name} ${ip || '*'}:${port} ${protocol}`),
  )
}

const tcp = { protocol: 'TCP' } as const
const targets: readonly (readonly [string, TraceQuery, readonly string[]])[] = [
  [
    'a name means every address',
    ask('web', tcp),
    ['10.96.0.10:80', '203.0.113.5:80', '203.0.113.9:80', '*:30080'].map(it => `default/web ${it} TCP`),
  ],
  [
    'as kubectl writes it',
    ask('svc/web:udp'),
    ['10.96.0.10:80', '203.0.113.5:80', '203.0.113.9:80', '*:30080'].map(it => `default/web ${it} UDP`),
  ],
  ['with its namespace', ask('prod/api', tcp), ['prod/api 10.96.0.11:80 TCP']],
  ['in the namespace that is given', ask('api:80', { ...tcp, namespace: 'prod' }), ['prod/api 10.96.0.11:80 TCP']],
  ['a cluster IP and port', ask('10.96.0.10:80'), ['default/web 10.96.0.10:80 TCP', 'default/web 10.96.0.10:80 UDP']],
  ['an external IP', ask('203.0.113.5:80', tcp), ['default/web 203.0.113.5:80 TCP']],
  ['the address of a load balancer', ask('203.0.113.9:80', tcp), ['default/web 203.0.113.9:80 TCP']],
  ['the node with a node port', ask(`${v4.node}:30080`, tcp), ['default/web *:30080 TCP']],
]
t.test('targets', async t => {
  for (const [name, query, expected] of targets) t.test(name, async t => t.same(resolve(query), expected))
})

const unclaimed: readonly (readonly [string, TraceQuery, RegExp])[] = [
  [
    'a port that the Service does not have',
    ask('10.96.0.10:81'),
    /belongs to default\/web, which has no port 81 \(it has 80\/TCP, 80\/UDP\): .* rejected/,
  ],
  ['a node port that nobody has', ask(`${v4.node}:31000`), /is this node, and no Service has node port 31000/],
  ['an endpoint itself', ask(`${v4.endpoints.a}:8080`), /is an endpoint of default\/web: a packet to it goes there as it is/],
  ['an address that nobody has', ask('1.2.3.4:80'), /no Service has the address 1\.2\.3\.4: no rule/],
]
t.test('an address that no Service takes says what becomes of the packet', async t => {
  for (const [name, query, words] of unclaimed) t.test(name, async t => t.match(resolve(query), [words]))
})

const refusals: readonly (readonly [string, TraceQuery, { code: string; message: string | RegExp }])[] = [
  [
    'a name in another namespace is pointed to',
    ask('api'),
    { code: 'not-found', message: 'service "default/api" not found; there is prod/api' },
  ],
  ['a mistyped one too', ask('wbe'), { code: 'not-found', message: /; there is (default\/)?web$/ }],
  [
    'a port that it does not have',
    ask('web:metrics'),
    { code: 'not-found', message: /has no such port; it has tcp \(80\/TCP\), udp/ },
  ],
  ['an address without a port', ask('10.96.0.10'), { code: 'bad-config', message: /such as 10\.96\.0\.10:80$/ }],
  ['an IPv6 one without brackets', ask('fd00::1'), { code: 'bad-config', message: /such as \[fd00::1\]:80$/ }],
]
t.test('what cannot be asked', async t => {
  for (const [name, query, fault] of refusals) t.test(name, async t => t.throws(() => resolve(query), fault))
})

t.test('addresses are compared in one spelling', async t => {
  t.same(parseAddressPort('[FD00:0::1]:443'), { ip: 'fd00::1', port: 443 })
  t.equal(parseAddressPort('web:80'), undefined)
  t.throws(() => parseAddressPort('10.0.0.1:70000'), { code: 'bad-config' })
})

const notes: readonly (readonly [string, Service, readonly EndpointSlice[], readonly RegExp[]])[] = [
  ['one that is well', service('IPv4'), slices, []],
  ['a headless one', service('IPv4', { clusterIP: 'None', clusterIPs: ['None'] }), slices, [/^it is headless/]],
  [
    'an ExternalName',
    service('IPv4', { type: 'ExternalName', externalName: 'x.example' }),
    slices,
    [/^it is a name for x\.example/],
  ],
  [
    'one of another proxy',
    { ...service('IPv4'), metadata: { name: 'web', labels: { 'service.kubernetes.io/service-proxy-name': 'mesh' } } },
    slices,
    [/^it is left to another proxy, .*: mesh$/],
  ],
  ['one without slices', service('IPv4'), [], [/^it has no EndpointSlice/]],
  [
    'one with slices of the other family',
    service('IPv4'),
    [slice('IPv6', { a: {} })],
    [/^it has no EndpointSlice for IPv4, only for IPv6$/],
  ],
  [
    'one whose slices name the port otherwise',
    service('IPv4', { ports: [{ name: 'http', port: 80 }] }),
    slices,
    [/^its EndpointSlices have no port "http", only "tcp", "udp"$/],
  ],
  [
    'one that publishes those not ready',
    service('IPv4', { publishNotReadyAddresses: true }),
    slices,
    [/^publishNotReadyAddresses/],
  ],
]
t.test('what is wrong with a Service as a whole', async t => {
  for (const [name, one, own, expected] of notes)
    t.test(name, async t => {
      const told = serviceNotes({ service: one, slices: own, frontends: toFrontends(one, own, 'IPv4', node) })
      t.match(told, expected)
      t.equal(told.length, expected.length)
    })
})
