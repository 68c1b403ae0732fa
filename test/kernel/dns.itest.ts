// Cluster DNS as a pod meets it: a host with a bridge, a pod behind it, and programs in the pod that ask for names.
import { mkdir, rm, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { connect, createNetns, type Netns } from '../support/netns.ts'

const dns4 = '10.96.0.10'
const dns6 = 'fd00:96::a'
const responder = join(import.meta.dirname, '../support/dns-responder.ts')

const host = await createNetns()
const pod = await createNetns()
// `ip netns exec` shows this file to its program as /etc/resolv.conf.
const etc = `/etc/netns/${pod.name}`
t.teardown(async () => {
  await pod.remove()
  await host.remove()
  await rm(etc, { recursive: true, force: true })
  await rmdir('/etc/netns').catch(() => undefined)
})

const setUp = async () => {
  await host.run(['ip', 'link', 'add', 'br0', 'type', 'bridge'])
  await connect({ netns: host, device: 'veth0' }, { netns: pod, device: 'eth0', addresses: ['10.244.0.5/24', 'fd00:244::5/64'] })
  await host.run(['ip', 'link', 'set', 'veth0', 'master', 'br0'])
  await host.run(['ip', 'addr', 'add', '10.244.0.1/24', 'dev', 'br0'])
  await host.run(['ip', 'addr', 'add', 'fd00:244::1/64', 'dev', 'br0', 'nodad'])
  await host.run(['ip', 'link', 'set', 'br0', 'up'])
  await pod.run(['ip', 'route', 'add', 'default', 'via', '10.244.0.1'])
  await pod.run(['ip', 'route', 'add', 'default', 'via', 'fd00:244::1'])
}
await setUp()

/** Starts the responder on the host; `end` asks it to stop, `kill` does not ask. */
const start = async (...addresses: readonly string[]) => {
  const ready = Promise.withResolvers<number>()
  const program = host.exec.watch([process.execPath, responder, ...addresses], line => ready.resolve(Number(line.split(' ')[1])))
  program.ended.then(({ stderr }) => ready.reject(new Error(`the responder ended: ${stderr}`)), ready.reject)
  const pid = await ready.promise
  return {
    end: async () => {
      process.kill(pid, 'SIGTERM')
      await program.ended
    },
    kill: async () => {
      program.stop()
      await program.ended
    },
  }
}

const loopback = async () => (await host.run(['ip', '-o', 'addr', 'show', 'dev', 'lo'])).stdout

/** What busybox in this namespace prints for a name. */
const nslookup = async (from: Netns, type: string, name: string, server: string): Promise<string> => {
  const { stdout } = await from.exec.try(['busybox', 'nslookup', `-type=${type}`, name, server], { timeoutMs: 15_000 })
  return stdout
}

/** The addresses that the C library in the pod finds with this resolv.conf. */
const getent = async (options: string, database: string, name: string): Promise<string> => {
  await mkdir(etc, { recursive: true })
  const search = 'shop.svc.cluster.local svc.cluster.local cluster.local'
  await writeFile(join(etc, 'resolv.conf'), `search ${search}\nnameserver ${dns4}\noptions ${options}\n`)
  const { stdout } = await host.exec.try(['ip', 'netns', 'exec', pod.name, 'getent', database, name])
  return stdout
}

t.test('while it runs', async t => {
  const dns = await start(dns4, dns6)
  t.teardown(dns.end)

  t.test('its addresses are the host’s own, on lo', async t => {
    t.match(await loopback(), `inet ${dns4}/32 scope host lo:nodelet`)
    t.match(await loopback(), `inet6 ${dns6}/128`)
  })
  for (const [name, from, type, asked, server, expected] of [
    ['a pod asks for a Service', pod, 'a', 'web.shop.svc.cluster.local', dns4, 'Address: 10.96.7.7'],
    ['a pod asks over IPv6', pod, 'aaaa', 'web.shop.svc.cluster.local', dns6, 'Address: fd00:96::77'],
    ['a pod asks for a headless Service', pod, 'a', 'db.shop.svc.cluster.local', dns4, 'Address: 10.244.0.5'],
    ['a pod asks whose an address is', pod, 'ptr', '7.7.96.10.in-addr.arpa', dns4, 'name = web.shop.svc.cluster.local'],
    ['the host asks too', host, 'a', 'db-0.db.shop.svc.cluster.local', dns4, 'Address: 10.244.0.5'],
    ['what is not there is denied', pod, 'a', 'nope.shop.svc.cluster.local', dns4, 'NXDOMAIN'],
    ['without name servers of the node the world cannot be asked', pod, 'a', 'example.com', dns4, 'SERVFAIL'],
  ] as const)
    t.test(name, async t => t.match(await nslookup(from, type, asked, server), expected))

  t.test('the C library finds short names by its search domains', async t => {
    t.match(await getent('ndots:5', 'ahostsv4', 'web'), '10.96.7.7')
    t.match(await getent('ndots:5', 'ahostsv6', 'web.shop'), 'fd00:96::77')
    t.match(await getent('ndots:5', 'ahostsv4', 'db-0.db'), '10.244.0.5')
  })
  t.test('a hostPort 53 on every address of the host does not get its questions', async t => {
    const elsewhere = 'meta l4proto udp th dport 53 dnat ip to 10.244.0.99'
    await host.run(['nft', '-f', '-'], {
      input: `table inet hostport { chain pre { type nat hook prerouting priority -95; fib daddr type local ${elsewhere}; }; }\n`,
    })
    t.match(await nslookup(pod, 'a', 'web.shop.svc.cluster.local', dns4), 'Address: 10.96.7.7')
    await host.run(['nft', 'delete', 'table', 'inet', 'hostport'])
  })
  t.test('a Service that takes the address over gets them', async t => {
    await host.run(['nft', '-f', '-'], {
      input: `table inet service { chain pre { type nat hook prerouting priority -100; ip daddr ${dns4} udp dport 53 dnat ip to 10.244.0.1:1; }; }\n`,
    })
    t.notMatch(await nslookup(pod, 'a', 'web.shop.svc.cluster.local', dns4), '10.96.7.7')
    await host.run(['nft', 'delete', 'table', 'inet', 'service'])
  })
  t.test('and over TCP', async t => t.match(await getent('ndots:5 use-vc', 'ahostsv4', 'web'), '10.96.7.7'))
})

t.test('an orderly end takes the addresses away', async t => {
  const dns = await start(dns4, dns6)
  await dns.end()
  t.notMatch(await loopback(), dns4)
  t.notMatch(await loopback(), dns6)
  t.equal((await host.run(['nft', 'list', 'tables'])).stdout.trim(), '')
})

t.test('what a crash leaves is taken over and goes with the next end', async t => {
  const crashed = await start(dns4, dns6)
  await crashed.kill()
  t.match(await loopback(), dns4)
  const dns = await start(dns4, dns6)
  t.match(await nslookup(pod, 'a', 'web.shop.svc.cluster.local', dns4), '10.96.7.7')
  await dns.end()
  t.notMatch(await loopback(), dns4)
  t.notMatch(await loopback(), dns6)
})

t.test('an address that the host has already is used and left alone', async t => {
  await host.run(['ip', 'addr', 'add', `${dns4}/32`, 'dev', 'br0'])
  const dns = await start(dns4)
  t.match(await nslookup(pod, 'a', 'web.shop.svc.cluster.local', dns4), '10.96.7.7')
  await dns.end()
  t.match((await host.run(['ip', 'addr', 'show', 'dev', 'br0'])).stdout, dns4)
  t.notMatch(await loopback(), dns4)
  await host.run(['ip', 'addr', 'del', `${dns4}/32`, 'dev', 'br0'])
})

t.test('when something else listens on port 53, it says so and leaves no address behind', async t => {
  await host.run(['ip', 'addr', 'add', `${dns4}/32`, 'dev', 'lo'])
  const other = await start(dns4)
  await t.rejects(start(dns4, dns6), { message: `cluster DNS cannot listen on ${dns4} port 53` })
  t.notMatch(await loopback(), dns6)
  await other.end()
  t.match(await loopback(), dns4, 'an address without our label is not ours to remove')
  await host.run(['ip', 'addr', 'del', `${dns4}/32`, 'dev', 'lo'])
})
