// What cluster DNS answers from: Services, their slices and the pods, looked up by name and by address. Kept up by the sources'
// changes, so that a question costs a few map lookups and the answer is never older than the last change.
// Holds no DNS: answer.ts makes records of it.
import type { KubeObject } from '../../../api/meta.ts'
import { type EndpointSlice, type Service, serviceNameLabel } from '../../../api/service-types.ts'
import { keyOf, type Source } from '../../../api/source.ts'
import type { Pod } from '../../../api/types.ts'
import { canonicalAddress } from '../../../host/address.ts'

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
interface Index {
  get(name: string): ReadonlySet<string>
  has(name: string): boolean
  move(key: string, before: readonly string[], after: readonly string[]): void
}

const createIndex = (): Index => {
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

const partsOf = (key: string): readonly [string, string] => {
  const [namespace = '', name = ''] = key.split('/')
  return [namespace, name]
}

/** Slices by their Service, and Services by the addresses of their endpoints. */
const createSliceIndex = () => {
  const byService = new Map<string, Map<string, EndpointSlice>>()
  // An address may be in several slices of one Service: filed by slice, so that one that goes does not take the others along.
  const byAddress = createIndex()
  return {
    of: (service: string): readonly EndpointSlice[] => [...(byService.get(service)?.values() ?? [])],
    servicesAt: (address: string): readonly string[] => [
      ...new Set([...byAddress.get(address)].map(key => key.slice(0, key.indexOf(' ')))),
    ],
    move: (before: EndpointSlice | undefined, after: EndpointSlice | undefined) => {
      for (const [slice, isThere] of [[before, false] as const, [after, true] as const]) {
        if (slice === undefined) continue
        const service = serviceOf(slice)
        const slices = byService.get(service) ?? new Map<string, EndpointSlice>()
        byService.set(service, slices)
        const addresses = endpointAddressesOf(slice)
        byAddress.move(`${service} ${slice.metadata.name}`, isThere ? [] : addresses, isThere ? addresses : [])
        if (isThere) slices.set(slice.metadata.name, slice)
        else slices.delete(slice.metadata.name)
        if (slices.size === 0) byService.delete(service)
      }
    },
  }
}

export const createZone = (sources: {
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  readonly pods: Source<Pod>
}): { readonly zone: Zone; readonly stop: () => void } => {
  const { services, endpointSlices, pods } = sources
  const byClusterIP = createIndex()
  const podsAt = createIndex()
  const namespaces = createIndex()
  const slices = createSliceIndex()

  /** Follows a source: what an object is filed under goes with it. */
  const follow = <T extends KubeObject>(
    source: Source<T>,
    kind: string,
    index: Index,
    namesOf: (object: T) => readonly string[],
  ) =>
    source.subscribe({
      changed: (before, after) => {
        const object = after ?? before
        if (object === undefined) return
        index.move(keyOf(object), before ? namesOf(before) : [], after ? namesOf(after) : [])
        namespaces.move(`${kind} ${keyOf(object)}`, before ? [namespaceOf(before)] : [], after ? [namespaceOf(after)] : [])
      },
    })
  const stops = [
    follow(services, 'service', byClusterIP, clusterIPsOf),
    follow(pods, 'pod', podsAt, pod => podAddressesOf(pod).map(address => `${namespaceOf(pod)} ${address}`)),
    endpointSlices.subscribe({ changed: slices.move }),
  ]
  const zone: Zone = {
    get isSynced() {
      return services.isSynced && endpointSlices.isSynced && pods.isSynced
    },
    service: (namespace, name) => services.get(namespace, name),
    slices: (namespace, name) => slices.of(`${namespace}/${name}`),
    hasNamespace: namespace => namespaces.has(namespace),
    hasPod: (namespace, address) => podsAt.has(`${namespace} ${address}`),
    servicesAt: address => {
      const owners = byClusterIP.has(address) ? [...byClusterIP.get(address)] : slices.servicesAt(address)
      return owners.map(key => services.get(...partsOf(key))).filter(service => service !== undefined)
    },
  }
  return { zone, stop: () => stops.forEach(stop => void stop()) }
}
