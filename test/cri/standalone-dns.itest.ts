// Names as a pod sees them: cluster DNS of the folder's Services, other names forwarded, dnsPolicy, /etc/hosts, host names.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { busyboxImage, webImage } from '../support/images.ts'
import { idle, podOf, service, web } from '../support/manifests.ts'
import { createNode, isReady, nodeIP } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const node = await createNode({
  containerd: { images: [busyboxImage, webImage] },
  config: { resolvConf: '/dev/null' },
  prepare: async dir => {
    await writeFile(`${dir}/resolv.conf`, `nameserver ${nodeIP}\nsearch example.org\noptions timeout:1\n`)
    const config = JSON.parse(await readFile(`${dir}/kubelet.json`, 'utf8'))
    await writeFile(`${dir}/kubelet.json`, JSON.stringify({ ...config, resolvConf: `${dir}/resolv.conf` }))
  },
})
t.setTimeout(0)
t.teardown(() => node.close())

// A name server of the world outside, on the node's own address.
const upstream = node.netns.exec.watch(
  [process.execPath, join(import.meta.dirname, '../support/upstream-dns.ts'), nodeIP],
  () => undefined,
)
t.teardown(() => upstream.stop())

await node.write('web.json', [
  podOf('web', web(), { hostname: 'one', subdomain: 'members' }, { labels: { app: 'web' } }),
  service('web', [{ name: 'http', port: 80, targetPort: 'http' }], { clusterIP: '10.96.8.8' }),
  service('members', [{ name: 'http', port: 80 }], { clusterIP: 'None', selector: { app: 'web' } }),
])
await node.write('client.json', podOf('client', idle()))
const [{ status }] = await Promise.all([node.until('web', isReady), node.until('client', isReady)])
const podIP = status?.podIP ?? ''
/** The addresses that a name has for a program in a pod. */
const lookUp = async (name: string, pod = 'client') => {
  const { stdout } = await node.tryExec(pod, ['nslookup', name])
  return [
    ...stdout
      .split('Name:')
      .slice(1)
      .join('')
      .matchAll(/Address(?: \d+)?: (\d+\.\d+\.\d+\.\d+)(?!:)/g),
  ].map(it => it[1])
}

for (const [name, address] of [
  ['web.default.svc.cluster.local', '10.96.8.8'],
  ['members.default.svc.cluster.local', podIP],
  ['one.members.default.svc.cluster.local', podIP],
  ['kube-dns.kube-system.svc.cluster.local', undefined],
  ['nobody.default.svc.cluster.local', undefined],
  ['outside.example.com', '198.51.100.7'],
] as const) {
  t.test(`${name} is ${address ?? 'nobody'}`, async t => {
    await waitFor('the answer', async () => (await lookUp(name))[0] === address)
    t.same(await lookUp(name), address === undefined ? [] : [address])
  })
}

t.test('short names work by the search domains', async t => {
  for (const name of ['web', 'web.default', 'web.default.svc', 'one.members']) {
    t.equal(await node.exec('client', ['timeout', '5', 'wget', '-qO-', `http://${name}/`]), 'one', name)
  }
})

t.test('a pod of ClusterFirst asks the cluster, with the search domains of its namespace', async t => {
  const text = await node.exec('client', ['cat', '/etc/resolv.conf'])
  t.match(text, /^nameserver 10\.96\.0\.10$/m)
  t.match(text, /^search default\.svc\.cluster\.local svc\.cluster\.local cluster\.local example\.org$/m)
  t.match(text, /^options ndots:5$/m)
})

t.test('the other policies, and dnsConfig over them', async t => {
  const dnsConfig = { nameservers: ['192.0.2.53'], searches: ['mine.example'], options: [{ name: 'ndots', value: '2' }] }
  const host = { hostNetwork: true }
  await node.write('policies.json', [
    podOf('default', idle(), { dnsPolicy: 'Default' }),
    podOf('none', idle(), { dnsPolicy: 'None', dnsConfig }),
    podOf('both', idle(), { dnsConfig }),
    podOf('host', idle(), host),
    podOf('host-first', idle(), { ...host, dnsPolicy: 'ClusterFirstWithHostNet' }),
  ])
  const names = ['default', 'none', 'both', 'host', 'host-first']
  await Promise.all(names.map(it => node.until(it, isReady)))
  const [asNode, none, both, onHost, hostFirst] = await Promise.all(names.map(it => node.exec(it, ['cat', '/etc/resolv.conf'])))
  t.equal(asNode, `search example.org\nnameserver ${nodeIP}\noptions timeout:1`)
  t.equal(none, 'search mine.example\nnameserver 192.0.2.53\noptions ndots:2')
  t.match(both, /^nameserver 10\.96\.0\.10\nnameserver 192\.0\.2\.53$/m)
  t.match(both, /^search default\.svc\.cluster\.local .* mine\.example$/m)
  t.match(both, /^options ndots:2$/m)
  t.match(onHost, new RegExp(`^nameserver ${nodeIP}$`, 'm'), 'ClusterFirst is Default on the host network')
  t.match(hostFirst, /^nameserver 10\.96\.0\.10$/m)
  t.same(await lookUp('web.default.svc.cluster.local', 'host-first'), ['10.96.8.8'])
  await node.remove('policies.json')
  await Promise.all(names.map(it => node.gone(it)))
})

t.test('/etc/hosts: the pod itself and its aliases', async t => {
  const hostAliases = [{ ip: '198.51.100.1', hostnames: ['alias', 'other.alias'] }]
  await node.write('hosts.json', podOf('hosts', idle(), { hostAliases, hostname: 'mine', subdomain: 'members' }))
  const pod = await node.until('hosts', isReady)
  const text = await node.exec('hosts', ['cat', '/etc/hosts'])
  t.match(text, /^# Kubernetes-managed hosts file\.$/m)
  t.match(text, new RegExp(`^${pod.status?.podIP}\tmine\\.members\\.default\\.svc\\.cluster\\.local\tmine$`, 'm'))
  t.match(text, /^198\.51\.100\.1\talias\tother\.alias$/m)
  t.match(text, /^127\.0\.0\.1\tlocalhost$/m)
  t.equal(await node.exec('hosts', ['hostname']), 'mine')
  await node.remove('hosts.json')
  await node.gone('hosts')
})

t.test('setHostnameAsFQDN, and names that are too long for a host', async t => {
  const long = `long-${'x'.repeat(70)}`
  await node.write('names.json', [
    podOf('fqdn', idle(), { setHostnameAsFQDN: true, hostname: 'mine', subdomain: 'members' }),
    podOf(long, idle()),
  ])
  await Promise.all(['fqdn', long].map(it => node.until(it, isReady)))
  t.equal(await node.exec('fqdn', ['hostname']), 'mine.members.default.svc.cluster.local')
  t.equal(await node.exec(long, ['hostname']), long.slice(0, 63))
  await node.remove('names.json')
  await Promise.all(['fqdn', long].map(it => node.gone(it)))
})
