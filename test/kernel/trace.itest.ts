// `nodelet trace` and `nodelet diff` against a kernel: what they say is what packets do and what nft shows, for both families;
// connections and memories of clients are the kernel's own; what somebody else changed in our table is told piece by piece.
import t from 'tap'
import { type EndpointSlice, type IPFamily, type Service, serviceNameLabel } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import { systemClock } from '../../host/clock.ts'
import { silentLog } from '../../host/log.ts'
import {
  type Attempt,
  addresses,
  balancedService,
  type Endpoint,
  nodeName,
  nodePort,
  type Sender,
  service,
  slice,
} from '../../proxy/backend.contract.ts'
import { createProxy } from '../../proxy/main.ts'
import type { Outcome } from '../../proxy/trace-types.ts'
import { createServiceWorld } from '../support/service-world.ts'
import { waitFor } from '../support/wait.ts'

const both: readonly IPFamily[] = ['IPv4', 'IPv6']
const tables = { IPv4: 'ip nodelet-proxy', IPv6: 'ip6 nodelet-proxy' }
const ready = { ready: true }
const net = await createServiceWorld()
const services = createStore<Service>()
const slices = createStore<EndpointSlice>()
const proxy = await createProxy({
  services,
  endpointSlices: slices,
  nodeName,
  settings: {
    nodeIPs: both.map(family => addresses[family].node),
    localTraffic: { by: 'cidr', cidrs: both.map(family => addresses[family].podRange) },
  },
  exec: net.node.exec,
  clock: systemClock,
  log: silentLog,
  prepareKernel: async () => undefined,
})
services.markSynced()
slices.markSynced()
t.teardown(async () => {
  await proxy.stop()
  await net.remove()
})

const set = async (one: Service, its: readonly EndpointSlice[]) => {
  for (const { metadata } of slices.list()) slices.remove('default', metadata.name)
  services.put(one)
  for (const it of its) slices.put(it)
  await proxy.settled()
}
const senderIP = (family: IPFamily, from: Sender) => ({ ...addresses[family], a: addresses[family].endpoints.a })[from]
const target = (ip: string, port: number) => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`)
/** The trace of what an attempt would be: one frontend. */
const traceOf = async ({ from, to, port, protocol = 'TCP' }: Attempt) => {
  const family = to.includes(':') ? 'IPv6' : 'IPv4'
  const caller = { name: from, ips: [senderIP(family, from)] }
  const { body } = await proxy.trace({ target: target(to, port), namespace: 'default', from: caller, protocol })
  const [frontend, ...more] = body.frontends
  if (frontend === undefined || more.length > 0) throw new Error(`${body.frontends.length} frontends: ${body.notes.join()}`)
  return frontend
}
const nft = (text: string) => net.node.run(['nft', '-f', '-'], { input: `${text}\n` })

interface Way {
  readonly name: string
  readonly service: Service
  readonly endpoints: Readonly<Partial<Record<Endpoint, object>>>
  readonly attempts: readonly Attempt[]
}
const ways = (family: IPFamily): readonly Way[] => {
  const { cluster, external, balancer, node, outside } = addresses[family]
  const bits = family === 'IPv4' ? 32 : 128
  const tries = (from: Sender, ...to: readonly string[]): readonly Attempt[] =>
    to.map(ip => ({ from, to: ip, port: ip === node ? nodePort : 80 }))
  return [
    {
      name: 'policy Cluster',
      service: balancedService(family),
      endpoints: { a: ready },
      attempts: [
        ...tries('pod', cluster, external, balancer, node),
        ...tries('outside', cluster, external, balancer, node),
        ...tries('node', cluster),
      ],
    },
    {
      name: 'policy Local with an endpoint elsewhere only',
      service: balancedService(family, { externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Local' }),
      endpoints: { remote: ready },
      attempts: [...tries('pod', cluster, external, balancer), ...tries('outside', external, balancer, node)],
    },
    {
      name: 'policy Local with an endpoint here',
      service: balancedService(family, { externalTrafficPolicy: 'Local' }),
      endpoints: { a: ready, b: { ready: false } },
      attempts: [...tries('pod', external), ...tries('outside', external, node)],
    },
    {
      name: 'nobody ready',
      service: balancedService(family),
      endpoints: { a: { ready: false } },
      attempts: [...tries('pod', cluster), ...tries('outside', external, node)],
    },
    {
      name: 'source ranges that hold the other host',
      service: balancedService(family, { loadBalancerSourceRanges: [`${outside}/${bits}`] }),
      endpoints: { a: ready },
      attempts: tries('outside', balancer, node),
    },
    {
      name: 'source ranges that do not',
      service: balancedService(family, { loadBalancerSourceRanges: [family === 'IPv4' ? '198.51.100.0/24' : 'fd99::/64'] }),
      endpoints: { a: ready },
      attempts: tries('outside', balancer, node),
    },
  ]
}

/** What a client meets, as a trace would say it. */
const met = (family: IPFamily, outcome: Awaited<ReturnType<typeof net.send>>): object => {
  if (outcome === 'refused') return { does: 'reject' }
  if (outcome === 'dropped') return { does: 'drop' }
  const to = target(addresses[family].endpoints[outcome.reached], 8080)
  return { does: 'translate', to: [to], masqueraded: outcome.sees === 'node' }
}

for (const family of both)
  for (const { name, service: one, endpoints, attempts } of ways(family))
    await t.test(`${family}, ${name}: packets do what the trace says, and the kernel holds what it names`, async t2 => {
      await set(one, [slice(family, endpoints)])
      const { stdout } = await net.node.run(['nft', 'list', 'table', ...tables[family].split(' ')])
      for (const attempt of attempts) {
        const told = await traceOf(attempt)
        t2.equal(told.outcomes.length, 1)
        t2.match(told.outcomes[0], met(family, await net.send(attempt)) as Outcome, `from ${attempt.from} to ${attempt.to}`)
        t2.match(told, { verdict: 'same', kernel: { place: `table ${tables[family]}`, notAsked: 0 } })
        t2.ok((told.kernel?.pieces.length ?? 0) > 0)
        for (const { key, found } of told.kernel?.pieces ?? [])
          t2.ok(stdout.includes(found === '' ? key : `${key} : ${found}`), `nft lists ${key}`)
      }
    })

for (const family of both)
  await t.test(
    `${family}: a live connection is shown with who answers it, and only those of the caller that is named`,
    async t2 => {
      const { cluster, pod, endpoints, node } = addresses[family]
      await set(balancedService(family), [slice(family, { a: ready })])
      const asked = { to: cluster, port: 80, protocol: 'UDP' } as const
      t2.match(await net.peers.pod.ask(asked, { fromPort: 40_100 }), /^a /)
      t2.match(await net.peers.b.ask(asked, { fromPort: 40_101 }), /^a /)
      t2.match(await net.peers.outside.ask({ ...asked, to: node, port: nodePort }, { fromPort: 40_102 }), /^a /)
      const shown = (await traceOf({ from: 'pod', ...asked })).flows ?? []
      t2.match(shown, [{ from: pod, fromPort: 40_100, to: cluster, toPort: 80, answeredBy: endpoints.a, answeredByPort: 8080 }])
      t2.equal(shown.length, 1)
      const everybody = await proxy.trace({ target: 'web:udp', namespace: 'default', from: undefined, protocol: undefined })
      const ports = everybody.body.frontends.map(({ kind, flows }) => [kind, flows?.map(({ fromPort }) => fromPort).sort()])
      t2.match(ports, [
        ['cluster-ip', [40_100, 40_101]],
        ['external-ip', []],
        ['load-balancer', []],
        ['node-port', [40_102]],
      ])
      t2.match(everybody.text, `-> ${target(cluster, 80)}  answered by ${target(endpoints.a, 8080)}`)
    },
  )

for (const family of both)
  await t.test(`${family}: a client that is remembered is told its endpoint and for how long`, async t2 => {
    const { cluster } = addresses[family]
    await set(service(family, { sessionAffinity: 'ClientIP' }), [slice(family, { a: ready, b: ready })])
    const attempt = { from: 'pod', to: cluster, port: 80 } as const
    t2.same((await traceOf(attempt)).kernel?.remembered, [], 'nobody has called yet')
    const first = await net.send(attempt)
    const reached = typeof first === 'object' ? addresses[family].endpoints[first.reached] : ''
    t2.match((await traceOf(attempt)).kernel?.remembered, [
      { frontend: `${cluster} 80`, endpoint: `${reached} . 8080`, expires: /^(3h|2h59m)/ },
    ])
  })

await t.test('with a thousand Services a trace and a comparison of everything are quick', async t2 => {
  const octets = (index: number) => `${index >> 8}.${index & 255}`
  for (let index = 0; index < 1_000; index++) {
    const name = `many-${index}`
    const clusterIP = `10.97.${octets(index)}`
    const addressesOf = [1, 2].map(at => ({ addresses: [`10.${100 + at}.${octets(index)}`] }))
    services.put({
      metadata: { namespace: 'default', name },
      spec: { type: 'ClusterIP', clusterIP, clusterIPs: [clusterIP], ipFamilies: ['IPv4'], ports: [{ port: 80 }] },
    })
    slices.put({
      metadata: { namespace: 'default', name, labels: { [serviceNameLabel]: name } },
      addressType: 'IPv4',
      ports: [{ port: 8080 }],
      endpoints: addressesOf,
    })
  }
  await proxy.settled()
  const began = systemClock.monotonic()
  const diff = await proxy.diff()
  const compared = systemClock.monotonic()
  t2.match(diff, { same: true, differences: [] })
  t2.ok(diff.compared > 4_000, `${diff.compared} pieces`)
  t2.ok(compared - began < 2_000, `compared in ${Math.round(compared - began)} ms`)
  t2.match(await traceOf({ from: 'pod', to: '10.97.3.1', port: 80 }), { verdict: 'same', outcomes: [{ to: { length: 2 } }] })
  const traced = systemClock.monotonic() - compared
  t2.ok(traced < 500, `traced in ${Math.round(traced)} ms`)
  for (let index = 0; index < 1_000; index++) {
    services.remove('default', `many-${index}`)
    slices.remove('default', `many-${index}`)
  }
  await proxy.settled()
})

await t.test('a running proxy has repaired what was removed by the time that it is asked', async t2 => {
  await set(service('IPv4'), [slice('IPv4', { a: ready })])
  const { drifts } = proxy.status()
  await nft('flush table ip nodelet-proxy')
  await waitFor('the drift to be noticed', () => proxy.status().drifts > drifts)
  t2.match(await proxy.diff(), { same: true, differences: [] })
})

// From here on nobody repairs: what others do to the table stays, and is told.
await t.test('what somebody else changed', async t2 => {
  await set(service('IPv4', {}, ['TCP']), [slice('IPv4', { a: ready, b: ready }, ['TCP'])])
  await proxy.stop()
  const { body } = await proxy.trace({ target: 'web', namespace: 'default', from: undefined, protocol: undefined })
  const [frontend] = body.frontends
  const decides = frontend?.kernel?.pieces[0]
  const draws = frontend?.kernel?.pieces[1]
  if (decides === undefined || draws === undefined) throw new Error('no pieces')
  const { stdout } = await net.node.run(['nft', 'list', 'chains', 'ip'])
  const services_ = /chain (services\S*) \{/.exec(stdout)?.[1] ?? ''
  const inMap = (map: string) => `ip nodelet-proxy ${map}`
  const cases: readonly (readonly [string, string, string, readonly object[]])[] = [
    [
      'an element that was deleted',
      `delete element ${inMap(decides.where)} { ${decides.key} }`,
      `add element ${inMap(decides.where)} { ${decides.key} : ${decides.wanted} }`,
      [{ kind: 'missing', what: `element ${decides.where} { ${decides.key} }`, wanted: decides.wanted }],
    ],
    [
      'an element that leads elsewhere',
      `delete element ${inMap(draws.where)} { ${draws.key} }\nadd element ${inMap(draws.where)} { ${draws.key} : 192.0.2.1 . 80 }`,
      `delete element ${inMap(draws.where)} { ${draws.key} }\nadd element ${inMap(draws.where)} { ${draws.key} : ${draws.wanted} }`,
      [{ kind: 'different', what: `element ${draws.where} { ${draws.key} }`, wanted: draws.wanted, found: '192.0.2.1 . 80' }],
    ],
    [
      'an element that nobody wants',
      `add element ${inMap(draws.where)} { 10.96.0.99 . 80 . 0 : 192.0.2.1 . 80 }`,
      `delete element ${inMap(draws.where)} { 10.96.0.99 . 80 . 0 }`,
      [{ kind: 'foreign', what: `element ${draws.where} { 10.96.0.99 . 80 . 0 }`, found: '192.0.2.1 . 80' }],
    ],
    [
      'a chain that nobody wants',
      'add chain ip nodelet-proxy mine\nadd rule ip nodelet-proxy mine drop',
      'delete chain ip nodelet-proxy mine',
      [{ kind: 'foreign', what: 'chain mine' }],
    ],
    [
      'a rule that nobody wants, and whose set nft prints on several lines',
      `insert rule ip nodelet-proxy ${services_} ip saddr { ${Array.from({ length: 20 }, (_, i) => `192.0.2.${2 * i}`).join(', ')} } drop`,
      '',
      [{ kind: 'foreign', what: `rule in chain ${services_}`, found: /^ip saddr \{ 192\.0\.2\.0, .*192\.0\.2\.38 \} drop$/ }],
    ],
    [
      'rules that were flushed',
      `flush chain ip nodelet-proxy ${services_}`,
      '',
      [
        { kind: 'missing', what: `rule in chain ${services_}`, wanted: /cluster-ips/ },
        { kind: 'missing', what: `rule in chain ${services_}`, wanted: /vmap @service-ips/ },
        { kind: 'missing', what: `rule in chain ${services_}`, wanted: /vmap @service-node-ports/ },
      ],
    ],
    ['the whole table', 'delete table ip nodelet-proxy', '', [{ kind: 'missing', what: 'table ip nodelet-proxy' }]],
  ]
  t2.match(await proxy.diff(), { same: true, differences: [] }, 'nothing at first')
  for (const [name, text, back, differences] of cases)
    await t2.test(name, async t3 => {
      await nft(text)
      const diff = await proxy.diff()
      t3.equal(diff.same, false)
      t3.match(diff.differences, differences)
      t3.equal(diff.differences.length, differences.length)
      for (const { place } of diff.differences) t3.equal(place, 'table ip nodelet-proxy')
      if (back !== '') {
        await nft(back)
        t3.match(await proxy.diff(), { same: true })
      }
    })
  const lost = await proxy.trace({ target: 'web', namespace: 'default', from: undefined, protocol: undefined })
  t2.match(lost.body.frontends, [{ verdict: 'differs', verdictText: /differs in \d+ of \d+ pieces; `nodelet diff`/ }])
  t2.match(lost.text, /MISSING +service-ips/)
})
