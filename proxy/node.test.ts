// What the proxy reads of its Node: the addresses that serve node ports, pod ranges, zone, and the taint of a node that is about to go.
import t from 'tap'
import { isEligible, nodeIPsOf, type ProxyNode, podCIDRsOf, zoneOf } from './node.ts'

const node = (fields: Partial<ProxyNode> = {}): ProxyNode => ({ metadata: { name: 'a' }, ...fields })
const addresses = (...pairs: readonly (readonly [string, string])[]): ProxyNode =>
  node({ status: { addresses: pairs.map(([type, address]) => ({ type, address })) } })

for (const [name, given, expected] of [
  ['a node that is not there has none', undefined, []],
  ['a node that nobody has reported has none', node(), []],
  ['the internal address is the primary one', addresses(['ExternalIP', '203.0.113.1'], ['InternalIP', '10.0.0.1']), ['10.0.0.1']],
  [
    'the first of the other family is the second',
    addresses(['InternalIP', '10.0.0.1'], ['InternalIP', '10.0.0.2'], ['InternalIP', 'fd00::1'], ['ExternalIP', 'fd00::2']),
    ['10.0.0.1', 'fd00::1'],
  ],
  ['a node of IPv6 begins with it', addresses(['InternalIP', 'fd00::1'], ['ExternalIP', '10.0.0.1']), ['fd00::1', '10.0.0.1']],
  [
    'names and nonsense are no addresses',
    addresses(['Hostname', 'a'], ['InternalIP', 'x'], ['ExternalIP', '1.2.3.4']),
    ['1.2.3.4'],
  ],
] as const)
  t.test(`addresses: ${name}`, async t => t.same(nodeIPsOf(given), expected))

t.test('pod ranges are those of both families, or the one', async t => {
  t.same(podCIDRsOf(node({ spec: { podCIDR: '10.244.0.0/24', podCIDRs: ['10.244.0.0/24', 'fd00::/64'] } })), [
    '10.244.0.0/24',
    'fd00::/64',
  ])
  t.same(podCIDRsOf(node({ spec: { podCIDR: '10.244.0.0/24' } })), ['10.244.0.0/24'])
  t.same(podCIDRsOf(undefined), [])
  t.equal(zoneOf(node({ metadata: { name: 'a', labels: { 'topology.kubernetes.io/zone': 'z' } } })), 'z')
  t.equal(zoneOf(undefined), '')
})

for (const [name, given, expected] of [
  ['a node as any other gets connections', node({ spec: { taints: [{ key: 'node.kubernetes.io/not-ready' }] } }), true],
  [
    'one that the autoscaler takes away gets none',
    node({ spec: { taints: [{ key: 'ToBeDeletedByClusterAutoscaler' }] } }),
    false,
  ],
  ['nor does one that is being deleted', node({ metadata: { name: 'a', deletionTimestamp: '2026-01-01T00:00:00Z' } }), false],
  ['nor one that is not there', undefined, false],
] as const)
  t.test(`eligible: ${name}`, async t => t.equal(isEligible(given), expected))
