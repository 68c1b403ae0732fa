import t from 'tap'
import type { EndpointSlice, Service } from '../api/service-types.ts'
import { createStore } from '../api/source.ts'
import { service, slice } from './backend.contract.ts'
import { createChanges } from './changes.ts'

const start = () => {
  const services = createStore<Service>()
  const endpointSlices = createStore<EndpointSlice>()
  let calls = 0
  const changes = createChanges({
    services,
    endpointSlices,
    onPending: () => {
      calls += 1
    },
  })
  return { services, endpointSlices, changes, calls: () => calls }
}
const ready = { ready: true }

t.test('nothing is handed out before both sources are synced', async t2 => {
  const { services, endpointSlices, changes, calls } = start()
  services.put(service('IPv4'))
  services.markSynced()
  t2.same([changes.take(), calls()], [[], 0])
  endpointSlices.put(slice('IPv4', { a: ready }))
  endpointSlices.markSynced()
  t2.equal(calls(), 1)
  t2.match(changes.take(), [{ key: 'default/web', after: { slices: [{ addressType: 'IPv4' }] } }])
})

t.test('many changes of one Service are one, from what was taken last to now', async t2 => {
  const { services, endpointSlices, changes } = start()
  services.markSynced()
  endpointSlices.markSynced()
  services.put(service('IPv4'))
  const [first] = changes.take()
  t2.equal(first?.before.service, undefined)
  endpointSlices.put(slice('IPv4', { a: ready }))
  endpointSlices.put(slice('IPv4', { b: ready }))
  const [second, ...more] = changes.take()
  t2.same(more, [])
  t2.equal(second?.before.slices.length, 0)
  t2.match(second?.after.slices, [{ endpoints: [{ addresses: ['10.244.1.12'] }] }])
})

t.test('what cancels itself is forgotten', async t2 => {
  const { services, endpointSlices, changes } = start()
  services.markSynced()
  endpointSlices.markSynced()
  services.put(service('IPv4'))
  services.remove('default', 'web')
  t2.same(changes.take(), [])
})

t.test('a slice that moves to another Service changes both', async t2 => {
  const { services, endpointSlices, changes } = start()
  services.markSynced()
  endpointSlices.markSynced()
  const one = slice('IPv4', { a: ready })
  endpointSlices.put(one)
  changes.take()
  endpointSlices.put({ ...one, metadata: { ...one.metadata, labels: { 'kubernetes.io/service-name': 'other' } } })
  t2.same(
    changes.take().map(({ key, after }) => [key, after.slices.length]),
    [
      ['default/web', 0],
      ['default/other', 1],
    ],
  )
})

t.test('touching all hands out every Service, changed or not', async t2 => {
  const { services, endpointSlices, changes } = start()
  services.markSynced()
  endpointSlices.markSynced()
  services.put(service('IPv4'))
  changes.take()
  changes.touchAll()
  t2.equal(changes.take().length, 1)
  t2.equal(changes.take().length, 0)
})

t.test('slices of a Service are told by name, whichever came last', async t2 => {
  const { services, endpointSlices, changes } = start()
  services.markSynced()
  endpointSlices.markSynced()
  const named = (name: string) => ({ ...slice('IPv4', { a: ready }), metadata: { ...slice('IPv4', {}).metadata, name } })
  for (const name of ['b', 'c', 'a', 'b']) endpointSlices.put(named(name))
  t2.same(
    changes.take()[0]?.after.slices.map(({ metadata }) => metadata.name),
    ['a', 'b', 'c'],
  )
})

t.test('slices of another program, and of headless Services, belong to nobody', async t2 => {
  const { services, endpointSlices, changes } = start()
  services.markSynced()
  endpointSlices.markSynced()
  services.put(service('IPv4'))
  for (const label of ['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless']) {
    const own = slice('IPv4', { a: ready })
    endpointSlices.put({ ...own, metadata: { ...own.metadata, name: label, labels: { ...own.metadata.labels, [label]: '' } } })
  }
  t2.same(changes.take()[0]?.after.slices, [])
  endpointSlices.put({
    ...slice('IPv4', { a: ready }),
    metadata: { ...slice('IPv4', {}).metadata, name: 'service.kubernetes.io/headless' },
  })
  t2.equal(changes.take()[0]?.after.slices.length, 1, 'until the label goes')
})
