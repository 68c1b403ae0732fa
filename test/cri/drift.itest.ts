// Somebody takes away what is the node's in the kernel: rules, single elements, interfaces. All of it is back within a second, the
// traffic too, connections stay, and nobody mistakes the node's own changes for a stranger's.
import t from 'tap'
import { systemClock as clock } from '../../host/clock.ts'
import { call, streamLog, trafficPod } from '../support/callers.ts'
import { busyboxImage } from '../support/images.ts'
import { podOf, script, service } from '../support/manifests.ts'
import { createNode, isReady, nodeIP } from '../support/node.ts'
import { inUse, rulesetOf } from '../support/ruleset.ts'
import { waitFor } from '../support/wait.ts'

t.setTimeout(0)
const node = await createNode({ containerd: { images: [busyboxImage] } })
t.teardown(() => node.close())
const { netns } = node

const limits = { 'kubernetes.io/egress-bandwidth': '100M', 'kubernetes.io/ingress-bandwidth': '100M' }
const web = (name: string, hostPort: number, annotations: object = {}) =>
  podOf(
    name,
    script('mkdir /www; echo $HOSTNAME >/www/index.html; exec httpd -f -p 80 -h /www', {
      ports: [{ containerPort: 80, hostPort }],
      readinessProbe: { tcpSocket: { port: 80 }, periodSeconds: 1 },
    }),
    {},
    { labels: { app: name }, annotations },
  )

await node.write('echo.json', [
  podOf('echo', [], await trafficPod(['serve', '7000'], 7000, 17_000), { labels: { app: 'echo' }, annotations: limits }),
  service('echo', [{ port: 7, targetPort: 7000, nodePort: 30_007 }], { type: 'NodePort', clusterIP: '10.96.0.77' }),
])
await node.write('web.json', [
  web('web', 18_080),
  service('web', [{ port: 80, nodePort: 30_080 }], { type: 'NodePort', clusterIP: '10.96.0.80' }),
])
for (const name of ['echo', 'web']) await node.until(name, isReady)
await node.write('streamer.json', podOf('streamer', [], await trafficPod(['stream', '10.96.0.77', '7'])))
const streamer = await node.until('streamer', isReady)
await waitFor('a stream between pods', async () => (await streamLog(node.podLogs, streamer)).includes('connected'))
await waitFor('the rules of both Services', async () => {
  await node.curl('http://10.96.0.80/', '--max-time', '1')
  return (await rulesetOf(netns)).join('\n').includes('10.96.0.77')
})

const lines = async () =>
  (await node.log())
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as { readonly msg: string; readonly where?: string; readonly interfaces?: readonly string[] })
const told = async () => (await lines()).filter(({ msg }) => msg.startsWith('somebody else removed'))
const foreign = async () => (await told()).flatMap(it => it.where?.split(', ') ?? it.interfaces?.join() ?? '')
const links = async () => {
  const shown = JSON.parse((await netns.run(['ip', '-j', 'link', 'show'])).stdout) as {
    ifname: string
    master?: string
    flags: string[]
  }[]
  return shown
    .filter(it => /^nl[pb]|^nodelet0/.test(it.ifname))
    .map(it => `${it.ifname} ${it.master ?? ''} ${it.flags.includes('UP')}`)
    .sort()
}
const answers = async () => {
  const urls = ['http://10.96.0.80/', `http://${nodeIP}:30080/`, `http://${nodeIP}:18080/`]
  return Promise.all(urls.map(url => node.curl(url, '--max-time', '1')))
}

const rules = await rulesetOf(netns)
const interfaces = await links()
const named = (prefix: string) => interfaces.find(it => it.startsWith(prefix))?.split(' ')[0] ?? ''
const shaper = named('nlb')
const echoLink = shaper.replace('nlb', 'nlp')
const service4 = 'ip nodelet-proxy'

const harms: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['the Services table deleted', ['nft', 'delete', 'table', ...service4.split(' ')], [service4]],
  ['the pod network table deleted', ['nft', 'delete', 'table', 'inet', 'nodelet-cni'], ['inet nodelet-cni']],
  ['the DNS table deleted', ['nft', 'delete', 'table', 'inet', 'nodelet-dns'], ['inet nodelet-dns']],
  ['a chain of the Services emptied', ['nft', 'flush', 'chain', ...service4.split(' '), 'services'], [service4]],
  [
    'one Service deleted',
    ['nft', 'delete', 'element', ...service4.split(' '), 'service-ips', '{ 10.96.0.80 . tcp . 80 }'],
    [service4],
  ],
  [
    'one hostPort deleted',
    ['nft', 'delete', 'element', 'inet', 'nodelet-cni', 'anyports4', '{ tcp . 18080 }'],
    ['inet nodelet-cni'],
  ],
  ['the bridge deleted', ['ip', 'link', 'del', 'nodelet0'], ['nodelet0']],
  ['the interface of a pod deleted', ['ip', 'link', 'del', echoLink], [echoLink]],
  ['the shaper of a pod deleted', ['ip', 'link', 'del', shaper], [shaper]],
]

const harm = (name: string, argv: readonly string[], gone: readonly string[]) =>
  t.test(name, async t => {
    const [before, toldBefore] = [await foreign(), await told()]
    const began = clock.monotonic()
    await netns.run((await inUse(netns, argv.join(' '))).split(' '))
    await waitFor(
      'everything to be back',
      async () => (await links()).join() === interfaces.join() && (await rulesetOf(netns)).join('\n') === rules.join('\n'),
      5_000,
    ).catch(() => undefined)
    const took = clock.monotonic() - began
    t.comment(`back after ${Math.round(took)} ms`)
    t.same(await links(), interfaces, 'interfaces are as before')
    t.same(await rulesetOf(netns), rules, 'rules are as before')
    t.ok(took < 1_000, 'within a second')
    await waitFor('answers', async () => (await answers()).every(it => it === 'web-n1'), 2_000).catch(() => undefined)
    t.same(await answers(), ['web-n1', 'web-n1', 'web-n1'], 'ClusterIP, node port and hostPort answer')
    await waitFor('the log', async () => (await foreign()).length >= before.length + gone.length).catch(() => undefined)
    t.same((await foreign()).slice(before.length).sort(), [...gone].sort(), 'noticed once each, the repair itself not at all')
    t.equal((await told()).length, toldBefore.length + 1, 'in one line')
  })

for (const it of harms) harm(...it)

t.test('nobody is refused while tables are written anew, forty times', async t => {
  const before = await foreign()
  const callers = await Promise.all([
    call(netns, 'knock', '10.96.0.77', 7),
    call(netns, 'knock', nodeIP, 30_007),
    call(netns, 'knock', nodeIP, 17_000),
  ])
  for (let round = 0; round < 20; round++)
    for (const element of ['ip nodelet-proxy cluster-ips { 10.96.0.80 }', 'inet nodelet-cni anyports4 { tcp . 18080 }']) {
      const rounds = (await foreign()).length
      await netns.run((await inUse(netns, `nft delete element ${element}`)).split(' '))
      await waitFor(
        'the repair',
        async () => (await foreign()).length > rounds && (await rulesetOf(netns)).join('\n') === rules.join('\n'),
      )
    }
  for (const caller of callers) {
    const good = await caller.stop()
    t.same(caller.problems, [])
    t.ok(good > 1_000, `${good} connections`)
  }
  t.equal((await foreign()).length - before.length, 40)
})

t.test('pods that come and go are no drift, and a repair is not repaired', async t => {
  const before = await foreign()
  for (const round of [1, 2, 3]) {
    await node.write('more.json', [
      web('more', 18_090, round === 2 ? limits : {}),
      service('more', [{ port: 80, nodePort: 30_090 }], { type: 'NodePort' }),
    ])
    await node.until('more', isReady)
    await node.remove('more.json')
    await node.gone('more')
  }
  await clock.sleep(1_000)
  t.same((await foreign()).slice(before.length), [])
  t.same(await rulesetOf(netns), rules, 'and nothing of them is left')
})

t.test('a connection between pods went through all of that', async t => {
  t.notMatch(await streamLog(node.podLogs, streamer), /dropped|closed|no echo/)
})

// Last, since with the last nat chain the kernel stops translating open connections too, whoever's rules these were.
harm('nft flush ruleset', ['nft', 'flush', 'ruleset'], [service4, 'ip6 nodelet-proxy', 'inet nodelet-cni', 'inet nodelet-dns'])
