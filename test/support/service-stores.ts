// The stores from which a proxy learns of Services and their endpoints, filled by a test.

import type { KubeObject } from '../../api/meta.ts'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { createStore, type Store } from '../../api/source.ts'

/** Makes a store hold these objects of the namespace `default` and no others; what stays is put again. */
const hold = <T extends KubeObject>(store: Store<T>, wanted: readonly T[]): void => {
  for (const { metadata } of store.list())
    if (!wanted.some(one => one.metadata.name === metadata.name)) store.remove('default', metadata.name)
  for (const one of wanted) store.put(one)
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
