// The texts that the plugin gives to ip, tc and nft, and which tracked flows go, as tables; that the kernel takes them shows test/kernel/cni.itest.ts.
import t from 'tap'
import type { Flow } from '../host/conntrack.ts'
import { missingRoutes, podCommands, podZeroSysctls, resultOf } from './addressing.ts'
import { bandwidthCommands, shaperCommands } from './bandwidth.ts'
import { bridgeCommands, bridgeSysctls, pairCommands, portCommands, type ShownLink } from './bridge.ts'
import { parseConf } from './conf.ts'
import { orphansOf } from './gc.ts'
import { tableText } from './masq.ts'
import { hostLinkOf, linkLocalOf, macOf, shaperOf } from './names.ts'
import { addElements, conflictOf, flowPorts, portElements, removeElements, staleFlows } from './portmap.ts'
import type { Attachment } from './store.ts'

const networkOf = (more: object = {}) =>
  parseConf(
    JSON.stringify({ cniVersion: '1.0.0', name: 'pods', type: 'nodelet', subnets: ['10.0.0.0/24', 'fd00::/64'], ...more }),
  ).network
const attachment = (more: Partial<Attachment> = {}): Attachment => ({
  ...{
    containerId: 'abc',
    ifname: 'eth0',
    network: 'pods',
    netns: '/run/netns/x',
    bootId: 'b',
    at: 0,
    hostLink: 'nlp000000000001',
    mac: '0a:00:00:00:00:02',
  },
  addresses: [
    { address: '10.0.0.2/24', gateway: '10.0.0.1' },
    { address: 'fd00::2/64', gateway: 'fd00::1' },
  ],
  ports: [],
  ...more,
})
const shown = (more: Partial<ShownLink> = {}): ShownLink => ({
  ifname: 'nodelet0',
  mtu: 1500,
  flags: ['UP'],
  addr_info: [],
  ...more,
})
const at = (address: string) => {
  const [local = '', prefixlen] = address.split('/')
  return { family: local.includes(':') ? 'inet6' : 'inet', local, prefixlen: Number(prefixlen), scope: 'global' }
}

t.test('names are the same for the same container, fit the kernel, and differ for others', async t => {
  const name = hostLinkOf({ containerId: 'abc', ifname: 'eth0' })
  t.match(name, /^nlp[0-9a-f]{12}$/)
  t.equal(name, hostLinkOf({ containerId: 'abc', ifname: 'eth0' }))
  t.not(name, hostLinkOf({ containerId: 'abc', ifname: 'eth1' }))
  t.equal(shaperOf(name).slice(3), name.slice(3))
  t.match(macOf('abc'), /^0a(:[0-9a-f]{2}){5}$/)
  t.equal(linkLocalOf('0a:58:a9:fe:01:02'), 'fe80::858:a9ff:fefe:102')
})

const none = new Set<string>()
const both = [at('10.0.0.1/24'), at('fd00::1/64')]
for (const [name, seen, commands] of [
  [
    'is made where there is none',
    undefined,
    [
      /^link add nodelet0 address 0a:[0-9a-f:]+ type bridge$/,
      'link set dev nodelet0 addrgenmode none',
      /^addr add fe80::8[0-9a-f]{2}:[0-9a-f]+ff:fe[0-9a-f]{2}:[0-9a-f]+\/64 dev nodelet0 scope link nodad$/,
      'addr add 10.0.0.1/24 dev nodelet0',
      'addr add fd00::1/64 dev nodelet0 nodad',
      'link set dev nodelet0 mtu 1500',
      'link set dev nodelet0 up',
    ],
  ],
  ['that is right is left alone', shown({ addr_info: both }), []],
  ['that is down comes up', shown({ addr_info: both, flags: [] }), ['link set dev nodelet0 up']],
  ['gets the MTU', shown({ addr_info: both, mtu: 1450 }), ['link set dev nodelet0 mtu 1500']],
  [
    'loses the address of a range that nobody uses',
    shown({ addr_info: [at('10.9.0.1/24'), ...both] }),
    ['addr del 10.9.0.1/24 dev nodelet0'],
  ],
  ['keeps its link-local address', shown({ addr_info: [...both, { ...at('fe80::1/64'), scope: 'link' }] }), []],
] as const)
  t.test(`a bridge ${name}`, async t => t.match(bridgeCommands(networkOf(), 1500, seen, none), commands as never))

t.test('a bridge with the address of a range that pods still use is an error that names it', async t => {
  t.throws(() => bridgeCommands(networkOf(), 1500, shown({ addr_info: [at('10.9.0.1/24')] }), new Set(['10.9.0.1/24'])), {
    message: /10.9.0.1\/24 of another range/,
  })
})

t.test('pods come back onto the bridge, others do not', async t => {
  const links = [
    shown({ ifname: 'nlp000000000001' }),
    shown({ ifname: 'nlp000000000002', master: 'nodelet0' }),
    shown({ ifname: 'eth0' }),
  ]
  t.same(portCommands(networkOf({ hairpinMode: false }), links, new Set(['nlp000000000001', 'nlp000000000002'])), [
    'link set dev nlp000000000001 master nodelet0 up',
  ])
})

t.test('kernel settings: each family its own, route_localnet only with hostPorts', async t => {
  const paths = (network: object, ports: boolean) => bridgeSysctls(networkOf(network), ports).map(([path]) => path)
  t.same(paths({ subnets: ['10.0.0.0/24'] }, false), ['net/ipv4/ip_forward'])
  t.same(paths({ subnets: ['10.0.0.0/24'] }, true), ['net/ipv4/ip_forward', 'net/ipv4/conf/nodelet0/route_localnet'])
  t.same(paths({ subnets: ['fd00::/64'] }, true), ['net/ipv6/conf/all/forwarding', 'net/ipv6/conf/nodelet0/accept_ra'])
})

t.test('a pair is made with its inner end in the pod, and its outer end on the bridge', async t =>
  t.match(pairCommands(networkOf(), attachment(), 1450), [
    /^link add nlp000000000001 mtu 1450 address 0a:[0-9a-f:]+ type veth peer name eth0 mtu 1450 address 0a:00:00:00:00:02 netns \/run\/netns\/x$/,
    'link set dev nlp000000000001 master nodelet0 up',
    'link set dev nlp000000000001 type bridge_slave hairpin on',
  ] as never),
)

t.test('a pod is addressed and routed in both families, and routes of the configuration follow', async t => {
  const network = networkOf({ routes: [{ dst: '192.168.0.0/16' }, { dst: '0.0.0.0/0' }, { dst: 'fd99::/64', gw: 'fd00::9' }] })
  t.same(podCommands(network, attachment()), [
    'link set dev lo up',
    'addr add 10.0.0.2/24 dev eth0',
    'addr add fd00::2/64 dev eth0 nodad',
    'link set dev eth0 up',
    'route add 0.0.0.0/0 via 10.0.0.1 dev eth0',
    'route add ::/0 via fd00::1 dev eth0',
    'route add 192.168.0.0/16 via 10.0.0.1 dev eth0',
    'route add fd99::/64 via fd00::9 dev eth0',
  ])
  t.equal(podZeroSysctls(attachment()).length, 3)
  t.same(podZeroSysctls(attachment({ addresses: [{ address: '10.0.0.2/24', gateway: '10.0.0.1' }] })), [])
})

t.test('the result names bridge, host end and pod end', async t =>
  t.match(resultOf(networkOf(), attachment(), { mtu: 1500, bridgeMac: '0a:0b' }), {
    interfaces: [{ name: 'nodelet0', mac: '0a:0b' }, { name: 'nlp000000000001' }, { name: 'eth0', sandbox: '/run/netns/x' }],
    ips: [{ address: '10.0.0.2/24', gateway: '10.0.0.1', interface: 2 }, { interface: 2 }],
    routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }, { dst: '::/0' }],
  }),
)

for (const [name, wanted, seen, missing] of [
  ['a default route is printed as default', { dst: '0.0.0.0/0', gw: '10.0.0.1' }, { dst: 'default', gateway: '10.0.0.1' }, []],
  [
    'through another gateway it is another',
    { dst: '0.0.0.0/0', gw: '10.0.0.1' },
    { dst: 'default', gateway: '10.0.0.9' },
    ['0.0.0.0/0 via 10.0.0.1'],
  ],
  ['a host route is printed without its length', { dst: '10.9.9.9/32' }, { dst: '10.9.9.9' }, []],
  [
    'the IPv4 default is not the IPv6 one',
    { dst: '::/0', gw: 'fd00::1' },
    { dst: 'default', gateway: '10.0.0.1' },
    ['::/0 via fd00::1'],
  ],
] as const)
  t.test(`routes: ${name}`, async t => t.same(missingRoutes([wanted], [seen]), missing))

const mapping = { hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '' } as const
for (const [name, hostIP, elements] of [
  [
    'no hostIP is every address of both families',
    '',
    ['anyports4 tcp . 8080 : 10.0.0.2 . 80', 'anyports6 tcp . 8080 : fd00::2 . 80'],
  ],
  ['0.0.0.0 is every IPv4 address', '0.0.0.0', ['anyports4 tcp . 8080 : 10.0.0.2 . 80']],
  [':: is every IPv6 address', '::', ['anyports6 tcp . 8080 : fd00::2 . 80']],
  ['an address is that address', '192.0.2.1', ['hostports4 192.0.2.1 . tcp . 8080 : 10.0.0.2 . 80']],
  ['an IPv6 address is written canonically', 'FD01:0::1', ['hostports6 fd01::1 . tcp . 8080 : fd00::2 . 80']],
] as const)
  t.test(`hostPort: ${name}`, async t =>
    t.same(
      portElements(attachment({ ports: [{ ...mapping, hostIP }] })).map(({ map, key, target }) => `${map} ${key} : ${target}`),
      elements,
    ),
  )

t.test('a hostPort comes as an element and goes even where it is gone', async t => {
  const elements = portElements(attachment({ ports: [{ ...mapping, hostIP: '0.0.0.0' }] }))
  t.same(addElements(elements), ['add element inet nodelet-cni anyports4 { tcp . 8080 : 10.0.0.2 . 80 }'])
  t.same(removeElements(elements), [...addElements(elements), 'delete element inet nodelet-cni anyports4 { tcp . 8080 }'])
})

for (const [name, ours, theirs, conflict] of [
  ['the same port of the same protocol is taken', mapping, mapping, '8080/tcp'],
  ['of another protocol it is free', { ...mapping, protocol: 'udp' as const }, mapping, undefined],
  ['on another address it is free', { ...mapping, hostIP: '192.0.2.1' }, { ...mapping, hostIP: '192.0.2.2' }, undefined],
  ['on the same address it is taken', { ...mapping, hostIP: '192.0.2.1' }, { ...mapping, hostIP: '192.0.2.1' }, '8080/tcp'],
] as const)
  t.test(`hostPort conflict: ${name}`, async t =>
    t.equal(conflictOf([ours], ['10.0.0.1/24'], [attachment({ ports: [theirs] })])?.mapping, conflict),
  )

const udp = { ...mapping, protocol: 'udp' as const }
const flow = (to: string, answeredBy: string, more: Partial<Flow> = {}): Flow => ({
  ...{ family: 'IPv4', protocol: 'UDP', from: '192.0.2.9', fromPort: 4000, to, toPort: 8080, answeredBy },
  answeredByPort: answeredBy === '10.0.0.2' ? 80 : 8080,
  ...more,
})
const [here, elsewhere] = ['192.0.2.1', '203.0.113.7']
const seenFlows: readonly Flow[] = [
  flow(here, '10.0.0.2'),
  flow(here, '10.0.0.9'),
  flow(here, here),
  flow(elsewhere, elsewhere),
  flow('10.0.0.2', '10.0.0.2', { answeredByPort: 8080 }),
  flow(here, '10.0.0.2', { toPort: 8081 }),
  flow(here, '10.0.0.2', { protocol: 'SCTP' }),
]
for (const [name, hostIP, change, expected] of [
  ['of a pod that is going, those to it', '', { gone: true }, [0]],
  ['of a pod that comes, those that went elsewhere', '', { gone: false, local: new Set([here]) }, [1, 2]],
  ['on one address, without asking which are local', here, { gone: false, local: new Set<string>() }, [1, 2]],
  ['on another address, none', '192.0.2.2', { gone: false, local: new Set([here]) }, []],
] as const)
  t.test(`stale flows: ${name}`, async t => {
    const [port, ...more] = flowPorts(attachment({ ports: [mapping, { ...udp, hostIP }] })).filter(it => it.family === 'IPv4')
    t.equal(more.length, 0, 'TCP has none')
    t.same(
      staleFlows(seenFlows, port!, change).map(it => seenFlows.indexOf(it)),
      expected,
    )
  })

t.test('the table replaces itself, knows the ranges and every hostPort once', async t => {
  const text = tableText([networkOf({ nonMasqueradeCIDRs: ['10.0.0.0/8'] })], [attachment({ ports: [mapping] })])
  t.match(
    text,
    /^add table inet nodelet-cni\n[^{]*set inet nodelet-cni signature[\s\S]*\ndelete table inet nodelet-cni\ntable inet nodelet-cni {\n/,
  )
  t.match(text, /chain hostports {\n {4}ip saddr 10.0.0.0\/24 meta mark set .*\n {4}ip6 saddr fd00::\/64 meta mark set /)
  t.match(
    text,
    /chain leave4 {\n {4}ip daddr 10.0.0.0\/24 return\n {4}ip daddr 10.0.0.0\/8 return\n {4}ip daddr 224.0.0.0\/4 return\n {4}masquerade fully-random\n {2}}/,
  )
  t.match(text, /\n {4}ip saddr 10.0.0.0\/24 jump leave4\n/)
  t.notMatch(text, /interval/, 'what a set of intervals holds is seen later than the rules')
  t.match(text, /map anyports6 .* elements = { tcp . 8080 : fd00::2 . 80 }; }/)
  t.match(text, /iifname "nodelet0" ip daddr 127.0.0.0\/8 drop/)
  t.notMatch(tableText([networkOf({ ipMasq: false })], []), /jump leave/)
})

t.test('bandwidth: what is received on the pair, what is sent on a device beside it; bursts fit tc', async t => {
  const bandwidth = { ingressRate: 1_000_000, ingressBurst: 2_147_483_647, egressRate: 8_000_000, egressBurst: 80_000 }
  t.same(shaperCommands(attachment({ bandwidth }), 1500), [
    'link add nlb000000000001 mtu 1500 type ifb',
    'link set dev nlb000000000001 up',
  ])
  t.same(bandwidthCommands(attachment({ bandwidth })), [
    'qdisc add dev nlp000000000001 root tbf rate 1000000bit burst 25000000 latency 25ms',
    'qdisc add dev nlb000000000001 root tbf rate 8000000bit burst 10000 latency 25ms',
    'qdisc add dev nlp000000000001 handle ffff: ingress',
    'filter add dev nlp000000000001 parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev nlb000000000001',
  ])
  t.same(shaperCommands(attachment({ bandwidth: { ...bandwidth, egressRate: 0 } }), 1500), [])
})

t.test('orphans are interfaces by our names that nobody knows, on our bridges or on none', async t => {
  const links = [
    ...[
      shown({ ifname: 'nlp000000000001', master: 'nodelet0' }),
      shown({ ifname: 'nlp00000000000a', master: 'nodelet0' }),
      shown({ ifname: 'nlp00000000000b' }),
    ],
    ...[
      shown({ ifname: 'nlp00000000000c', master: 'docker0' }),
      shown({ ifname: 'nlb00000000000a' }),
      shown({ ifname: 'nlb000000000001' }),
      shown({ ifname: 'nlptun0' }),
    ],
  ]
  t.same(orphansOf(links, [attachment()], ['nodelet0']), ['nlp00000000000a', 'nlp00000000000b', 'nlb00000000000a'])
})
