// What goes wrong around the Service rules, with this kernel and its own programs, in nftables and in iptables mode: input that nobody
// would write by hand, and programs that are missing, die half way or wait for a lock. Each is told in a clear line, and every other
// Service is answered meanwhile. What each case means in memory is tried in proxy/bad-input.test.ts.
import { existsSync } from 'node:fs'
import t, { type Test } from 'tap'
import { type EndpointSlice, type Service, type ServiceSpec, serviceNameLabel } from '../../api/service-types.ts'
import { systemClock } from '../../host/clock.ts'
import { isFault } from '../../host/fault.ts'
import { addresses, nodeName, nodePort, service, slice, targetPort } from '../../proxy/backend.contract.ts'
import type { Proxy as ServiceProxy } from '../../proxy/main.ts'
import { createServiceRig, type ServiceRig } from '../support/service-rig.ts'
import { waitFor } from '../support/wait.ts'

t.setTimeout(240_000)

const { node, external, endpoints } = addresses.IPv4
const ready = { ready: true }
const answeredBy = (reached: 'a' | 'b') => ({ reached, sees: 'client' })
const second = '10.96.0.77'

const named = (name: string, clusterIP: string, created: string, spec: Partial<ServiceSpec> = {}): Service => ({
  ...service('IPv4', { ...spec, clusterIP, clusterIPs: [clusterIP] }),
  metadata: { namespace: 'default', name, creationTimestamp: created },
})
const served = (name: string, by: 'a' | 'b'): EndpointSlice => slice('IPv4', { [by]: ready }, ['TCP', 'UDP'], name)
const addressed = (name: string, given: readonly string[]): EndpointSlice => ({
  ...slice('IPv4', {}, ['TCP'], name),
  endpoints: given.map(address => ({ addresses: [address], nodeName, conditions: ready })),
})

interface World {
  readonly rig: ServiceRig
  readonly proxy: ServiceProxy
}

/** The one Service that is to be answered whatever happens beside it. */
const onlyWeb = async ({ rig, proxy }: World) => {
  rig.clear()
  rig.services.put(service('IPv4'))
  rig.slices.put(slice('IPv4', { a: ready }))
  await proxy.settled()
}

/** All connections to the one Service, while something goes wrong beside it, are answered. */
const meanwhile = async (t: Test, world: World, work: () => Promise<void>) => {
  await onlyWeb(world)
  const outcomes = await world.rig.underLoad(async more => {
    await more(3)
    await work()
    await more(3)
  })
  t.same(
    outcomes.filter(text => !text.includes('"a"')),
    [],
    `${outcomes.length} connections to another Service meanwhile are answered`,
  )
}

const wrongFamily = async (t: Test, world: World) => {
  const { rig, proxy } = world
  const { failures } = proxy.status()
  await meanwhile(t, world, async () => {
    rig.lines.length = 0
    rig.services.put(named('mixed', second, ''))
    rig.slices.put(addressed('mixed', ['fd00:244:1::12', 'no address at all', endpoints.b]))
    rig.services.put(named('only-bad', '10.96.0.78', ''))
    rig.slices.put(addressed('only-bad', ['fd00:244:1::12', '10.244.1.12/24', '']))
    await proxy.settled()
    t.same(await rig.reach(second), answeredBy('b'), 'the one good address')
    t.equal(await rig.reach('10.96.0.78'), 'refused', 'a Service with none is one without endpoints')
    const told = rig.lines.filter(line => line.includes('passed over'))
    t.equal(told.length, 2, 'one line of the log for each slice')
    t.match(told[0], /default\/mixed.*"fd00:244:1::12".*addresses that are not of IPv4, as it says/, 'names the addresses')
  })
  t.equal(proxy.status().failures, failures)
}

const claims: readonly (readonly [string, Partial<ServiceSpec>, readonly [string, number]])[] = [
  [
    'one node port',
    { type: 'NodePort', ports: [{ name: 'tcp', protocol: 'TCP', port: 80, nodePort: nodePort + 1 }] },
    [node, nodePort + 1],
  ],
  ['one external IP', { externalIPs: [external], ports: [{ name: 'tcp', protocol: 'TCP', port: 80 }] }, [external, 80]],
]

const twoClaim = async (t: Test, world: World, [what, spec, at]: (typeof claims)[number]) => {
  const { rig, proxy } = world
  const ask = () => rig.net.send({ from: 'outside', to: at[0], port: at[1] })
  await meanwhile(t, world, async () => {
    rig.lines.length = 0
    rig.services.put(named('younger', '10.96.0.79', '2026-01-02T00:00:00Z', spec))
    rig.slices.put(served('younger', 'b'))
    rig.services.put(named('older', second, '2026-01-01T00:00:00Z', spec))
    rig.slices.put(served('older', 'a'))
    await proxy.settled()
    t.match(await ask(), { reached: 'a' }, `the older one has ${what}`)
    t.same(await rig.reach('10.96.0.79'), answeredBy('b'), 'the other one is answered at its own address')
    const told = rig.lines.filter(line => line.includes('default/younger'))
    t.equal(told.length, 1, 'one line of the log')
    t.match(told[0], /"owner":"default\/older".*two Services claim/, 'names both')
    rig.services.remove('default', 'older')
    await proxy.settled()
    t.match(await ask(), { reached: 'b' }, 'when it goes the other one has it')
  })
}

// Nobody can send it whole: an apiserver of 1.36 takes 20,000 ports in a slice, and 3 MiB in a request.
const perSlice = 20_000
const withPorts = (rig: ServiceRig, count: number) => {
  const all = Array.from({ length: count }, (_, index) => ({ name: `p${index + 1}`, port: index + 1, protocol: 'TCP' as const }))
  rig.services.put(named('all', second, '', { ports: all }))
  for (let from = 0; from < all.length; from += perSlice)
    rig.slices.put({
      ...served('all', 'b'),
      metadata: { namespace: 'default', name: `all-${from}`, labels: { [serviceNameLabel]: 'all' } },
      ports: all.slice(from, from + perSlice).map(it => ({ ...it, port: targetPort })),
    })
}

const everyPort = async (t: Test, world: World) => {
  const { rig, proxy } = world
  await meanwhile(t, world, async () => {
    const began = systemClock.monotonic()
    withPorts(rig, 65_535)
    await proxy.settled()
    t.comment(`written in ${Math.round(systemClock.monotonic() - began)} ms`)
    for (const port of [1, 80, 20_000, 20_001, 65_535]) t.same(await rig.reach(second, port), answeredBy('b'), `port ${port}`)
  })
  const began = systemClock.monotonic()
  await onlyWeb(world)
  t.comment(`gone in ${Math.round(systemClock.monotonic() - began)} ms`)
  t.same(await rig.reach(), answeredBy('a'))
  t.equal(proxy.status().failures, 0)
}

const tooManyPorts = async (t: Test, world: World) => {
  const { rig, proxy } = world
  await meanwhile(t, world, async () => {
    rig.lines.length = 0
    withPorts(rig, 65_535)
    rig.services.put(named('other', '10.96.0.79', ''))
    rig.slices.put(served('other', 'b'))
    await proxy.settled()
    t.same(await rig.reach('10.96.0.79'), answeredBy('b'), 'what comes with it is routed')
    const told = rig.lines.filter(line => line.includes('default/all'))
    t.equal(told.length, 1, 'one line of the log')
    t.match(told[0], /it has 65535 ports: this mode routes 20000 of one Service, nftables all of them/)
    withPorts(rig, 2_000)
    await proxy.settled()
    t.same(await rig.reach(second, 2_000), answeredBy('b'), 'fewer are routed')
  })
  t.equal(proxy.status().failures, 0)
}

const longNames = async (t: Test, world: World) => {
  const { rig, proxy } = world
  const { failures } = proxy.status()
  // A Service's name is a DNS label, a slice's a subdomain, a port's at most 63 characters of a DNS label.
  const label = `a${'-0z9'.repeat(15)}-9z`.slice(0, 63)
  await meanwhile(t, world, async () => {
    const one = named(label, second, '', { ports: [{ name: label, port: 80, protocol: 'TCP' }] })
    rig.services.put({ ...one, metadata: { ...one.metadata, namespace: label } })
    rig.slices.put({
      ...served(label, 'b'),
      metadata: { namespace: label, name: `${label}.${label}.a.b-c.0`, labels: { [serviceNameLabel]: label } },
      ports: [{ name: label, port: targetPort, protocol: 'TCP' }],
    })
    await proxy.settled()
    t.same(await rig.reach(second), answeredBy('b'))
  })
  t.equal(proxy.status().failures, failures)
}

for (const mode of ['nftables', 'iptables'] as const)
  await t.test(`${mode}: input that nobody would write by hand`, async t => {
    const rig = await createServiceRig(t)
    const world = { rig, proxy: await rig.start(mode) }
    await t.test('a slice with addresses of the wrong family', t2 => wrongFamily(t2, world))
    for (const claim of claims) await t.test(`two Services that claim ${claim[0]}`, t2 => twoClaim(t2, world, claim))
    await t.test('names of every legal character and the greatest length', t2 => longNames(t2, world))
    await t.test('a Service of 65,535 ports', t2 => (mode === 'nftables' ? everyPort : tooManyPorts)(t2, world))
  })

/** A second Service beside the first, which the broken program cannot write; it is routed by itself as soon as the program is well. */
const whileBroken = async (
  t: Test,
  world: World,
  { breaks, says }: { readonly breaks: () => Promise<void> | void; readonly says: RegExp },
) => {
  const { rig, proxy } = world
  await meanwhile(t, world, async () => {
    const { failures } = proxy.status()
    rig.lines.length = 0
    await breaks()
    rig.services.put(named('other', second, ''))
    rig.slices.put(served('other', 'b'))
    await waitFor('two failures', () => proxy.status().failures >= failures + 2)
    t.match(proxy.status().lastFailure, says)
    const told = rig.lines.filter(line => line.includes('Services could not be written'))
    t.match(told[0], says, 'the log says why')
    t.match(told[0], /"againInMs":100\b/, 'and when it is tried again')
    rig.mend()
    await proxy.settled()
    t.same(await rig.reach(second), answeredBy('b'), 'the other one is routed as soon as the program is well')
    await waitFor('nothing to differ', async () => (await proxy.diff()).same)
  })
}

const drained = 'cat > /dev/null'
// Listing is answered, changing is not.
const only = (flag: string, script: string) => `case "$*" in *${flag}*) ;; *) exec $PROGRAM "$@" ;; esac\n${script}`

/** How a program that writes rules fails, as a script in its place. */
const faults: Readonly<
  Record<'nftables' | 'iptables', readonly (readonly [name: string, program: string, script: string | undefined, says: RegExp])[]>
> = {
  nftables: [
    ['nft is not there any more', 'nft', undefined, /no-such-program/],
    ['nft dies before the kernel has all', 'nft', only('-f', `${drained}; kill -9 $$`), /nft-\d+\.sh.*: ended by SIGKILL/],
    ['nft dies when the kernel has all', 'nft', only('-f', '$PROGRAM "$@"; kill -9 $$'), /nft-\d+\.sh.*: ended by SIGKILL/],
    [
      'nft refuses what it does not know',
      'nft',
      only('-f', `${drained}; echo 'Error: syntax error, unexpected map' >&2; exit 1`),
      /nft did not apply a change: Error: syntax error, unexpected map/,
    ],
  ],
  iptables: [
    ['iptables-restore is not there any more', 'iptables-restore', undefined, /no-such-program/],
    ['iptables-restore dies before it began', 'iptables-restore', `${drained}; kill -9 $$`, /SIGKILL/],
    [
      'iptables-restore ends with the first of its tables',
      'iptables-restore',
      `sed '/^COMMIT$/q' | $PROGRAM "$@"; cat > /dev/null; echo 'iptables-restore: line 99 failed' >&2; exit 1`,
      /iptables-restore: .*line 99 failed/,
    ],
  ],
}

/** The third time and later it dies: of a long load a part is in the kernel then. */
const diesLater = `echo >> "$FOLDER/times"; [ "$(wc -l < "$FOLDER/times")" -le 2 ] && exec $PROGRAM "$@"; ${drained}; kill -9 $$`

const halfWay = (t: Test, world: World, mode: 'nftables' | 'iptables') =>
  meanwhile(t, world, async () => {
    const { rig, proxy } = world
    const { failures } = proxy.status()
    await rig.replace(mode === 'nftables' ? 'nft' : 'iptables-restore', mode === 'nftables' ? only('-f', diesLater) : diesLater)
    withPorts(rig, 8_000)
    await waitFor('two failures', () => proxy.status().failures >= failures + 2)
    rig.mend()
    await proxy.settled()
    for (const port of [1, 4_000, 8_000]) t.same(await rig.reach(second, port), answeredBy('b'), `port ${port}`)
    t.ok((await proxy.diff()).same, 'nothing is missing, and nothing is left of the attempts')
  })

for (const mode of ['nftables', 'iptables'] as const)
  await t.test(`${mode}: programs that fail`, async t => {
    const rig = await createServiceRig(t)
    const world = { rig, proxy: await rig.start(mode) }
    for (const [name, program, script, says] of faults[mode])
      await t.test(name, t2 =>
        whileBroken(t2, world, {
          breaks: () => (script === undefined ? rig.lose(program) : rig.replace(program, script)),
          says,
        }),
      )
    await t.test('it dies in the middle of a long load', t2 => halfWay(t2, world, mode))
    await t.test('the next start without the program says what is missing, and the rules go on routing', async t => {
      await onlyWeb(world)
      await world.proxy.stop()
      for (const program of ['nft', 'iptables', 'ip6tables']) rig.lose(program)
      const refusal = await rig.start(mode).catch(error => error)
      t.ok(isFault(refusal, 'unsupported'), String(refusal))
      t.match(refusal.message, mode === 'nftables' ? /has no nftables with NAT.*no-such-program/ : /iptables: .*no-such-program/)
      t.same(await rig.reach(), answeredBy('a'))
      rig.mend()
    })
    if (!existsSync('/proc/net/ip_vs'))
      await t.test(
        'a mode that the kernel cannot do is refused with the one that it can, and the rules go on routing',
        async t => {
          const refusal = await rig.start('ipvs').catch(error => error)
          t.ok(isFault(refusal, 'unsupported'), String(refusal))
          t.match(refusal.message, /the IPVS mode lacks .*would work here: modes? .*nftables/)
          t.same(await rig.reach(), answeredBy('a'))
        },
      )
  })

await t.test('iptables-legacy: the lock', async t => {
  const rig = await createServiceRig(t, { kind: 'legacy' })
  const world = { rig, proxy: await rig.start('iptables') }
  await t.test('one that others hold for longer than it is waited for', async t => {
    let holder: { readonly ended: Promise<unknown>; stop(): void } | undefined
    t.teardown(() => holder?.stop())
    const { lock } = rig
    await meanwhile(t, world, async () => {
      const { failures } = world.proxy.status()
      let held = false
      holder = rig.net.node.exec.watch(['flock', '--no-fork', lock.file, 'sh', '-c', 'echo held; exec sleep 60'], () => {
        held = true
      })
      await waitFor('the lock to be held', () => held)
      rig.services.put(named('other', second, ''))
      rig.slices.put(served('other', 'b'))
      await waitFor('the failure', () => world.proxy.status().failures > failures, 20_000)
      t.match(world.proxy.status().lastFailure, /iptables-restore: .*Another app is currently holding the xtables lock/s)
      holder.stop()
      await holder.ended.catch(() => undefined)
      await world.proxy.settled()
      t.same(await rig.reach(second), answeredBy('b'), 'as soon as it is free the other one is routed')
    })
  })
  await t.test('one on a file system that is read-only', t =>
    whileBroken(t, world, {
      // In a mount namespace of its own: the lock's folder is read-only for this program alone.
      breaks: () =>
        rig.replace(
          'iptables-restore',
          `exec unshare --mount sh -c 'mount -t tmpfs -o ro none "$0" && exec "$@"' "$FOLDER" $PROGRAM "$@"`,
        ),
      says: /iptables-restore: .*lock file .*Read-only file system/,
    }),
  )
})
