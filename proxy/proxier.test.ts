// The loop with a clock that is moved by hand and backends that only note what they are given.
import t from 'tap'
import type { EndpointSlice, IPFamily, Service } from '../api/service-types.ts'
import { createStore } from '../api/source.ts'
import { fakeClock } from '../host/clock.fake.ts'
import type { Flow } from '../host/conntrack.ts'
import { Fault } from '../host/fault.ts'
import { silentLog } from '../host/log.ts'
import { service, slice } from './backend.contract.ts'
import type { Backend } from './backend.ts'
import { createDrift } from './drift.ts'
import { createProxier, type SyncReport } from './proxier.ts'
import { createLosses, createVanished } from './vanished.ts'

const ready = { ready: true }

const start = () => {
  const clock = fakeClock()
  const done: string[] = []
  const reports: SyncReport[] = []
  const removed: Flow[] = []
  const broken = new Set<IPFamily>()
  let flows: readonly Flow[] = []
  const backend = (family: IPFamily): Backend => {
    const attempt = async (what: string) => {
      done.push(`${family} ${what}`)
      if (broken.has(family)) throw new Fault('kernel-refused', 'no')
      return { transactions: 1, operations: 1 }
    }
    return {
      name: 'noted',
      family,
      apply: changes => attempt(`change ${changes.map(({ key }) => key).join(', ')}`),
      full: frontends => attempt(`all ${[...frontends].length}`),
    }
  }
  const services = createStore<Service>()
  const endpointSlices = createStore<EndpointSlice>()
  const proxier = createProxier({
    services,
    endpointSlices,
    node: { name: 'node-1', zone: '', ips: [] },
    backends: [backend('IPv4'), backend('IPv6')],
    conntrack: {
      list: async (family, protocol) => flows.filter(flow => flow.family === family && flow.protocol === protocol),
      remove: async stale => {
        if (stale.length > 0) done.push('flows')
        removed.push(...stale)
      },
    },
    clock,
    log: silentLog,
    slices: { pause: () => undefined },
    onSynced: report => reports.push(report),
  })
  const sync = () => {
    services.markSynced()
    endpointSlices.markSynced()
  }
  return {
    clock,
    done,
    reports,
    removed,
    broken,
    services,
    endpointSlices,
    proxier,
    sync,
    setFlows: (next: readonly Flow[]) => (flows = next),
  }
}
type Started = ReturnType<typeof start>

const settle = async ({ clock, done }: Started, ms = 50) => {
  await clock.advance(ms)
  return done.splice(0)
}
const tcpOnly = () => service('IPv4', {}, ['TCP'])

t.test('the first sync writes both families as a whole; then only what changed is written', async t2 => {
  const one = start()
  one.services.put(tcpOnly())
  t2.same(await settle(one), [], 'nothing yet')
  one.sync()
  t2.same(await settle(one), ['IPv4 all 1', 'IPv6 all 0'])
  t2.match(one.reports, [{ full: true, services: 1, frontends: 1 }])
  one.endpointSlices.put(slice('IPv4', { a: ready }))
  one.endpointSlices.put(slice('IPv4', { b: ready }))
  t2.same(await settle(one), ['IPv4 change 10.96.0.10 TCP 80'], 'two changes of one Service are one')
  t2.match(one.proxier.status(), { synced: true, syncs: 2, fullSyncs: 2, failures: 0, due: {} })
})

t.test('a family that fails gets everything anew, with growing pauses, and does not hold up the other', async t2 => {
  const one = start()
  one.sync()
  await settle(one)
  one.broken.add('IPv6')
  one.services.put(service('IPv6', {}, ['TCP']))
  one.services.put({ ...tcpOnly(), metadata: { namespace: 'default', name: 'other' } })
  const settled = one.proxier.settled()
  t2.same((await settle(one, 20)).sort(), ['IPv4 change 10.96.0.10 TCP 80', 'IPv6 change fd00:96::10 TCP 80'])
  t2.same(await settle(one, 120), ['IPv6 all 1'], 'after 100 ms')
  for (let change = 0; change < 20; change++) {
    one.endpointSlices.put(slice('IPv4', change % 2 === 0 ? { a: ready } : { b: ready }, ['TCP'], 'other'))
    await one.clock.advance(5)
  }
  t2.notOk(
    (await settle(one, 0)).some(what => what.startsWith('IPv6')),
    'changes meanwhile do not hurry it',
  )
  one.broken.clear()
  t2.same(await settle(one, 400), ['IPv6 all 1'])
  await settled
  t2.match(one.proxier.status(), { failures: 2, due: {} })
})

t.test('stale flows go after the new rules stand', async t2 => {
  const one = start()
  one.services.put(service('IPv4', {}, ['UDP']))
  one.endpointSlices.put(slice('IPv4', { a: ready }))
  one.sync()
  await settle(one)
  const flow: Flow = {
    family: 'IPv4',
    protocol: 'UDP',
    from: '10.244.1.10',
    fromPort: 4000,
    to: '10.96.0.10',
    toPort: 80,
    answeredBy: '10.244.1.11',
    answeredByPort: 8080,
  }
  one.setFlows([flow])
  one.endpointSlices.put(slice('IPv4', { b: ready }))
  t2.same(await settle(one), ['IPv4 change 10.96.0.10 UDP 80', 'flows'])
  t2.same(one.removed, [flow])
  t2.equal(one.proxier.status().staleFlowsRemoved, 1)
})

t.test('a node that changes is judged anew', async t2 => {
  const one = start()
  one.services.put(service('IPv4', { internalTrafficPolicy: 'Local' }, ['TCP']))
  one.endpointSlices.put(slice('IPv4', { a: ready }))
  one.sync()
  await settle(one)
  one.proxier.setNode({ name: 'node-2', zone: '', ips: [] })
  t2.same(await settle(one), ['IPv4 all 1', 'IPv6 all 0'])
})

t.test('drift makes the family that was touched whole again, and is counted', async t2 => {
  const one = start()
  one.sync()
  await settle(one)
  const losses = createLosses(createVanished({ clock: one.clock, log: silentLog }))
  const drift = createDrift({ resync: one.proxier.resync, losses })
  drift.onForeignChange({ table: 'ip nodelet-proxy', gone: ['table'] })
  drift.onForeignChange({ table: 'ip other', gone: ['table'] })
  t2.same(await settle(one), ['IPv4 all 0'])
  t2.equal(losses.count, 1)
  drift.onForeignChange({ table: 'ip6 nodelet-proxy', gone: ['unknown'] })
  t2.same(await settle(one), ['IPv6 all 0'], 'so does not knowing what happened')
  t2.equal(losses.count, 1, 'which is not counted')
})

t.test('once stopped, nothing is written any more', async t2 => {
  const one = start()
  one.sync()
  await settle(one)
  await one.proxier.stop()
  one.services.put(tcpOnly())
  one.proxier.resync('late')
  t2.same(await settle(one), [])
  await one.proxier.settled()
})
