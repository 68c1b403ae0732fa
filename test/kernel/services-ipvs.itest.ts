// The IPVS mode with real packets: the contract in namespaces for both families, then what only a kernel can show: connections that
// outlive their endpoint, schedulers, a restart under load, foreign changes, SCTP, the way out. Kernels without IPVS are told so.
// test/vm runs this file where the kernel has it.
import t from 'tap'
import type { EndpointSlice, IPFamily, Service } from '../../api/service-types.ts'
import { systemClock } from '../../host/clock.ts'
import { isFault } from '../../host/fault.ts'
import { createIpvs, serverName } from '../../host/ipvs.ts'
import { createLog, silentLog } from '../../host/log.ts'
import { addresses, backendContract, nodeName, service, slice, type World } from '../../proxy/backend.contract.ts'
import type { IpvsSettings } from '../../proxy/ipvs/settings.ts'
import { cleanupProxy, createProxy, type Proxy as ServiceProxy } from '../../proxy/main.ts'
import { createRandomChanges, randomNode, randomPodRanges } from '../../proxy/random-changes.fake.ts'
import { ipvsStateOf } from '../support/ipvs-state.ts'
import { createNetns } from '../support/netns.ts'
import { createServiceStores } from '../support/service-stores.ts'
import { createServiceWorld } from '../support/service-world.ts'
import { waitFor } from '../support/wait.ts'

const both: readonly IPFamily[] = ['IPv4', 'IPv6']
type ServiceStores = ReturnType<typeof createServiceStores>
const { cluster } = addresses.IPv4
const ready = { ready: true }

const net = await createServiceWorld()
const { services, slices, fill: fillStores } = createServiceStores()
const lines: string[] = []

const start = (ipvs: Partial<IpvsSettings> = {}): Promise<ServiceProxy> =>
  createProxy({
    ...{ services, endpointSlices: slices, nodeName, mode: 'ipvs', ipvs, exec: net.node.exec, clock: systemClock },
    settings: {
      nodeIPs: both.map(family => addresses[family].node),
      localTraffic: { by: 'cidr', cidrs: both.map(family => addresses[family].podRange) },
    },
    log: createLog({ verbosity: 2, human: false, write: line => lines.push(line) }),
    prepareKernel: async () => undefined,
  })

let proxy: ServiceProxy | undefined
t.teardown(async () => {
  await proxy?.stop()
  await net.remove()
})
services.markSynced()
slices.markSynced()

const fill = async (wantedServices: readonly Service[], wantedSlices: readonly EndpointSlice[]) => {
  fillStores(wantedServices, wantedSlices)
  await proxy?.settled()
}
const reach = (family: IPFamily = 'IPv4') => net.send({ from: 'pod', to: addresses[family].cluster, port: 80 })
const ipvs = createIpvs(net.node.exec)
const restart = async (settings?: Partial<IpvsSettings>) => {
  await proxy?.stop()
  proxy = await start(settings)
  await proxy.settled()
}

// Node has no sockets of SCTP; the server tells whom it sees.
const sctp = 'use Socket; $| = 1; socket(S, PF_INET, SOCK_STREAM, 132) or exit 3;'
const sctpServer = `${sctp} bind(S, sockaddr_in(8080, INADDR_ANY)) && listen(S, 5) or die; print "ready\\n";
while (my $from = accept(C, S)) { my ($port, $ip) = sockaddr_in($from); print C inet_ntoa($ip); close C }`
const sctpClient = `${sctp} alarm 20; connect(S, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) or die "$!"; print <S>`

/** An SCTP server in pod a; undefined where the kernel has no such sockets. */
const serveSctp = async () => {
  let said = ''
  const server = net.hosts.a.exec.watch(['perl', '-e', sctpServer], line => {
    said += line
  })
  let code: number | undefined
  void server.ended.then(
    result => {
      code = result.exitCode
    },
    () => {
      code = -1
    },
  )
  await waitFor('the SCTP server', () => said === 'ready' || code !== undefined)
  return said === 'ready' ? server : undefined
}
const askSctp = async (from: 'pod' | 'outside', ip: string, port: number) =>
  (await net.hosts[from].run(['perl', '-e', sctpClient, ip, String(port)])).stdout

const refusal = await start().then(
  started => {
    proxy = started
    return undefined
  },
  error => error,
)

if (refusal !== undefined)
  await t.test('a kernel without IPVS: the mode says what is missing, and which ones would work', async t => {
    t.ok(isFault(refusal, 'unsupported'), String(refusal))
    t.match(String(refusal.message), /^the IPVS mode lacks .*; would work here: mode nftables or iptables$/)
    t.notMatch((await net.node.run(['iptables-save'])).stdout, /KUBE/, 'nothing is left of what was tried')
  })
else {
  // While connections to the last endpoint end, IPVS itself refuses the node's own traffic, by an ICMP error: TCP over IPv6 believes the
  // second one, after a second.
  const send: World['send'] = attempt => net.send(attempt, attempt.from === 'node' ? { timeoutMs: 4_000 } : {})
  const world: World = { protocols: ['TCP', 'UDP'], set: fill, send }
  for (const family of both) await t.test(`packets of ${family}`, t2 => backendContract(t2, world, family))

  await t.test('a UDP client that keeps its port is moved when its endpoint goes', async t => {
    const ask = () => net.peers.pod.ask({ to: cluster, port: 80, protocol: 'UDP' }, { fromPort: 40_001 })
    await fill([service('IPv4')], [slice('IPv4', { a: ready })])
    t.match(await ask(), /^a /)
    await fill([service('IPv4')], [slice('IPv4', { b: ready })])
    await waitFor('the other endpoint to answer', async () => /^b /.test(await ask()))
  })

  await t.test('a TCP endpoint that is gone stays at weight 0 while it has connections', async t => {
    await fill([service('IPv4')], [slice('IPv4', { a: ready })])
    t.same(await reach(), { reached: 'a', sees: 'client' })
    await fill([service('IPv4')], [slice('IPv4', { b: ready })])
    for (let times = 0; times < 5; times++) t.same(await reach(), { reached: 'b', sees: 'client' })
    const server = (await ipvs.list()).find(({ key }) => serverName(key) === `-t ${cluster}:80`)
    t.same(Object.fromEntries(server?.destinations ?? []), { '10.244.1.11:8080': 0, '10.244.1.12:8080': 1 })
    t.equal((await ipvs.connections()).get(`-t ${cluster}:80`)?.get('10.244.1.11:8080'), 1)
  })

  await t.test('SCTP reaches its endpoint, where the kernel has such sockets', async t => {
    const listening = await serveSctp()
    if (listening === undefined) return t.pass('this kernel has none')
    t.teardown(listening.stop)
    await fill([service('IPv4', { type: 'NodePort' }, ['SCTP'])], [slice('IPv4', { a: ready }, ['SCTP'])])
    t.equal(await askSctp('pod', cluster, 80), addresses.IPv4.pod, 'by the cluster IP, which hides nobody')
    t.equal(await askSctp('outside', addresses.IPv4.node, 30_080), '10.244.1.1', 'by the node port, as the node')
  })

  await t.test('a restart under load loses no request', async t => {
    await fill([service('IPv4')], [slice('IPv4', { a: ready, b: ready })])
    let stopping = false
    const answers: unknown[] = []
    const load = (async () => {
      while (!stopping) answers.push(await reach())
    })()
    await restart()
    await waitFor(
      'twenty more requests',
      (
        had => () =>
          answers.length > had + 20
      )(answers.length),
    )
    stopping = true
    await load
    t.same(
      answers.filter(answer => typeof answer === 'string'),
      [],
      `${answers.length} requests`,
    )
    t.equal((await proxy!.diff()).differences.length, 0)
  })

  for (const scheduler of ['wrr', 'lc', 'wlc', 'sh', 'dh', 'sed', 'nq', 'mh'])
    await t.test(`the scheduler ${scheduler}`, async t => {
      await restart({ scheduler })
      for (const server of await ipvs.list()) t.equal(server.scheduler, scheduler)
      t.type(await reach(), 'object', 'somebody answers')
    })

  await t.test('what others take away is put right', async t => {
    await restart({ syncPeriod: 1_000 })
    const broken = async (argv: readonly string[]) => {
      const drifts = proxy!.status().drifts
      await net.node.run(argv)
      await waitFor(`${argv.join(' ')} to be noticed`, () => proxy!.status().drifts > drifts)
      await waitFor('the Service to answer', async () => typeof (await reach()) === 'object')
      await proxy!.settled()
      await waitFor('nothing to differ', async () => (await proxy!.diff()).same)
      t.pass(argv.join(' '))
    }
    await broken(['ipvsadm', '-C'])
    await broken(['ip', 'link', 'del', 'kube-ipvs0'])
    await broken(['iptables', '-t', 'nat', '-F'])
    await broken(['ipset', 'flush', 'KUBE-CLUSTER-IP'])
  })

  await t.test('settings of the configuration reach the kernel', async t => {
    await restart({ strictARP: true, tcpTimeout: 600_000, tcpFinTimeout: 60_000, udpTimeout: 90_000 })
    const read = async (key: string) => (await net.node.run(['sysctl', '-n', key])).stdout.trim()
    t.equal(await read('net.ipv4.conf.all.arp_ignore'), '1')
    t.equal(await read('net.ipv4.conf.all.arp_announce'), '2')
    t.equal(await read('net.ipv4.vs.conntrack'), '1')
    t.match((await net.node.run(['ipvsadm', '-L', '--timeout'])).stdout, /600 60 90/)
  })

  await t.test('ten thousand random changes end in the kernel state of one full sync', async t => {
    const run = async (change: (stores: ServiceStores, proxy: ServiceProxy) => Promise<void>) => {
      const netns = await createNetns()
      t.teardown(netns.remove)
      const stores = createServiceStores()
      const random = await createProxy({
        ...{ services: stores.services, endpointSlices: stores.slices, nodeName: randomNode.name, zone: randomNode.zone },
        settings: { nodeIPs: randomNode.ips, localTraffic: { by: 'cidr', cidrs: randomPodRanges } },
        ...{ mode: 'ipvs', exec: netns.exec, clock: systemClock, log: silentLog, prepareKernel: async () => undefined },
      })
      stores.services.markSynced()
      stores.slices.markSynced()
      await change(stores, random)
      await random.settled()
      t.equal(random.status().failures, 0, 'the kernel took every change')
      t.same((await random.diff()).differences, [], 'and holds what the program believes')
      await random.stop()
      return { stores, state: await ipvsStateOf(netns.exec) }
    }
    const changed = await run(async (stores, random) => {
      const changes = createRandomChanges({ ...stores, seed: 9 })
      for (let step = 1; step <= 10_000; step++) {
        changes.next()
        if (step % 250 === 0) await random.settled()
      }
    })
    const anew = await run(async ({ fill }) => {
      fill(changed.stores.services.list().toReversed(), changed.stores.slices.list().toReversed())
    })
    t.same(changed.state, anew.state)
    t.ok(anew.state.servers.length > 10, `${anew.state.servers.length} servers`)
  })

  await t.test('the way out leaves nothing', async t => {
    await proxy?.stop()
    const removed = await cleanupProxy({ exec: net.node.exec })
    t.match(removed, [/virtual servers/, /ipsets/, /kube-ipvs0/])
    t.same(await ipvs.list(), [])
    t.equal((await net.node.run(['ipset', 'list', '-name'])).stdout, '')
    for (const command of ['iptables-save', 'ip6tables-save']) t.notMatch((await net.node.run([command])).stdout, /KUBE/)
    t.notMatch((await net.node.run(['ip', 'link'])).stdout, /kube-ipvs0/)
  })
}
