// What cluster DNS answers from: Services, their slices and the pods, looked up by name and by address. Kept up by the sources'
// changes, so that a question costs a few map lookups and the answer is never older than the last change.
// Holds no DNS: answer.ts makes records of it.
import { keyOf, type Listener, type Source } from '../../../api/source.ts'
import { type EndpointSlice, type KubeObject, type Pod, type Service, serviceNameLabel } from '../../../api/types.ts'
import { canonicalAddress } from '../address.ts'

export interface Zone {
  /** False until everything there was at the start is known: until then nothing can be said not to exist. */
  readonly isSynced: boolean
  service(namespace: string, name: string): Service | undefined
  slices(namespace: string, name: string): readonly EndpointSlice[]
  /** True when a Service or a pod is in the namespace. */
  hasNamespace(namespace: string): boolean
  hasPod(namespace: string, address: string): boolean
  /** Services that have the address as a cluster IP, else those that have it among their endpoints. */
  servicesAt(address: string): readonly Service[]
}

/** Sets of keys under a name; an empty set is gone. */
const createIndex = () => {
  const sets = new Map<string, Set<string>>()
  return {
    get: (name: string): ReadonlySet<string> => sets.get(name) ?? new Set(),
    has: (name: string): boolean => sets.has(name),
    move: (key: string, before: readonly string[], after: readonly string[]) => {
      for (const name of before) {
        const set = sets.get(name)
        set?.delete(key)
        if (set?.size === 0) sets.delete(name)
      }
      for (const name of after) sets.set(name, (sets.get(name) ?? new Set()).add(key))
    },
  }
}

const namespaceOf = (object: KubeObject): string => object.metadata.namespace ?? ''

const canonical = (addresses: readonly string[]): readonly string[] =>
  addresses.map(canonicalAddress).filter(address => address !== undefined)

const clusterIPsOf = ({ spec }: Service): readonly string[] =>
  canonical(spec.clusterIPs ?? (spec.clusterIP === undefined ? [] : [spec.clusterIP]))

const endpointAddressesOf = ({ endpoints }: EndpointSlice): readonly string[] =>
  canonical(endpoints.flatMap(({ addresses }) => addresses))

const podAddressesOf = ({ status }: Pod): readonly string[] =>
  canonical(status?.podIPs?.map(({ ip }) => ip) ?? (status?.podIP ? [status.podIP] : []))

const serviceOf = (slice: EndpointSlice): string => `${namespaceOf(slice)}/${slice.metadata.labels?.[serviceNameLabel] ?? ''}`

export const createZone = (sources: {
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  readonly pods: Source<Pod>
}): { readonly zone: Zone; readonly stop: () => void } => {
  const { services, endpointSlices, pods } = sources
  const byClusterIP = createIndex()
  const byEndpoint = createIndex()
  const podsAt = createIndex()
  const namespaces = createIndex()
  const slicesByService = new Map<string, Map<string, EndpointSlice>>()

  /** Keeps an index of names per object of a source. */
  const indexed = <T extends KubeObject>(kind: string, track: (key: string, before?: T, after?: T) => void): Listener<T> => ({
    changed: (before, after) => {
      const object = after ?? before
      if (object === undefined) return
      track(`${kind} ${keyOf(object)}`, before, after)
    },
  })
  const inNamespace = (key: string, before?: KubeObject, after?: KubeObject) =>
    namespaces.move(key, before ? [namespaceOf(before)] : [], after ? [namespaceOf(after)] : [])
  const moveSlice = (key: string, before?: EndpointSlice, after?: EndpointSlice) => {
    byEndpoint.move(key, before ? endpointAddressesOf(before) : [], after ? endpointAddressesOf(after) : [])
    if (before !== undefined) {
      const of = slicesByService.get(serviceOf(before))
      of?.delete(key)
      if (of?.size === 0) slicesByService.delete(serviceOf(before))
    }
    if (after === undefined) return
    const of = slicesByService.get(serviceOf(after)) ?? new Map<string, EndpointSlice>()
    slicesByService.set(serviceOf(after), of.set(key, after))
  }
  const stops = [
    services.subscribe(
      indexed('service', (key, before, after) => {
        inNamespace(key, before, after)
        byClusterIP.move(key, before ? clusterIPsOf(before) : [], after ? clusterIPsOf(after) : [])
      }),
    ),
    endpointSlices.subscribe(indexed('slice', moveSlice)),
    pods.subscribe(
      indexed('pod', (key, before, after) => {
        inNamespace(key, before, after)
        const names = (pod: Pod) => podAddressesOf(pod).map(address => `${namespaceOf(pod)} ${address}`)
        podsAt.move(key, before ? names(before) : [], after ? names(after) : [])
      }),
    ),
  ]
  const serviceAt = (key: string) => {
    const [namespace = '', name = ''] = key.slice(key.indexOf(' ') + 1).split('/')
    return services.get(namespace, name)
  }
  const servicesWithEndpoint = (address: string): readonly (Service | undefined)[] => {
    const slices = [...byEndpoint.get(address)].map(key => {
      const [namespace = '', name = ''] = key.slice(key.indexOf(' ') + 1).split('/')
      return endpointSlices.get(namespace, name)
    })
    return [...new Set(slices.flatMap(slice => (slice === undefined ? [] : [serviceOf(slice)])))].map(key => serviceAt(` ${key}`))
  }
  const zone: Zone = {
    get isSynced() {
      return services.isSynced && endpointSlices.isSynced && pods.isSynced
    },
    service: (namespace, name) => services.get(namespace, name),
    slices: (namespace, name) => [...(slicesByService.get(`${namespace}/${name}`)?.values() ?? [])],
    hasNamespace: namespace => namespaces.has(namespace),
    hasPod: (namespace, address) => podsAt.has(`${namespace} ${address}`),
    servicesAt: address => {
      const owners = [...byClusterIP.get(address)].map(serviceAt)
      return (owners.length > 0 ? owners : servicesWithEndpoint(address)).filter(service => service !== undefined)
    },
  }
  return { zone, stop: () => stops.forEach(stop => void stop()) }
}
