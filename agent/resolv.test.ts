import t from 'tap'
import type { Pod, PodSpec } from '../api/types.ts'
import { type DnsInput, parseResolv, podDns } from './resolv.ts'

const nodeResolv = 'nameserver 192.0.2.53\nsearch corp.example example.com.\noptions ndots:2 rotate\n'
const inputOf = (spec: Partial<PodSpec>, more: Partial<DnsInput> = {}): DnsInput => {
  const pod: Pod = { metadata: { name: 'p', namespace: 'shop', uid: 'u' }, spec: { containers: [], ...spec } }
  return { pod, nodeResolv, clusterDNS: ['10.96.0.10'], clusterDomain: 'cluster.local', nodeIPs: ['192.0.2.1'], ...more }
}
const cluster = {
  servers: ['10.96.0.10'],
  searches: ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'corp.example', 'example.com'],
  options: ['ndots:5'],
}
const node = { servers: ['192.0.2.53'], searches: ['corp.example', 'example.com'], options: ['ndots:2', 'rotate'] }

for (const [name, content, expected] of [
  [
    'servers add up',
    'nameserver 1.1.1.1\n  nameserver   2.2.2.2  x\n',
    { servers: ['1.1.1.1', '2.2.2.2'], searches: [], options: [] },
  ],
  ['the last search line counts', 'search a b\nsearch c. .\n', { servers: [], searches: ['c'], options: [] }],
  [
    'the last of an option counts',
    'options ndots:1 rotate\noptions ndots:3\n',
    { servers: [], searches: [], options: ['ndots:3', 'rotate'] },
  ],
  [
    'comments and other keywords are passed over',
    '# nameserver 1.1.1.1\n#search x\nsortlist 1\n\nnameserver\n',
    { servers: [], searches: [], options: [] },
  ],
  ['tabs separate too', 'nameserver\t1.1.1.1\r\n', { servers: ['1.1.1.1'], searches: [], options: [] }],
] as const)
  t.test(`resolv.conf: ${name}`, async t => {
    t.same(parseResolv(content), expected)
  })

for (const [name, input, expected] of [
  ['a pod asks the cluster by default, search domains of the node come last', inputOf({}), cluster],
  ['ClusterFirst on the node network means Default', inputOf({ dnsPolicy: 'ClusterFirst', hostNetwork: true }), node],
  ['ClusterFirstWithHostNet asks the cluster', inputOf({ dnsPolicy: 'ClusterFirstWithHostNet', hostNetwork: true }), cluster],
  ["Default is the node's", inputOf({ dnsPolicy: 'Default' }), node],
  ['None is empty', inputOf({ dnsPolicy: 'None' }), { servers: [], searches: [], options: [] }],
  [
    "without a cluster domain the search list is the node's",
    inputOf({}, { clusterDomain: '' }),
    { ...cluster, searches: node.searches },
  ],
  [
    'without resolv.conf Default asks the local machine',
    inputOf({ dnsPolicy: 'Default' }, { nodeResolv: undefined, nodeIPs: ['192.0.2.1', 'fd00::1'] }),
    { servers: ['127.0.0.1', '::1'], searches: ['.'], options: [] },
  ],
  [
    'without resolv.conf and addresses too',
    inputOf({ dnsPolicy: 'Default' }, { nodeResolv: undefined, nodeIPs: [] }),
    { servers: ['127.0.0.1'], searches: ['.'], options: [] },
  ],
  [
    'without resolv.conf the cluster list stands alone',
    inputOf({}, { nodeResolv: undefined }),
    { ...cluster, searches: cluster.searches.slice(0, 3) },
  ],
  [
    'dnsConfig adds to the policy, nothing twice, its options win',
    inputOf({
      dnsPolicy: 'Default',
      dnsConfig: {
        nameservers: ['192.0.2.53', '192.0.2.54'],
        searches: ['corp.example', 'x.y'],
        options: [{ name: 'ndots', value: '4' }, { name: 'edns0' }],
      },
    }),
    {
      servers: ['192.0.2.53', '192.0.2.54'],
      searches: ['corp.example', 'example.com', 'x.y'],
      options: ['ndots:4', 'rotate', 'edns0'],
    },
  ],
  [
    'dnsConfig is all there is for None',
    inputOf({ dnsPolicy: 'None', dnsConfig: { nameservers: ['192.0.2.9'] } }),
    { servers: ['192.0.2.9'], searches: [], options: [] },
  ],
] as const)
  t.test(name, async t => {
    t.same(podDns(input), { config: expected, warnings: [] })
  })

t.test('a fourth server is left out, with a warning', async t => {
  const { config, warnings } = podDns(
    inputOf({ dnsPolicy: 'None', dnsConfig: { nameservers: ['1.0.0.1', '1.0.0.2', '1.0.0.3', '1.0.0.4'] } }),
  )
  t.same(config.servers, ['1.0.0.1', '1.0.0.2', '1.0.0.3'])
  t.same(warnings, [
    {
      reason: 'DNSConfigForming',
      message:
        'Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 1.0.0.1 1.0.0.2 1.0.0.3',
    },
  ])
})

t.test('search domains are cut at 32, at 2048 characters, and where one is longer than a name may be', async t => {
  const searchesOf = (searches: readonly string[]) => podDns(inputOf({ dnsPolicy: 'None', dnsConfig: { searches } }))
  const many = Array.from({ length: 33 }, (_, index) => `d${index}`)
  t.same(searchesOf(many).config.searches, many.slice(0, 32))
  const long = Array.from({ length: 12 }, (_, index) => `${String(index).padStart(2, '0')}${'x'.repeat(200)}`)
  t.same(searchesOf(long).config.searches, long.slice(0, 10), '10 of 202 characters and the blanks between are 2029')
  t.same(searchesOf(['a', 'x'.repeat(254), 'b']).config.searches, ['a', 'b'])
  for (const searches of [many, long, ['x'.repeat(254)]]) {
    t.match(searchesOf(searches).warnings, [{ reason: 'DNSConfigForming', message: /^Search Line limits were exceeded/ }])
  }
})

t.test('a node without cluster DNS falls back to its own and says so', async t => {
  const { config, warnings } = podDns(inputOf({}, { clusterDNS: [] }))
  t.same(config, node)
  t.match(warnings, [{ reason: 'MissingClusterDNS', message: /^pod: "p_shop\(u\)". .*Falling back to "Default" policy.$/ }])
})
