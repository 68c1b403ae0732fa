// The iptables mode with real packets, on both kinds of iptables: the contract in namespaces for both families, then what only a
// kernel can show: foreign changes to our chains, a lock that somebody holds, a restart under load, a kube-proxy before us, the way out.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { EndpointSlice, IPFamily, Service } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import { systemClock } from '../../host/clock.ts'
import type { Exec } from '../../host/exec.ts'
import { isFault } from '../../host/fault.ts'
import { createLog } from '../../host/log.ts'
import { addresses, backendContract, nodeName, nodePort, service, slice, type World } from '../../proxy/backend.contract.ts'
import { cleanupIptables } from '../../proxy/iptables/mode.ts'
import { createProxy } from '../../proxy/main.ts'
import { type IptablesKind, ofKind, withPrograms } from '../support/iptables-kind.ts'
import { createNetns } from '../support/netns.ts'
import { listenSctp, sendSctp } from '../support/sctp.ts'
import { createServiceStores } from '../support/service-stores.ts'
import { createServiceWorld, type ServiceWorld } from '../support/service-world.ts'
import { waitFor } from '../support/wait.ts'

const both: readonly IPFamily[] = ['IPv4', 'IPv6']
const { cluster, node } = addresses.IPv4
const ready = { ready: true }
const createRig = async (t: Test, variant: IptablesKind) => {
  const net = await createServiceWorld()
  const folder = await mkdtemp(join(tmpdir(), 'nlt-xtables-'))
  const lock = { file: join(folder, 'lock') }
  const exec = withPrograms(
    net.node.exec,
    program => ofKind(program, variant),
    () => ({ XTABLES_LOCKFILE: lock.file }),
  )
  const { services, slices, fill: fillStores } = createServiceStores()
  const lines: string[] = []
  const start = () =>
    createProxy({
      ...{ services, endpointSlices: slices, nodeName, mode: 'iptables', exec, clock: systemClock },
      settings: {
        nodeIPs: both.map(family => addresses[family].node),
        nodePortAddresses: ['0.0.0.0/0', '::/0'],
        localTraffic: { by: 'cidr', cidrs: both.map(family => addresses[family].podRange) },
        localhostNodePorts: true,
      },
      log: createLog({ verbosity: 2, human: false, write: line => lines.push(line) }),
      prepareKernel: async () => undefined,
    })
  await net.node.sysctl('net/ipv4/conf/all/route_localnet', 1)
  const rig = {
    ...{ net, exec, lock, folder, services, slices, lines, start },
    proxy: await start(),
    fill: async (wantedServices: readonly Service[], wantedSlices: readonly EndpointSlice[]) => {
      fillStores(wantedServices, wantedSlices)
      await rig.proxy.settled()
    },
    reach: (family: IPFamily = 'IPv4') => net.send({ from: 'pod', to: addresses[family].cluster, port: 80 }),
  }
  services.markSynced()
  slices.markSynced()
  t.teardown(async () => {
    await rig.proxy.stop()
    await net.remove()
    await rm(folder, { recursive: true, force: true })
  })
  return rig
}
type Rig = Awaited<ReturnType<typeof createRig>>

const localhostNodePorts = async (t: Test, { net, fill }: Rig) => {
  await fill([service('IPv4', { type: 'NodePort' })], [slice('IPv4', { a: ready })])
  t.same(await net.send({ from: 'node', to: '127.0.0.1', port: nodePort }), { reached: 'a', sees: 'node' })
  const { stdout } = await net.node.run(['ip', '-4', 'addr', 'show', 'dev', 'nodelet0'])
  t.match(stdout, /inet 10\.244\.1\.1/)
  t.same(
    await net.send({ from: 'node', to: '10.244.1.1', port: nodePort }),
    { reached: 'a', sees: 'node' },
    'and on every address',
  )
}

const sctp = async (t: Test, { net, fill }: Rig) => {
  await fill([service('IPv4', { type: 'NodePort' }, ['SCTP'])], [slice('IPv4', { a: ready }, ['SCTP'])])
  const listener = await listenSctp(net.hosts.a)
  try {
    await sendSctp(net.hosts.pod, cluster, 80, 41_001)
    t.equal(await listener.next(41_001), `${addresses.IPv4.pod} 8080`, 'a pod by the cluster IP, with its own address')
    await sendSctp(net.hosts.outside, node, nodePort, 41_002)
    await waitFor('the INIT by the node port', async () => {
      const { stdout } = await net.node.run(['conntrack', '-L', '-p', 'sctp', '--sport', '41002'])
      return /src=10\.244\.1\.11 dst=10\.244\.1\.1 sport=8080/.test(stdout)
    })
    t.pass('another host by the node port, masqueraded')
  } finally {
    listener.stop()
  }
}

const foreignOf = (variant: IptablesKind): readonly (readonly [string, readonly (readonly string[])[]])[] => [
  ['flushes the nat table', [['iptables', '-t', 'nat', '-F']]],
  ['flushes the filter table', [['iptables', '-F']]],
  ['deletes our jump', [['iptables', '-t', 'nat', '-D', 'PREROUTING', '1']]],
  ['flushes KUBE-SERVICES', [['iptables', '-t', 'nat', '-F', 'KUBE-SERVICES']]],
  [
    'reloads a firewall: all tables flushed, all chains deleted',
    ['mangle', 'nat', 'filter'].flatMap(table => [
      ['iptables', '-t', table, '-F'],
      ['iptables', '-t', table, '-X'],
    ]),
  ],
  ...(variant === 'nft'
    ? ([
        ['flushes the chain of one frontend', [['sh-flush-svc']]],
        ['flushes the whole ruleset', [['nft', 'flush', 'ruleset']]],
      ] as const)
    : []),
]

/** The chain of the one Service's TCP port. */
const ownChain = async ({ exec }: Rig): Promise<string> =>
  /-j (KUBE-SVC-\w+)/.exec((await exec.run(['iptables', '-t', 'nat', '-S', 'KUBE-SERVICES-0a'])).stdout)?.[1] ?? ''

const repairs = async (t: Test, rig: Rig, variant: IptablesKind) => {
  const limitMs = variant === 'nft' ? 1_000 : 2_000
  for (const [what, commands] of foreignOf(variant))
    await t.test(`somebody ${what}: traffic is back within ${limitMs / 1_000} s`, async t => {
      await rig.fill([service('IPv4')], [slice('IPv4', { a: ready })])
      t.same(await rig.reach(), { reached: 'a', sees: 'client' })
      const before = rig.proxy.status().drifts
      rig.lines.length = 0
      for (const argv of commands)
        await rig.exec.run(argv[0] === 'sh-flush-svc' ? ['iptables', '-t', 'nat', '-F', await ownChain(rig)] : argv)
      const began = systemClock.monotonic()
      await waitFor(
        'traffic to be back',
        async () => rig.proxy.status().drifts > before && typeof (await rig.reach()) === 'object',
        5_000,
      )
      const took = systemClock.monotonic() - began
      t.ok(took < limitMs, `took ${Math.round(took)} ms`)
      const told = () => rig.lines.filter(line => line.includes('somebody else removed rules'))
      await waitFor('the log', () => told().length > 0)
      await rig.proxy.settled()
      t.equal(told().length, 1, 'one line of the log')
      t.match(told()[0], /"gone":\[".+"\]/, 'names what vanished')
    })
  await t.test('our own changes are not taken for drift', async t => {
    await rig.fill([service('IPv4')], [slice('IPv4', { a: ready })])
    await systemClock.sleep(150)
    const before = rig.proxy.status().drifts
    for (const endpoints of [{ a: ready, b: ready }, { b: ready }, {}, { a: ready }])
      await rig.fill([service('IPv4')], [slice('IPv4', endpoints)])
    rig.proxy.resync('a test asks')
    await rig.proxy.settled()
    await systemClock.sleep(variant === 'nft' ? 300 : 1_300)
    t.equal(rig.proxy.status().drifts, before)
  })
}

const refusals = async (t: Test, rig: Rig, variant: IptablesKind) => {
  await rig.fill([service('IPv4')], [slice('IPv4', { a: ready })])
  const good = rig.lock.file
  if (variant === 'legacy')
    await t.test(
      'a lock that somebody holds is waited for; one that cannot be had is named, and the old rules serve',
      async t => {
        const { failures } = rig.proxy.status()
        const holder = rig.exec.watch(['flock', good, 'sleep', '1'], () => undefined)
        await rig.fill([service('IPv4')], [slice('IPv4', { b: ready })])
        await holder.ended
        t.equal(rig.proxy.status().failures, failures, 'no failure')
        t.same(await rig.reach(), { reached: 'b', sees: 'client' })
        rig.lock.file = '/proc/nobody-writes-here'
        rig.slices.put(slice('IPv4', { a: ready }))
        await waitFor('the refusal', () => rig.proxy.status().failures > failures)
        t.match(rig.proxy.status().lastFailure, /iptables-restore: .*lock file/)
        t.same(await rig.reach(), { reached: 'b', sees: 'client' }, 'the old rules serve')
        rig.lock.file = good
        await rig.proxy.settled()
        t.same(await rig.reach(), { reached: 'a', sees: 'client' }, 'the new ones come by themselves')
      },
    )
  await t.test('a change that is refused in its second table leaves the Services that were there', async t => {
    const { failures } = rig.proxy.status()
    // Somebody took away a chain that the filter part leads to, unseen by the book; the full sync that follows makes it anew.
    await rig.exec.run(['iptables', '-F', 'KUBE-SERVICES'])
    await rig.exec.try(['iptables', '-F', 'KUBE-SERVICES-4d'])
    await rig.exec.run(['iptables', '-F', 'KUBE-SERVICES-0a'])
    await rig.exec.run(['iptables', '-F', 'KUBE-PROXY-REJECT'])
    await rig.exec.try(['iptables', '-X', 'KUBE-PROXY-REJECT'])
    const other: Service = {
      ...service('IPv4', { clusterIP: '10.96.0.77', clusterIPs: ['10.96.0.77'] }),
      metadata: { namespace: 'default', name: 'other' },
    }
    rig.services.put(other)
    rig.slices.put(slice('IPv4', { b: ready }, ['TCP'], 'other'))
    await waitFor('both Services to answer', async () => {
      const there = await rig.net.send({ from: 'pod', to: '10.96.0.77', port: 80 })
      return typeof there === 'object' && typeof (await rig.reach()) === 'object'
    })
    t.ok(rig.proxy.status().failures >= failures)
    t.same(await rig.net.send({ from: 'pod', to: cluster, port: 81 }), 'refused', 'and what is refused is refused again')
  })
}

const underLoad = async (
  rig: Rig,
  work: (more: (count: number) => Promise<unknown>) => Promise<void>,
): Promise<readonly string[]> => {
  const outcomes: string[] = []
  let running = true
  const load = (async () => {
    while (running) outcomes.push(JSON.stringify(await rig.reach()))
  })()
  await work(count => {
    const wanted = outcomes.length + count
    return waitFor(`${count} connections more`, () => outcomes.length >= wanted)
  })
  running = false
  await load
  return outcomes
}

const kubeProxy = (net: ServiceWorld) => `*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABCDEFGHIJKLMNOP - [0:0]
:KUBE-SEP-ABCDEFGHIJKLMNOP - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d ${net === undefined ? '' : cluster}/32 -p tcp -m comment --comment "default/web:tcp cluster IP" -m tcp --dport 80 -j KUBE-SVC-ABCDEFGHIJKLMNOP
-A KUBE-SVC-ABCDEFGHIJKLMNOP -m comment --comment "default/web:tcp -> a" -j KUBE-SEP-ABCDEFGHIJKLMNOP
-A KUBE-SEP-ABCDEFGHIJKLMNOP -p tcp -m tcp -j DNAT --to-destination ${addresses.IPv4.endpoints.a}:8080
COMMIT
`

const restarts = async (t: Test, rig: Rig) => {
  await t.test('a restart of the daemon drops no connection and leaves no gap', async t => {
    await rig.fill([service('IPv4')], [slice('IPv4', { a: ready, b: ready })])
    const outcomes = await underLoad(rig, async more => {
      await more(10)
      await rig.proxy.stop()
      rig.proxy = await rig.start()
      await rig.proxy.settled()
      await more(15)
    })
    t.ok(outcomes.length > 20, `${outcomes.length} connections meanwhile`)
    t.same(
      outcomes.filter(text => !text.includes('reached')),
      [],
    )
  })
  await t.test('the rules of a kube-proxy serve until ours stand, and go then; those of others stay', async t => {
    await rig.proxy.stop()
    t.not((await cleanupIptables(rig.exec)).length, 0)
    t.same(await cleanupIptables(rig.exec), [], 'nothing of ours is left')
    await rig.exec.run(['iptables', '-t', 'nat', '-A', 'POSTROUTING', '-s', '172.17.0.0/16', '-j', 'MASQUERADE'])
    await rig.exec.run(['iptables-restore', '--noflush'], { input: kubeProxy(rig.net) })
    t.same(await rig.reach(), { reached: 'a', sees: 'client' })
    const outcomes = await underLoad(rig, async more => {
      await more(10)
      rig.proxy = await rig.start()
      await rig.proxy.settled()
      await more(10)
    })
    t.same(
      outcomes.filter(text => !text.includes('reached')),
      [],
    )
    const { stdout } = await rig.exec.run(['iptables-save', '-t', 'nat'])
    t.notMatch(stdout, /ABCDEFGHIJKLMNOP|kubernetes service portals/)
    await rig.proxy.stop()
    const removed = await cleanupIptables(rig.exec)
    t.equal(removed.length, 2, removed.join(', '))
    for (const command of ['iptables-save', 'ip6tables-save'])
      t.notMatch((await rig.exec.run([command])).stdout, /KUBE-|nodelet/, `${command} shows nothing of ours`)
    t.match(
      (await rig.exec.run(['iptables-save', '-t', 'nat'])).stdout,
      /172\.17\.0\.0\/16 -j MASQUERADE/,
      "somebody else's stays",
    )
  })
}

for (const variant of ['nft', 'legacy'] as const)
  await t.test(`iptables-${variant}`, async t => {
    const rig = await createRig(t, variant)
    const world: World = { protocols: ['TCP', 'UDP'], set: rig.fill, send: rig.net.send }
    t.equal(rig.proxy.status().mode, 'iptables')
    for (const family of both) await t.test(`packets of ${family}`, t2 => backendContract(t2, world, family))
    await t.test('node ports answer on every address of the node, loopback too', t2 => localhostNodePorts(t2, rig))
    await t.test('SCTP is routed like the others', t2 => sctp(t2, rig))
    await t.test('a UDP client that keeps its port is moved when its endpoint goes', async t => {
      const ask = () => rig.net.peers.pod.ask({ to: cluster, port: 80, protocol: 'UDP' }, { fromPort: 40_001 })
      await rig.fill([service('IPv4')], [slice('IPv4', { a: ready })])
      t.match(await ask(), /^a /)
      await rig.fill([service('IPv4')], [slice('IPv4', { b: ready })])
      t.match(await ask(), /^b /)
    })
    await repairs(t, rig, variant)
    await refusals(t, rig, variant)
    await restarts(t, rig)
  })

await t.test('a host without iptables is told so, and what would work', async t => {
  const netns = await createNetns()
  t.teardown(() => netns.remove())
  const missing = (argv: readonly string[]) =>
    argv.map((word, at) => (at === 0 ? word.replace(/^ip6?tables/, 'no-such-tables') : word))
  const exec: Exec = { ...netns.exec, try: (argv, options) => netns.exec.try(missing(argv), options) }
  const refusal = await createProxy({
    ...{ services: createStore<Service>(), endpointSlices: createStore<EndpointSlice>(), nodeName, mode: 'iptables', exec },
    ...{ clock: systemClock, log: createLog({ verbosity: 0, human: false, write: () => undefined }) },
    prepareKernel: async () => undefined,
  }).catch(error => error)
  t.ok(isFault(refusal, 'unsupported'), String(refusal))
  t.match(String(refusal.message), /no iptables that the iptables mode can use \(nftables may do\): .*iptables: /)
})
