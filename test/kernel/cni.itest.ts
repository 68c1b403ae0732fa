// The network plugin against the kernel, in packets: who reaches whom, and which address the other side sees.
// The node, the machine outside and the pods are network namespaces of this test's own.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { cleanupCni } from '../../cni/cleanup.ts'
import { createLink } from '../../host/link.ts'
import { createNft } from '../../host/nft.ts'
import { createCniHost, depsInside, execInside, type Pod } from '../support/cni-host.ts'

const subnets = ['10.123.0.0/24', 'fd00:123::/64']
const ports = (...portMappings: object[]) => ({ runtimeConfig: { portMappings } })
const host = await createCniHost({ subnets })
t.teardown(() => host.end())

const files = async () => (await readdir(join(host.dataDir, 'test'))).filter(name => /^[0-9a-f.:]+$/.test(name))
const errorOf = (reply: { stdout: string }) => JSON.parse(reply.stdout) as { code: number; msg: string }
const remove = (pod: Pick<Pod, 'id' | 'netns'>) => host.call(pod, { verb: 'DEL' })

const first = await host.addPod()
const second = await host.addPod()
await host.listen(first.netns, 8080)
await host.listen(host.outside, 8080)
const [first4 = '', first6 = ''] = first.addresses
const [second4 = '', second6 = ''] = second.addresses

t.test('pods get addresses of both families, one after the other', async t => {
  t.same(
    [first.addresses, second.addresses],
    [
      ['10.123.0.2', 'fd00:123::2'],
      ['10.123.0.3', 'fd00:123::3'],
    ],
  )
})

t.test('a pod reaches another pod, which sees the address of the first, right after ADD and in both families', async t => {
  t.equal(await host.ask(second.netns, 'tcp', first4, 8080), second4)
  t.equal(await host.ask(second.netns, 'tcp', first6, 8080), second6)
  t.equal(await host.ask(second.netns, 'udp', first4, 8080), second4)
})

t.test('the node reaches a pod and a pod the gateway', async t => {
  await host.listen(host.name, 9090)
  t.equal(await host.ask(host.name, 'tcp', first4, 8080), '10.123.0.1')
  t.equal(await host.ask(first.netns, 'tcp', '10.123.0.1', 9090), first4)
  t.equal(await host.ask(first.netns, 'tcp', 'fd00:123::1', 9090), first6)
})

t.test('a machine outside, which knows no route to pods, sees the address of the node', async t => {
  t.equal(await host.ask(first.netns, 'tcp', '192.0.2.2', 8080), '192.0.2.1')
  t.equal(await host.ask(first.netns, 'udp', '192.0.2.2', 8080), '192.0.2.1')
  t.equal(await host.ask(first.netns, 'tcp', '2001:db8:9::2', 8080), '2001:db8:9::1')
})

t.test('a pod reaches itself over loopback, and by no trick what listens on the loopback of the node', async t => {
  t.equal(await host.ask(first.netns, 'tcp', '127.0.0.1', 8080), '127.0.0.1')
  // hostPorts of 127.0.0.1 need route_localnet on the bridge; this pod sends packets for 127.0.0.1 to the gateway.
  const pod = await host.addPod(ports({ hostPort: 7777, containerPort: 80, protocol: 'tcp' }))
  const inside = execInside(pod.netns)
  await inside.run(['tee', '/proc/sys/net/ipv4/conf/eth0/route_localnet'], { input: '1' })
  await createLink(inside).batch([
    'route del local 127.0.0.0/8 dev lo table local',
    'route del local 127.0.0.1 dev lo table local',
    'route add 127.0.0.0/8 via 10.123.0.1 dev eth0',
  ])
  const nft = createNft(host.host)
  await nft.apply(`table inet watch {
    counter arrived { }
    chain input { type filter hook input priority 0; iifname "nodelet0" ip daddr 127.0.0.0/8 counter name arrived
    }
  }\n`)
  const arrived = async () => {
    await host.ask(pod.netns, 'tcp', '127.0.0.1', 9090)
    return Number(/packets (\d+)/.exec(await nft.list(['list', 'counter', 'inet', 'watch', 'arrived']))?.[1])
  }
  t.equal(await arrived(), 0)
  await nft.apply('flush chain inet nodelet-cni loopback\n')
  t.ok((await arrived()) > 0, 'they would arrive without the rule')
  await nft.apply('delete table inet watch\n')
  await host.cni().ensureBase()
  await remove(pod)
})

t.test('a hostPort', async t => {
  const pod = await host.addPod(
    ports(
      { hostPort: 7000, containerPort: 8080, protocol: 'tcp' },
      { hostPort: 7001, containerPort: 8080, protocol: 'udp' },
      { hostPort: 7002, containerPort: 8080, protocol: 'TCP', hostIP: '192.0.2.1' },
      { hostPort: 7003, containerPort: 8080, protocol: 'tcp', hostIP: '127.0.0.1' },
      { hostPort: 7004, containerPort: 8080, protocol: 'sctp' },
    ),
  )
  const [pod4 = ''] = pod.addresses
  await host.listen(pod.netns, 8080)
  for (const [name, from, protocol, address, port, seen] of [
    ['is reached from outside, and the pod sees the client', host.outside, 'tcp', '192.0.2.1', 7000, '192.0.2.2'],
    ['is reached from outside over IPv6', host.outside, 'tcp', '2001:db8:9::1', 7000, '2001:db8:9::2'],
    ['is reached by UDP', host.outside, 'udp', '192.0.2.1', 7001, '192.0.2.2'],
    ['is reached by a program of the node over 127.0.0.1', host.name, 'tcp', '127.0.0.1', 7000, '10.123.0.1'],
    ['is reached by a program of the node over its own address', host.name, 'tcp', '192.0.2.1', 7000, '192.0.2.1'],
    ['is reached by another pod of the bridge', second.netns, 'tcp', '192.0.2.1', 7000, '10.123.0.1'],
    ['is reached by its own pod', pod.netns, 'tcp', '192.0.2.1', 7000, '10.123.0.1'],
    ['with a hostIP is reached on it', host.outside, 'tcp', '192.0.2.1', 7002, '192.0.2.2'],
    ['with a hostIP is not there on another', host.name, 'tcp', '127.0.0.1', 7002, undefined],
    ['of 127.0.0.1 is reached by programs of the node', host.name, 'tcp', '127.0.0.1', 7003, '10.123.0.1'],
    ['of 127.0.0.1 is not there for others', host.outside, 'tcp', '192.0.2.1', 7003, undefined],
    ['of one protocol is not there for another', host.outside, 'udp', '192.0.2.1', 7000, undefined],
  ] as const)
    t.equal(await host.ask(from, protocol, address, port), seen, name)

  t.test('that is taken is refused and names its owner', async t => {
    const late = await host.newPod()
    const reply = await host.call(late, { conf: ports({ hostPort: 7000, containerPort: 80, protocol: 'tcp' }) })
    t.equal(reply.exitCode, 1)
    t.match(errorOf(reply), { code: 102, msg: `hostPort 7000/tcp is taken by default/${pod.id}` })
  })
  t.test('is back after somebody flushed nftables', async t => {
    await createNft(host.host).apply('flush ruleset\n')
    t.equal(await host.ask(host.outside, 'tcp', '192.0.2.1', 7000), undefined)
    await host.cni().ensureBase()
    t.equal(await host.ask(host.outside, 'tcp', '192.0.2.1', 7000), '192.0.2.2')
    t.equal(await host.ask(first.netns, 'tcp', '192.0.2.2', 8080), '192.0.2.1')
  })
  t.test('that comes takes over the UDP flows to its node, and leaves those to other hosts alone', async t => {
    const flows = async (to: string) =>
      (await host.host.try(['conntrack', '-L', '-p', 'udp', '--orig-port-dst', '8080', '--orig-dst', to])).stdout.trim()
    t.equal(await host.ask(first.netns, 'udp', '192.0.2.2', 8080), '192.0.2.1')
    t.equal(await host.ask(host.outside, 'udp', '192.0.2.1', 8080), undefined)
    t.not(await flows('192.0.2.1'), '')
    const late = await host.addPod(ports({ hostPort: 8080, containerPort: 8080, protocol: 'udp' }))
    t.equal(await flows('192.0.2.1'), '')
    t.not(await flows('192.0.2.2'), '')
    await remove(late)
    t.not(await flows('192.0.2.2'), '')
  })
  t.test('goes with its pod, its UDP flows too, also when somebody flushed nftables before', async t => {
    await createNft(host.host).apply('flush ruleset\n')
    t.match(await remove(pod), { exitCode: 0, stdout: '' })
    t.equal(await host.ask(host.outside, 'tcp', '192.0.2.1', 7000), undefined)
    const flows = await host.host.try(['conntrack', '-L', '-p', 'udp', '--reply-src', pod4])
    t.equal(flows.stdout.trim(), '')
    const next = await host.addPod(ports({ hostPort: 7001, containerPort: 8080, protocol: 'udp' }))
    await host.listen(next.netns, 8080)
    t.equal(await host.ask(host.outside, 'udp', '192.0.2.1', 7001), '192.0.2.2')
    await remove(next)
  })
})

t.test('bandwidth limits stand on the host end and on a device beside it, and go with the pod', async t => {
  const bandwidth = { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 4_000_000, egressBurst: 2_147_483_647 }
  const pod = await host.addPod({ runtimeConfig: { bandwidth } })
  const shown = (await host.host.run(['tc', 'qdisc', 'show'])).stdout
  t.match(shown, /qdisc tbf \w+: dev nlp\w+ root .*rate 8Mbit burst 100000b lat 25ms/)
  t.match(shown, /qdisc tbf \w+: dev nlb\w+ root .*rate 4Mbit/)
  t.match(shown, /qdisc ingress ffff: dev nlp\w+/)
  t.equal(await host.ask(pod.netns, 'tcp', first4, 8080), pod.addresses[0])
  await remove(pod)
  await host.restart()
  t.equal((await host.podLinks()).filter(name => name.startsWith('nlb')).length, 0)
})

t.test('CHECK', async t => {
  const pod = await host.newPod()
  const reply = await host.call(pod)
  const conf = { prevResult: JSON.parse(reply.stdout) as object }
  t.match(await host.call(pod, { verb: 'CHECK', conf }), { exitCode: 0, stdout: '' }, 'finds nothing wrong after ADD')
  t.match(errorOf(await host.call(pod, { verb: 'CHECK' })), { msg: /prevResult is missing/ }, 'wants the result of ADD')
  await createLink(execInside(pod.netns)).batch(['route del default'])
  t.match(
    errorOf(await host.call(pod, { verb: 'CHECK', conf })),
    { code: 104, msg: /route 0.0.0.0\/0 via 10.123.0.1 is missing/ },
    'finds a missing route',
  )
  await createLink(execInside(pod.netns)).batch(['link set dev eth0 down'])
  t.match(
    errorOf(await host.call(pod, { verb: 'CHECK', conf })),
    { msg: /eth0 of the container is down/ },
    'finds the interface down',
  )
  await createLink(execInside(pod.netns)).batch(['link del dev eth0'])
  t.match(
    errorOf(await host.call(pod, { verb: 'CHECK', conf })),
    { msg: /of the host is gone.*eth0 of the container is gone/ },
    'finds the pair gone',
  )
  await remove(pod)
})

t.test('DEL', async t => {
  const pod = await host.addPod()
  t.match(await remove(pod), { exitCode: 0 }, 'removes')
  t.match(await remove(pod), { exitCode: 0 }, 'succeeds again')
  t.match(await remove({ ...pod, netns: '' }), { exitCode: 0 }, 'succeeds without a namespace')
  const other = await host.addPod()
  await execInside(other.netns).run(['true'])
  await host.host.run(['ip', 'netns', 'del', other.netns])
  t.match(await remove(other), { exitCode: 0 }, 'succeeds when the namespace went first')
  t.notOk(
    (await files()).some(file => [...pod.addresses, ...other.addresses].includes(file)),
    'frees the addresses',
  )
})

t.test('ADD', async t => {
  t.test('of a container that has its interface is refused', async t => t.match(errorOf(await host.call(first)), { code: 103 }))
  t.test('where an interface of somebody else bears the name is refused and leaves nothing', async t => {
    const pod = await host.newPod()
    await createLink(execInside(pod.netns)).batch(['link add eth0 type bridge'])
    const before = [await files(), await host.podLinks()]
    t.match(errorOf(await host.call(pod)), { code: 103, msg: /exists/ })
    t.same([await files(), await host.podLinks()], before)
  })
  t.test('into a namespace whose container has just ended works', async t => {
    const ended = await host.addPod()
    await remove(ended)
    const next = { ...ended, id: `${ended.id}-next` }
    t.match(await host.call(next), { exitCode: 0 })
    await remove(next)
  })
  t.test('into a namespace that is not there is refused', async t =>
    t.match(errorOf(await host.call({ id: 'nowhere', netns: 'nlt-nowhere' })), { code: 3 }),
  )
  t.test('works again after somebody took the bridge away', async t => {
    const bridged = await host.addPod()
    await createLink(host.host).batch(['link del dev nodelet0'])
    const pod = await host.addPod()
    t.equal(await host.ask(pod.netns, 'tcp', '10.123.0.1', 9090), pod.addresses[0])
    await host.listen(bridged.netns, 8080)
    t.equal(
      await host.ask(pod.netns, 'tcp', bridged.addresses[0] ?? '', 8080),
      pod.addresses[0],
      'the pods of before are on the new bridge',
    )
    await remove(bridged)
    await remove(pod)
  })
})

t.test('an exhausted range says so, STATUS too, and nothing is left of the attempt', async t => {
  const small = await createCniHost({ subnets: ['10.124.0.0/30'] })
  t.teardown(() => small.end())
  const only = await small.addPod()
  const reply = await small.call(await small.newPod())
  t.match(errorOf(reply), { code: 101, msg: /no free address is left/ })
  t.match(errorOf(await small.call({ id: '', netns: '' }, { verb: 'STATUS' })), { code: 50, msg: /no free address/ })
  await small.call(only, { verb: 'DEL' })
  t.match(await small.call({ id: '', netns: '' }, { verb: 'STATUS' }), { exitCode: 0 })
  t.same((await small.addPod()).addresses, only.addresses, 'a freed address is used again')
})

t.test('fifty ADDs at once give fifty addresses, all of them reached, and fifty DELs free them', async t => {
  const many = await createCniHost({ subnets: ['10.125.0.0/24'] })
  t.teardown(() => many.end())
  const pods = await Promise.all(Array.from({ length: 50 }, () => many.newPod()))
  const replies = await Promise.all(
    pods.map((pod, i) => many.call(pod, { conf: ports({ hostPort: 20_000 + i, containerPort: 80, protocol: 'tcp' }) })),
  )
  t.same(
    replies.filter(reply => reply.exitCode !== 0),
    [],
  )
  const addresses = replies.map(
    reply => (JSON.parse(reply.stdout) as { ips: { address: string }[] }).ips[0]?.address.split('/')[0] ?? '',
  )
  t.equal(new Set(addresses).size, 50)
  await many.listen(many.name, 9090)
  for (const [i, pod] of pods.slice(0, 5).entries()) t.equal(await many.ask(pod.netns, 'tcp', '10.125.0.1', 9090), addresses[i])
  await Promise.all(pods.map(pod => many.call(pod, { verb: 'DEL' })))
  await many.restart()
  t.same(await many.podLinks(), [])
  t.same(
    (await readdir(join(many.dataDir, 'test'))).filter(name => name.startsWith('10.')),
    [],
  )
})

t.test('GC keeps what is valid and frees the rest, with its interface', async t => {
  const lost = await host.addPod()
  const valid = { 'cni.dev/valid-attachments': [first, second].map(({ id }) => ({ containerID: id, ifname: 'eth0' })) }
  await createLink(host.host).batch(['link add nlp00000000beef type veth peer name nlp00000000dead'])
  t.match(await host.call({ id: '', netns: '' }, { verb: 'GC', conf: valid }), { exitCode: 0 })
  t.same((await files()).toSorted(), [...first.addresses, ...second.addresses].toSorted())
  t.equal((await host.podLinks()).length, 2)
  t.equal(await host.ask(second.netns, 'tcp', first4, 8080), second4, 'who stays is not disturbed')
  t.match(errorOf(await host.call({ id: '', netns: '' }, { verb: 'GC' })), { code: 7 }, 'without a list it is refused')
  t.notOk(lost.addresses.some(address => first.addresses.includes(address)))
})

t.test('a restarted daemon knows all pods; what no runtime lists goes when its namespace is gone', async t => {
  const gone = await host.addPod()
  const making = await host.addPod()
  await host.restart()
  await host.host.run(['ip', 'netns', 'del', gone.netns])
  const released = await host.cni().releaseUnknown([first.id, second.id])
  t.same(
    released.map(it => it.containerId),
    [gone.id],
    'a sandbox in the making stays',
  )
  t.equal(await host.ask(second.netns, 'tcp', first4, 8080), second4)
  await remove(making)
})

t.test('cleanup is refused while a daemon holds the lock, then says what it removed and leaves nothing', async t => {
  const impatient = { ...depsInside(host.name), lockWaitSeconds: 1 }
  await t.rejects(cleanupCni(impatient, host.dataDir), { message: /is held by another process/ })
  await host.cni().close()
  const removed = await cleanupCni(impatient, host.dataDir)
  t.match(removed.join('\n'), /interface nodelet0/)
  t.match(removed.join('\n'), /nftables table inet nodelet-cni/)
  t.match(removed.join('\n'), /allocation 10.123.0.2\/24, fd00:123::2\/64 of pod-1/)
  t.same(await host.podLinks(), [])
  t.equal((await createNft(host.host).list(['list', 'tables'])).trim(), '')
  t.same(await readdir(host.dataDir), ['lock'])
  t.same(await cleanupCni(impatient, host.dataDir), [], 'a second one finds nothing')
})
