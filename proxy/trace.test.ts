// What a trace says of a packet's way: by who calls, by policy, and of each endpoint why it is not used. Each case gives a Service, its
// slices and a node, and reads the explanation; that packets meet just this is the contract's and the kernel tests' to show.
import t from 'tap'
import type { Endpoint, EndpointSlice, IPFamily, Service, ServiceSpec } from '../api/service-types.ts'
import { addresses, balancedService, type EndpointState, service, slice } from './backend.contract.ts'
import type { Sight } from './inspect-types.ts'
import { type Frontend, toFrontends } from './model.ts'
import { defaultSettings, type ProxySettings } from './settings.ts'
import { type Surroundings, traceFrontend } from './trace.ts'

const { IPv4: v4, IPv6: v6 } = addresses
const node = { name: 'node-1', zone: 'zone-a', ips: [v4.node, v6.node] }
const settings: ProxySettings = {
  ...defaultSettings,
  nodeIPs: node.ips,
  localTraffic: { by: 'cidr', cidrs: [v4.podRange, v6.podRange] },
}
const ready: EndpointState = { ready: true }
const leaving: EndpointState = { ready: false, serving: true, terminating: true }
const tcp = ['TCP'] as const

interface Case {
  readonly service: Service
  readonly slices: readonly EndpointSlice[]
  readonly kind?: Frontend['kind']
  readonly family?: IPFamily
  readonly from?: readonly string[]
  readonly settings?: Partial<ProxySettings>
  readonly sight?: (frontend: Frontend) => Sight | undefined
}

const explain = ({ kind = 'cluster-ip', family = 'IPv4', from, sight, ...given }: Case) => {
  const frontend = toFrontends(given.service, given.slices, family, node).find(it => it.kind === kind)
  if (frontend === undefined) throw new Error(`no ${kind}`)
  const around: Surroundings = {
    service: given.service,
    slices: given.slices,
    node,
    settings: { ...settings, ...given.settings },
    caller: from && { name: from[0] ?? '', ips: from },
  }
  return traceFrontend(frontend, around, sight?.(frontend))
}

const web = (spec: Partial<ServiceSpec> = {}) => service('IPv4', spec, tcp)
const exposed = (spec: Partial<ServiceSpec> = {}) => balancedService('IPv4', spec)
const web4 = (endpoints: Parameters<typeof slice>[1]) => [slice('IPv4', endpoints, tcp)]
const hinted = (endpoints: readonly Endpoint[]): readonly EndpointSlice[] => [{ ...slice('IPv4', {}, tcp), endpoints }]
const a = v4.endpoints.a
const b = v4.endpoints.b
const remote = v4.endpoints.remote

const ways: readonly (readonly [string, Case, object])[] = [
  [
    'a pod that calls a cluster IP keeps its address',
    { service: web(), slices: web4({ a: ready, remote: ready }), from: [v4.pod] },
    [{ callers: ['pod'], does: 'translate', to: [`${a}:8080`, `${remote}:8080`], masqueraded: false, why: /is a pod/ }],
  ],
  [
    'a pod that may draw itself is told so',
    { service: web(), slices: web4({ a: ready }), from: [a] },
    [{ masqueraded: false, why: /; masqueraded where it draws itself$/ }],
  ],
  [
    'the node and the world are masqueraded on their way to a cluster IP',
    { service: web(), slices: web4({ a: ready }) },
    [
      { callers: ['pod'], masqueraded: false },
      { callers: ['node', 'elsewhere'], masqueraded: true, why: 'the caller is no pod of the cluster' },
    ],
  ],
  [
    'masqueradeAll masquerades pods too',
    { service: web(), slices: web4({ a: ready }), settings: { masqueradeAll: true } },
    [{ callers: ['pod', 'node', 'elsewhere'], masqueraded: true, why: 'masqueradeAll is set' }],
  ],
  [
    'without a way to tell pods nobody is masqueraded',
    { service: web(), slices: web4({ a: ready }), settings: { localTraffic: { by: 'none' } }, from: [v4.pod] },
    [{ callers: ['elsewhere'], masqueraded: false, why: /detectLocalMode/ }],
  ],
  [
    'told by its interface, an address may be of a pod or not',
    { service: web(), slices: web4({ a: ready }), settings: { localTraffic: { by: 'interface', name: 'cni0' } }, from: [v4.pod] },
    [{ callers: ['pod'] }, { callers: ['elsewhere'] }],
  ],
  [
    'loopback and its own addresses are the node',
    { service: web(), slices: web4({ a: ready }), from: ['127.0.0.1'] },
    [{ callers: ['node'], masqueraded: true }],
  ],
  [
    'internalTrafficPolicy Local without an endpoint here drops',
    { service: web({ internalTrafficPolicy: 'Local' }), slices: web4({ remote: ready }) },
    [{ callers: ['pod', 'node', 'elsewhere'], does: 'drop', to: [], why: /leaves no endpoint here/ }],
  ],
  ['nobody at all is a rejection', { service: web(), slices: [] }, [{ does: 'reject', to: [], why: 'there is no endpoint' }]],
  [
    'nobody ready is a rejection that says so',
    { service: web(), slices: web4({ a: { ready: false } }) },
    [{ does: 'reject', why: 'no endpoint is ready' }],
  ],
  [
    'externalTrafficPolicy Cluster masquerades whoever calls',
    { kind: 'node-port', service: exposed(), slices: web4({ a: ready }) },
    [{ callers: ['pod', 'node', 'elsewhere'], masqueraded: true, why: /traffic policy Cluster/ }],
  ],
  [
    'externalTrafficPolicy Local keeps the source of the world, and lets node and pods go everywhere',
    { kind: 'node-port', service: exposed({ externalTrafficPolicy: 'Local' }), slices: web4({ a: ready, remote: ready }) },
    [
      { callers: ['pod'], to: { length: 2 }, masqueraded: false },
      { callers: ['node'], to: { length: 2 }, masqueraded: true, why: /the node calls itself/ },
      { callers: ['elsewhere'], to: [`${a}:8080`], masqueraded: false, why: /keeps the source/ },
    ],
  ],
  [
    'externalTrafficPolicy Local without an endpoint here drops the world only',
    { kind: 'external-ip', service: exposed({ externalTrafficPolicy: 'Local' }), slices: web4({ remote: ready }) },
    [
      { callers: ['pod'], does: 'translate' },
      { callers: ['node'], does: 'translate' },
      { callers: ['elsewhere'], does: 'drop' },
    ],
  ],
  [
    'a caller outside of loadBalancerSourceRanges is dropped',
    {
      kind: 'load-balancer',
      service: exposed({ loadBalancerSourceRanges: ['198.51.100.0/24'] }),
      slices: web4({ a: ready }),
      from: [v4.outside],
    },
    [{ callers: ['elsewhere'], does: 'drop', to: [], why: /none of loadBalancerSourceRanges/ }],
  ],
  [
    'and one inside is not, by the node port neither',
    {
      kind: 'node-port',
      service: exposed({ loadBalancerSourceRanges: ['192.168.50.0/24'] }),
      slices: web4({ a: ready }),
      from: [v4.outside],
    },
    [{ callers: ['elsewhere'], does: 'translate' }],
  ],
]
t.test('the way of a packet', async t => {
  for (const [name, given, outcomes] of ways) t.test(name, async t => t.match(explain(given).outcomes, outcomes))
})

const endpointCases: readonly (readonly [string, Case, readonly (readonly [string, string, RegExp])[]])[] = [
  [
    'one that is not ready',
    { service: web(), slices: web4({ a: ready, b: { ready: false } }) },
    [
      [`${a}:8080`, 'yes', /^on this node$/],
      [`${b}:8080`, 'no', /^not ready$/],
    ],
  ],
  [
    'one that terminates while others are ready',
    { service: web(), slices: web4({ a: ready, b: leaving }) },
    [
      [`${a}:8080`, 'yes', /./],
      [`${b}:8080`, 'no', /^terminating: used only when nobody is ready$/],
    ],
  ],
  [
    'one that terminates while nobody is ready',
    { service: web(), slices: web4({ b: leaving }) },
    [[`${b}:8080`, 'yes', /terminating, but nobody is ready$/]],
  ],
  [
    'one that terminates and has stopped serving',
    { service: web(), slices: web4({ a: ready, b: { ready: false, serving: false, terminating: true } }) },
    [
      [`${a}:8080`, 'yes', /./],
      [`${b}:8080`, 'no', /^terminating, and no longer serving$/],
    ],
  ],
  [
    'one on another node when the policy is Local',
    { service: web({ internalTrafficPolicy: 'Local' }), slices: web4({ a: ready, remote: ready }) },
    [
      [`${a}:8080`, 'yes', /./],
      [`${remote}:8080`, 'no', /^on another node, and the traffic policy is Local$/],
    ],
  ],
  [
    'one on another node that only callers of this node reach',
    { kind: 'node-port', service: exposed({ externalTrafficPolicy: 'Local' }), slices: web4({ a: ready, remote: ready }) },
    [
      [`${a}:8080`, 'yes', /./],
      [`${remote}:8080`, 'inside', /^for callers of this node only: on another node/],
    ],
  ],
  [
    'one that is for another zone',
    {
      service: web({ trafficDistribution: 'PreferSameZone' }),
      slices: hinted([
        { addresses: [a], hints: { forZones: [{ name: 'zone-a' }] } },
        { addresses: [b], hints: { forZones: [{ name: 'zone-b' }] } },
      ]),
    },
    [
      [`${a}:8080`, 'yes', /./],
      [`${b}:8080`, 'no', /^its hints are for zone zone-b, this node is in zone-a$/],
    ],
  ],
  [
    'one that is for another node',
    {
      service: web({ trafficDistribution: 'PreferSameNode' }),
      slices: hinted([
        { addresses: [a], nodeName: 'node-1', hints: { forNodes: [{ name: 'node-1' }] } },
        { addresses: [remote], nodeName: 'node-2', hints: { forNodes: [{ name: 'node-2' }] } },
      ]),
    },
    [
      [`${a}:8080`, 'yes', /./],
      [`${remote}:8080`, 'no', /^its hints are for node node-2, this is node-1$/],
    ],
  ],
  [
    'one with an address of the wrong family',
    { service: web(), slices: hinted([{ addresses: [a] }, { addresses: [v6.endpoints.b], nodeName: 'node-2' }]) },
    [
      [`${a}:8080`, 'yes', /./],
      [v6.endpoints.b, 'no', /^no IPv4 address, which its EndpointSlice is for$/],
    ],
  ],
]
t.test('endpoints, and why they are not used', async t => {
  for (const [name, given, expected] of endpointCases)
    t.test(name, async t => {
      const { endpoints } = explain(given)
      t.match(
        endpoints,
        expected.map(([address, used, why]) => ({ address, used, why })),
      )
      t.equal(endpoints.length, expected.length)
    })
})

t.test('an endpoint names its pod and its node', async t => {
  const slices = hinted([{ addresses: [a], nodeName: 'node-1', targetRef: { kind: 'Pod', namespace: 'default', name: 'web-0' } }])
  t.match(explain({ service: web(), slices }).endpoints, [{ pod: 'default/web-0', node: 'node-1' }])
})

const policies: readonly (readonly [string, Case, readonly string[]])[] = [
  [
    'a cluster IP goes by the internal one',
    { service: web({ internalTrafficPolicy: 'Local' }), slices: [] },
    ['internalTrafficPolicy Local'],
  ],
  [
    'a node port by the external one',
    { kind: 'node-port', service: exposed({ externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Cluster' }), slices: [] },
    ['externalTrafficPolicy Local'],
  ],
  [
    'affinity tells its time',
    {
      service: web({ sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } } }),
      slices: [],
    },
    ['internalTrafficPolicy Cluster', 'clients stay with their endpoint for 60 s'],
  ],
  [
    'source ranges and distribution are named',
    {
      kind: 'load-balancer',
      service: exposed({ loadBalancerSourceRanges: ['10.0.0.0/8'], trafficDistribution: 'PreferSameZone' }),
      slices: [],
    },
    ['externalTrafficPolicy Cluster', 'trafficDistribution PreferSameZone', 'only from 10.0.0.0/8'],
  ],
]
t.test('policies', async t => {
  for (const [name, given, policy] of policies) t.test(name, async t => t.match(explain(given).policy, policy))
})

const piece = { where: 'service-ips', key: '10.96.0.10 . tcp . 80', wanted: 'goto tcp-pick-1', found: 'goto tcp-pick-1' }
const sightOf = (frontend: Frontend, more: Partial<Sight> = {}): Sight => ({
  place: 'table ip nodelet-proxy',
  written: frontend,
  pieces: [piece],
  notAsked: 0,
  remembered: [],
  ...more,
})
const verdicts: readonly (readonly [string, Case['sight'], string, RegExp])[] = [
  ['a kernel that holds all of it', frontend => sightOf(frontend), 'same', /holds what it should$/],
  ['one that holds more than was asked for', frontend => sightOf(frontend, { notAsked: 9 }), 'same', /9 more were not asked for/],
  [
    'one that lacks a piece',
    frontend => sightOf(frontend, { pieces: [piece, { ...piece, found: undefined }] }),
    'differs',
    /differs in 1 of 2 pieces; `nodelet diff`/,
  ],
  ['one that was never told', frontend => sightOf(frontend, { written: undefined }), 'not-written', /nothing of it is written/],
  [
    'one that has not been told of the last change',
    frontend => sightOf(frontend, { written: { ...frontend, affinitySeconds: 5 } }),
    'not-written',
    /last change is not written/,
  ],
  [
    'an address that an older Service has',
    frontend => sightOf(frontend, { written: { ...frontend, service: 'other/first' } }),
    'other-owner',
    /^other\/first has this address and port/,
  ],
  ['a mode that shows nothing', () => undefined, 'unknown', /cannot show single rules/],
]
t.test('verdicts', async t => {
  for (const [name, sight, verdict, words] of verdicts)
    t.test(name, async t =>
      t.match(explain({ service: web(), slices: web4({ a: ready }), ...(sight && { sight }) }), { verdict, verdictText: words }),
    )
})
