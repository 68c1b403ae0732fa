// Policy decided once: which frontends a Service has, and what each lane does. What packets meet is the contract's.
import t from 'tap'
import type { Service, ServiceSpec } from '../api/service-types.ts'
import { balancedService as balanced, service, slice } from './backend.contract.ts'
import { type Frontend, toFrontends } from './model.ts'

const node = { name: 'node-1', zone: '', ips: ['192.168.50.1'] }
const ready = { ready: true }
const frontends = (one: Service, endpoints: Parameters<typeof slice>[1] = { a: ready }) =>
  toFrontends(one, [slice('IPv4', endpoints)], 'IPv4', node)
const brief = ({ kind, ip, protocol, port }: Frontend) => `${kind} ${ip || '*'} ${protocol} ${port}`

t.test('a load balancer Service answers on all of its addresses, by every port', async t2 => {
  t2.same(frontends(balanced('IPv4')).map(brief), [
    'cluster-ip 10.96.0.10 TCP 80',
    'external-ip 203.0.113.5 TCP 80',
    'load-balancer 203.0.113.9 TCP 80',
    'node-port * TCP 30080',
    'cluster-ip 10.96.0.10 UDP 80',
    'external-ip 203.0.113.5 UDP 80',
    'load-balancer 203.0.113.9 UDP 80',
    'node-port * UDP 30080',
  ])
})

const nothing: readonly (readonly [string, Service])[] = [
  ['a headless Service', service('IPv4', { clusterIP: 'None', clusterIPs: ['None'] })],
  ['an ExternalName', service('IPv4', { type: 'ExternalName' })],
  ['a Service of the other family', service('IPv6')],
  ['a Service without an address yet', service('IPv4', { clusterIP: '', clusterIPs: [] })],
  [
    'a Service of another proxy',
    {
      ...service('IPv4'),
      metadata: { namespace: 'default', name: 'web', labels: { 'service.kubernetes.io/service-proxy-name': 'other' } },
    },
  ],
]
for (const [name, one] of nothing) t.test(`${name} has nothing to route`, async t2 => t2.same(frontends(one), []))

const lanes: readonly (readonly [string, Partial<ServiceSpec>, Parameters<typeof slice>[1], object])[] = [
  ['cluster policy masquerades what comes from outside', {}, { a: ready }, { masquerade: 'always', inside: undefined }],
  [
    'Local keeps the source',
    { externalTrafficPolicy: 'Local' },
    { a: ready },
    { masquerade: 'never', lane: { otherwise: 'drop' } },
  ],
  [
    'Local without an endpoint here drops outside, and lets this node go on',
    { externalTrafficPolicy: 'Local' },
    { remote: ready },
    { lane: { to: [], otherwise: 'drop' }, inside: { to: [{ ip: '10.244.2.11' }] } },
  ],
  [
    'nobody anywhere rejects, whatever the policy',
    { externalTrafficPolicy: 'Local' },
    {},
    { lane: { to: [], otherwise: 'reject' }, inside: undefined },
  ],
]
for (const [name, spec, endpoints, expected] of lanes)
  t.test(name, async t2 => {
    const external = frontends(balanced('IPv4', spec), endpoints).filter(({ kind }) => kind !== 'cluster-ip')
    for (const frontend of external) t2.match(frontend, expected, brief(frontend))
  })

t.test('affinity lasts three hours unless the Service says otherwise', async t2 => {
  t2.equal(frontends(service('IPv4', { sessionAffinity: 'ClientIP' }))[0]?.affinitySeconds, 10_800)
})

t.test('the balancer address may call itself where the node may', async t2 => {
  const ranges = (list: string[]) =>
    frontends(balanced('IPv4', { loadBalancerSourceRanges: list })).find(({ kind }) => kind === 'load-balancer')?.sourceRanges
  t2.same(ranges(['192.168.50.0/24']), ['192.168.50.0/24', '203.0.113.9/32'])
  t2.same(ranges(['10.0.0.0/8']), ['10.0.0.0/8'])
  t2.equal(ranges(['0.0.0.0/0', '10.0.0.0/8']), undefined, 'everybody is no restriction')
  t2.same(ranges(['fd00::/8']), [], 'ranges of the other family only: nobody')
})

t.test('slices of a wrong family, port or address are passed over', async t2 => {
  const wrong = { ...slice('IPv6', { a: ready }), addressType: 'IPv4' as const }
  t2.same(toFrontends(service('IPv4'), [wrong], 'IPv4', node)[0]?.lane, { to: [], otherwise: 'reject' })
})

t.test('an endpoint that stands in two slices counts once, as the healthier one', async t2 => {
  const [frontend] = toFrontends(
    service('IPv4'),
    [slice('IPv4', { a: { ready: false } }), slice('IPv4', { a: ready })],
    'IPv4',
    node,
  )
  t2.same(frontend?.lane.to, [{ ip: '10.244.1.11', port: 8080, local: true }])
})
