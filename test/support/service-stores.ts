// The stores from which a proxy learns of Services and their endpoints, filled by a test.
import type { KubeObject } from '../../api/meta.ts'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { createStore, type Store } from '../../api/source.ts'

/** Makes a store hold these objects and no others; what stays is put again. */
export const hold = <T extends KubeObject>(store: Store<T>, wanted: readonly T[]): void => {
  const names = new Set(wanted.map(({ metadata }) => metadata.name))
  for (const { metadata } of store.list())
    if (!names.has(metadata.name)) store.remove(metadata.namespace ?? 'default', metadata.name)
  for (const object of wanted) store.put(object)
}

export const createServiceStores = () => {
  const services = createStore<Service>()
  const slices = createStore<EndpointSlice>()
  return {
    services,
    slices,
    fill: (wantedServices: readonly Service[], wantedSlices: readonly EndpointSlice[]): void => {
      hold(services, wantedServices)
      hold(slices, wantedSlices)
    },
  }
}
