// What goes wrong around the Service rules, with this kernel and its own programs, in nftables and in iptables mode: input that nobody
// would write by hand, and programs that are missing, die half way or wait for a lock. Each is told in a clear line, and every other
// Service is answered meanwhile. What each case means in memory is tried in proxy/bad-input.test.ts.
import t, { type Test } from 'tap'
import { type EndpointSlice, type Service, type ServiceSpec, serviceNameLabel } from '../../api/types.ts'
import { systemClock } from '../../host/clock.ts'
import { addresses, nodeName, nodePort, service, slice, targetPort } from '../../proxy/backend.contract.ts'
import type { Proxy as ServiceProxy } from '../../proxy/main.ts'
import { createServiceRig, type ServiceRig } from '../support/service-rig.ts'

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
    rig.services.put(named('mixed', second, ''))
    rig.slices.put(addressed('mixed', ['fd00:244:1::12', 'no address at all', endpoints.b]))
    rig.services.put(named('only-bad', '10.96.0.78', ''))
    rig.slices.put(addressed('only-bad', ['fd00:244:1::12', '10.244.1.12/24', '']))
    await proxy.settled()
    t.same(await rig.reach(second), answeredBy('b'), 'the one good address')
    t.equal(await rig.reach('10.96.0.78'), 'refused', 'a Service with none is one without endpoints')
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
const everyPort = async (t: Test, world: World) => {
  const { rig, proxy } = world
  const all = Array.from({ length: 65_535 }, (_, index) => ({ name: `p${index + 1}`, port: index + 1, protocol: 'TCP' as const }))
  const perSlice = 20_000
  await meanwhile(t, world, async () => {
    const began = systemClock.monotonic()
    rig.services.put(named('all', second, '', { ports: all }))
    for (let from = 0; from < all.length; from += perSlice)
      rig.slices.put({
        ...served('all', 'b'),
        metadata: { namespace: 'default', name: `all-${from}`, labels: { [serviceNameLabel]: 'all' } },
        ports: all.slice(from, from + perSlice).map(it => ({ ...it, port: targetPort })),
      })
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
    await t.test('a Service of 65,535 ports', t2 => everyPort(t2, world))
  })
