import t from 'tap'
import { parseConf } from './conf.ts'
import { cniCodes } from './spec.ts'

const base = { cniVersion: '1.0.0', name: 'pods', type: 'nodelet', subnets: ['10.0.0.0/24'] }
const parse = (more: object) => parseConf(JSON.stringify({ ...base, ...more }))

t.test('defaults', async t =>
  t.match(parse({}), {
    ...{ cniVersion: '1.0.0', dataDir: '/var/lib/nodelet/cni', ports: [], bandwidth: undefined, prevResult: undefined },
    network: {
      ...{ bridge: 'nodelet0', mtu: 0, ipMasq: true, hairpinMode: true, promiscMode: false, nonMasqueradeCIDRs: [], routes: [] },
      ranges: [[{ subnet: '10.0.0.0/24' }]],
    },
  }),
)

t.test('a host port of 0 is none, and protocols are read in any case', async t => {
  const portMappings = [
    { hostPort: 0, containerPort: 80 },
    { hostPort: 53, containerPort: 5353, protocol: 'UDP', hostIP: '::' },
  ]
  t.same(parse({ runtimeConfig: { portMappings } }).ports, [{ hostPort: 53, containerPort: 5353, protocol: 'udp', hostIP: '::' }])
})

t.test('a runtime that has nothing to say says null', async t =>
  t.match(parse({ runtimeConfig: { portMappings: null, bandwidth: null }, prevResult: null }), {
    ports: [],
    bandwidth: undefined,
  }),
)

t.test('valid attachments', async t =>
  t.same(parse({ 'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }] }).validAttachments, [
    { containerId: 'a', ifname: 'eth0' },
  ]),
)

t.test('loopback needs no range', async t => t.equal(parse({ type: 'loopback', subnets: undefined }).type, 'loopback'))

for (const [name, more, code, message] of [
  ['no range', { subnets: [] }, cniCodes.invalidConfig, /at least one range/],
  ['a range that is none', { subnets: ['10.0.0.0'] }, cniCodes.invalidConfig, /subnets\.0: is not an address range/],
  ['a range without room for a pod', { subnets: ['10.0.0.0/32'] }, cniCodes.invalidConfig, /too small/],
  [
    'a gateway outside',
    { ranges: [[{ subnet: '10.1.0.0/24', gateway: '10.2.0.1' }]] },
    cniCodes.invalidConfig,
    /gateway 10.2.0.1 is not a usable address of subnet 10.1.0.0\/24/,
  ],
  [
    'a range that ends before it starts',
    { ranges: [[{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.9', rangeEnd: '10.1.0.3' }]] },
    cniCodes.invalidConfig,
    /behind/,
  ],
  [
    'ranges that overlap',
    { subnets: ['10.0.0.0/24', '10.0.0.128/25'] },
    cniCodes.invalidConfig,
    /10.0.0.0\/24 and 10.0.0.128\/25 overlap/,
  ],
  ['a set of two families', { ranges: [[{ subnet: '10.1.0.0/24' }, { subnet: 'fd00::/64' }]] }, cniCodes.invalidConfig, /mixes/],
  ['a bridge name that is too long', { bridge: 'a-name-of-sixteen' }, cniCodes.invalidConfig, /bridge/],
  ['a bridge name with a command in it', { bridge: 'br0\nlink del lo' }, cniCodes.invalidConfig, /bridge/],
  [
    'a port that is none',
    { runtimeConfig: { portMappings: [{ hostPort: 70_000, containerPort: 80 }] } },
    cniCodes.invalidConfig,
    /portMappings\.0\.hostPort/,
  ],
  [
    'an unknown protocol',
    { runtimeConfig: { portMappings: [{ hostPort: 7, containerPort: 80, protocol: 'icmp' }] } },
    cniCodes.invalidConfig,
    /protocol/,
  ],
  ['a relative folder', { dataDir: 'data' }, cniCodes.invalidConfig, /dataDir/],
  ['a version from the future', { cniVersion: '2.0.0' }, cniCodes.incompatibleVersion, /2.0.0 is not spoken/],
  ['a version from the past', { cniVersion: '0.2.0' }, cniCodes.incompatibleVersion, /0.2.0/],
] as const)
  t.test(`${name} is refused with code ${code}`, async t => {
    t.throws(() => parse(more), { cniCode: code, message })
  })

t.test('text that is no JSON is refused with code 6', async t => {
  t.throws(() => parseConf('{'), { cniCode: cniCodes.undecodable, message: /not JSON/ })
})

t.test('capabilities are read in any case: containerd writes them as its structs name them', async t => {
  const portMappings = [{ HostPort: 8088, ContainerPort: 8080, Protocol: 'TCP', HostIP: '' }]
  const bandwidth = { IngressRate: 1000, IngressBurst: 2000, EgressRate: 0, EgressBurst: 0 }
  const conf = parse({ runtimeConfig: { portMappings, bandwidth } })
  t.same(conf.ports, [{ hostPort: 8088, containerPort: 8080, protocol: 'tcp', hostIP: '' }])
  t.same(conf.bandwidth, { ingressRate: 1000, ingressBurst: 2000, egressRate: 0, egressBurst: 0 })
})
