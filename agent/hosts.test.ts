import t from 'tap'
import type { Pod, PodSpec } from '../api/types.ts'
import { hostNetworkHostsFile, podHostsFile, podName, sandboxHostname } from './hosts.ts'

const podOf = (spec: Partial<PodSpec> & { hostnameOverride?: string }, name = 'web-0'): Pod => ({
  metadata: { name, namespace: 'shop', uid: 'u' },
  spec: { containers: [], ...spec },
})
const x = (count: number) => 'x'.repeat(count)

for (const [name, pod, expected] of [
  ['a pod is called as it is named', podOf({}), { hostname: 'web-0', domain: '' }],
  ['hostname comes before the name', podOf({ hostname: 'db' }), { hostname: 'db', domain: '' }],
  [
    'a subdomain makes a domain of the cluster',
    podOf({ subdomain: 'nodes' }),
    { hostname: 'web-0', domain: 'nodes.shop.svc.cluster.local' },
  ],
  ['a long name is cut at 63 characters', podOf({}, x(70)), { hostname: x(63), domain: '' }],
  ['a cut name does not end in a dash or a dot', podOf({}, `${x(60)}-.-${x(9)}`), { hostname: x(60), domain: '' }],
  [
    'hostnameOverride comes before all, and leaves no domain',
    podOf({ hostname: 'a', subdomain: 'b', hostnameOverride: 'my.own.name' }),
    { hostname: 'my.own.name', domain: '' },
  ],
] as const)
  t.test(name, async t => {
    t.same(podName(pod, 'cluster.local'), expected)
  })

for (const [spec, message] of [
  [{ hostname: 'a.b' }, 'pod Hostname "a.b" is not a valid DNS label'],
  [{ subdomain: 'B' }, 'pod Subdomain "B" is not a valid DNS label'],
  [{ hostnameOverride: 'a..b' }, 'pod HostnameOverride "a..b" is not a valid DNS subdomain'],
] as const)
  t.test(`refused: ${message}`, async t => {
    t.throws(() => podName(podOf(spec), 'cluster.local'), { message, code: 'container-config' })
  })

t.test('the sandbox is called by the short name unless the pod wants the full one and has one', async t => {
  t.equal(sandboxHostname(podOf({ subdomain: 'nodes' }), 'cluster.local'), 'web-0')
  t.equal(sandboxHostname(podOf({ setHostnameAsFQDN: true }), 'cluster.local'), 'web-0')
  t.equal(
    sandboxHostname(podOf({ subdomain: 'nodes', setHostnameAsFQDN: true }), 'cluster.local'),
    'web-0.nodes.shop.svc.cluster.local',
  )
})

t.test('a full name of 64 characters fits the kernel, one of 65 is refused', async t => {
  const rest = '.s.shop.svc.cluster.local'.length
  const pod = (length: number) => podOf({ subdomain: 's', setHostnameAsFQDN: true, hostname: x(length - rest) })
  t.equal(sandboxHostname(pod(64), 'cluster.local').length, 64)
  t.throws(() => sandboxHostname(pod(65), 'cluster.local'), {
    message: /is too long \(64 characters is the max, 65 characters requested\)$/,
  })
})

const localhost =
  '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n' +
  'fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n'
const hostAliases = [
  { ip: '192.0.2.7', hostnames: ['foo', 'foo.local'] },
  { ip: '192.0.2.8', hostnames: ['bar'] },
]
const aliases = '\n# Entries added by HostAliases.\n192.0.2.7\tfoo\tfoo.local\n192.0.2.8\tbar\n'

t.test('the hosts file of a pod has its addresses, its names and its aliases', async t => {
  const ips = ['10.1.0.5', 'fd00::5']
  t.equal(
    podHostsFile(podOf({}), { hostname: 'web-0', domain: '' }, ips),
    `# Kubernetes-managed hosts file.\n${localhost}10.1.0.5\tweb-0\nfd00::5\tweb-0\n`,
  )
  t.equal(
    podHostsFile(podOf({ hostAliases }), { hostname: 'web-0', domain: 'd.e' }, ['10.1.0.5']),
    `# Kubernetes-managed hosts file.\n${localhost}10.1.0.5\tweb-0.d.e\tweb-0\n${aliases}`,
  )
})

t.test("on the node's network it is the node's file with the pod's aliases", async t => {
  t.equal(
    hostNetworkHostsFile(podOf({ hostAliases }), '127.0.0.1 localhost\n'),
    `# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n${aliases}`,
  )
})
