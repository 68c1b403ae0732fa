// Services of the folder in front of pods that run: who answers, from where, and what happens as pods come and go.
// What each rule does to each packet is tried in test/kernel/services.itest.ts.
import t from 'tap'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { busyboxImage, webImage } from '../support/images.ts'
import { hostPrograms, idle, podOf, script, service, web } from '../support/manifests.ts'
import { createNode, isReady, nodeIP } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const node = await createNode({ containerd: { images: [busyboxImage, webImage] } })
t.setTimeout(0)
t.teardown(() => node.close())

const labelled = (app: string) => ({ labels: { app } })
const named = async (name: string) => (await node.list<Service>('/v1/services')).find(it => it.metadata.name === name)
const refused = (url: string) =>
  node.curl(url).then(
    () => undefined,
    error => String(error),
  )
/** Who answers requests, each by a connection of its own. */
const answers = async (ask: () => Promise<string>, count = 12) => {
  const all: string[] = []
  for (let i = 0; i < count; i++) all.push(await ask())
  return new Set(all)
}

// The pods that all tests here share: three that serve, one to ask from.
const names = ['web-1', 'web-2', 'web-3']
const pods = names.map(name => podOf(name, web(), {}, labelled('web')))
await node.write('web.json', [
  ...pods,
  service('web', [{ port: 80, targetPort: 'http' }]),
  service('web-node', [{ port: 80, targetPort: 'http', nodePort: 30_080 }], { type: 'NodePort', selector: { app: 'web' } }),
  service('web-headless', [{ port: 80, targetPort: 'http' }], { clusterIP: 'None', selector: { app: 'web' } }),
])
await node.write(
  'client.json',
  podOf('client', idle({ volumeMounts: hostPrograms.volumeMounts }), { volumes: hostPrograms.volumes }),
)
await Promise.all([...names, 'client'].map(it => node.until(it, isReady)))
const clusterIP = await waitFor('a cluster IP', async () => (await named('web'))?.spec.clusterIP)
const fromPod = (url: string) => node.exec('client', ['timeout', '5', 'wget', '-qO-', url])
const everybody = new Set(names.map(it => `${it}-n1`))

t.test('every ready pod answers on the cluster IP, asked from the node and from a pod', async t => {
  t.match(clusterIP, /^10\.96\.\d+\.\d+$/)
  await waitFor('all of them', async () => (await answers(() => node.curl(`http://${clusterIP}/`), 9)).size === 3)
  t.same(await answers(() => node.curl(`http://${clusterIP}/`), 24), everybody)
  t.same(await answers(() => fromPod(`http://${clusterIP}/`), 24), everybody)
  const client = await node.pod('client')
  t.equal(await fromPod(`http://${clusterIP}/cgi-bin/client`), client?.status?.podIP, 'pods are seen with their own address')
})

t.test('and on the node port', async t => {
  t.same(await answers(() => node.curl(`http://${nodeIP}:30080/`), 24), everybody)
  t.same(await answers(() => fromPod(`http://${nodeIP}:30080/`), 24), everybody)
})

t.test('a pod reaches itself through its Service', async t => {
  const own = await answers(() => node.exec('web-1', ['timeout', '5', 'wget', '-qO-', `http://${clusterIP}/`]), 24)
  t.same(own, everybody)
})

t.test('get shows Services and their endpoints', async t => {
  const { stdout } = await node.cli(['get', 'services'])
  t.match(stdout, /^NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE$/m)
  t.match(stdout, new RegExp(`^web +ClusterIP +${clusterIP.replaceAll('.', '\\.')} +<none> +80/TCP`, 'm'))
  t.match(stdout, /^web-node +NodePort +10\.96\.\S+ +<none> +80:30080\/TCP/m)
  t.match(stdout, /^web-headless +ClusterIP +None +<none> +80\/TCP/m)
  const endpoints = (await node.cli(['get', 'endpoints', 'web'])).stdout
  for (const name of names) t.match(endpoints, new RegExp(`${(await node.pod(name))?.status?.podIP}:80`))
})

t.test('a pod that is removed is not asked any more, one that comes is', async t => {
  await node.write('web.json', [...pods.slice(1), service('web', [{ port: 80, targetPort: 'http' }])])
  await node.gone('web-1')
  t.same(await answers(() => node.curl(`http://${clusterIP}/`)), new Set(['web-2-n1', 'web-3-n1']))
  t.match(await refused(`http://${nodeIP}:30080/`), /exit code 7/, 'the node port went with its Service')
  await node.write('web.json', [...pods, service('web', [{ port: 80, targetPort: 'http' }])])
  await node.until('web-1', isReady)
  await waitFor('all of them', async () => (await answers(() => node.curl(`http://${clusterIP}/`), 9)).size === 3)
  t.equal((await named('web'))?.spec.clusterIP, clusterIP, 'its address is the same')
})

t.test('a Service without ready endpoints refuses at once; publishNotReadyAddresses serves all the same', async t => {
  const readinessProbe = { exec: { command: ['false'] }, periodSeconds: 1 }
  const port = { port: 80, targetPort: 'http' }
  await node.write('unready.json', [
    podOf('unready', web({ readinessProbe }), {}, labelled('unready')),
    service('unready', [port], { clusterIP: '10.96.1.1' }),
    service('brave', [port], { clusterIP: '10.96.1.2', selector: { app: 'unready' }, publishNotReadyAddresses: true }),
    service('nobody', [port], { clusterIP: '10.96.1.3' }),
  ])
  await node.until('unready', it => it.status?.podIP && it.status.phase === 'Running')
  await waitFor('the brave one', async () => (await node.curl('http://10.96.1.2/')) === 'unready-n1')
  for (const address of ['10.96.1.1', '10.96.1.3']) {
    const started = performance.now()
    t.match(await refused(`http://${address}/`), /exit code 7/)
    t.ok(performance.now() - started < 1000)
  }
  await node.remove('unready.json')
  await node.gone('unready')
})

t.test('a Service without a selector stands, and selects nobody', async t => {
  await node.write('free.json', service('free', [{ port: 80 }], { clusterIP: '10.96.1.9', selector: undefined }))
  await waitFor('the Service', () => named('free'))
  t.match(await refused('http://10.96.1.9/'), /exit code 7/)
  const slices = await node.list<EndpointSlice>('/v1/endpoints')
  t.notOk(slices.some(it => it.metadata.labels?.['kubernetes.io/service-name'] === 'free' && it.endpoints?.length))
  await node.remove('free.json')
})

t.test('UDP: a client that keeps its port is answered by the next pod when the first has gone', async t => {
  const serve = `socket(S, PF_INET, SOCK_DGRAM, 0); bind(S, sockaddr_in(5300, INADDR_ANY)) or die $!;
    while (my $from = recv(S, my $text, 99, 0)) { send(S, $ENV{NAME}, 0, $from) }`
  const ask = `socket(S, PF_INET, SOCK_DGRAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
    bind(S, sockaddr_in(4000, INADDR_ANY)) or die $!; send(S, "x", 0, sockaddr_in(53, inet_aton("10.96.3.3")));
    $SIG{ALRM} = sub { print "silence"; exit }; alarm 1; recv(S, my $text, 99, 0); print $text`
  const of = (name: string) => {
    const container = { name: 'c', image: busyboxImage, command: ['/usr/bin/perl', '-MSocket', '-e', serve] }
    const env = [{ name: 'NAME', value: name }]
    return podOf(
      name,
      { ...container, env, volumeMounts: hostPrograms.volumeMounts },
      { volumes: hostPrograms.volumes },
      labelled('udp'),
    )
  }
  const udp = service('udp', [{ port: 53, targetPort: 5300, protocol: 'UDP' }], { clusterIP: '10.96.3.3' })
  const answer = () => node.exec('client', ['/usr/bin/perl', '-MSocket', '-e', ask])
  await node.write('udp.json', [of('first'), udp])
  await node.until('first', isReady)
  await waitFor('an answer', async () => (await answer()) === 'first')
  await node.write('udp.json', [of('second'), udp])
  await node.until('second', isReady)
  await node.gone('first')
  t.equal(await answer(), 'second')
  await node.remove('udp.json')
  await node.gone('second')
})

t.test('hostPort leads to its pod, from outside the pod network and from inside', async t => {
  const ports = [{ containerPort: 80, hostPort: 18_080 }]
  await node.write('host-port.json', podOf('host-port', web({ ports })))
  await node.until('host-port', isReady)
  t.equal(await node.curl(`http://${nodeIP}:18080/`), 'host-port-n1')
  t.equal(await node.curl('http://127.0.0.1:18080/'), 'host-port-n1')
  t.equal(await fromPod(`http://${nodeIP}:18080/`), 'host-port-n1')
  await node.remove('host-port.json')
  await node.gone('host-port')
  t.match(await refused(`http://${nodeIP}:18080/`), /exit code 7/)
})

t.test('a pod of the host network serves for the node, and is an endpoint by its address', async t => {
  const container = script('exec httpd -f -p 9999 -h /etc', { ports: [{ containerPort: 9999 }] })
  await node.write('host.json', [
    podOf('host', container, { hostNetwork: true }, labelled('host')),
    service('host', [{ port: 80, targetPort: 9999 }], { clusterIP: '10.96.2.2' }),
  ])
  await node.until('host', isReady)
  await waitFor('the answer', async () => /root/.test(await node.curl('http://10.96.2.2/passwd')))
  t.match(await fromPod('http://10.96.2.2/passwd'), /root/)
  await node.remove('host.json')
  await node.gone('host')
})

t.test('rules that somebody flushes are back within a second', async t => {
  for (const [what, argv] of [
    ['the tables of Services', ['nft', 'delete', 'table', 'ip', 'nodelet-proxy']],
    ['everything', ['nft', 'flush', 'ruleset']],
  ] as const) {
    await node.netns.run(argv)
    await waitFor(`an answer after ${what} went`, async () => node.curl(`http://${clusterIP}/`, '--connect-timeout', '0.1'), 1000)
    t.pass(what)
  }
})

t.test('addresses outlive the daemon', async t => {
  await node.stop()
  t.ok(everybody.has(await node.curl(`http://${clusterIP}/`)), 'Services go on without it')
  await node.start()
  await waitFor('the Service', async () => (await named('web'))?.spec.clusterIP === clusterIP)
  t.same(await answers(() => node.curl(`http://${clusterIP}/`), 24), everybody)
})
