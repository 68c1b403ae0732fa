// A Service and the pods that it selects, as EndpointSlices: a pure function. No clock, no I/O, no memory but the slices of before.
// What has not changed stays the identical object, so that a reader compares by reference and a change costs what it changes.
// Follows the endpoint slice controller (k8s.io: EndpointSlices): one set of slices per family and per set of port numbers.
import { sidecarsOf } from '../../api/pod.ts'
import {
  type Endpoint,
  type EndpointPort,
  type EndpointSlice,
  type Service,
  type ServicePort,
  serviceNameLabel,
} from '../../api/service-types.ts'
import type { ContainerPort, Pod } from '../../api/types.ts'
import { formatAddress, parseAddress } from '../../host/address.ts'
import { isHeadless } from './families.ts'
import { keyHash } from './hash.ts'

/** Where pods of this machine are: what their endpoints say, unless the pod itself names a node. */
export interface Place {
  readonly nodeName: string
  readonly zone?: string
}

export const maxEndpointsPerSlice = 100
const managedByLabel = 'endpointslice.kubernetes.io/managed-by'
const headlessLabel = 'service.kubernetes.io/headless'
const controllerName = 'endpointslice-controller.k8s.io'

/** True when every pair of the selector is among the labels; an empty selector selects nothing. */
export const selects = (
  selector: Readonly<Record<string, string>> | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): boolean => {
  const pairs = Object.entries(selector ?? {})
  return pairs.length > 0 && pairs.every(([name, value]) => labels?.[name] === value)
}

const addressesOf = (pod: Pod, family: string): readonly string[] => {
  const { podIP, podIPs } = pod.status ?? {}
  const texts = podIPs?.map(({ ip }) => ip) ?? (podIP ? [podIP] : [])
  return texts.flatMap(text => {
    const address = parseAddress(text)
    return address?.family === family ? [formatAddress(address)] : []
  })
}

const isOver = ({ status }: Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed'

const isReady = ({ status }: Pod): boolean =>
  status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true

const containerPorts = (pod: Pod): readonly ContainerPort[] =>
  [...pod.spec.containers, ...sidecarsOf(pod)].flatMap(({ ports }) => ports ?? [])

/** The number behind a Service's port in this pod; undefined when its name is not among the pod's ports. */
const targetPortOf = (pod: Pod, port: ServicePort): number | undefined => {
  const target = port.targetPort || port.port
  if (typeof target === 'number') return target
  const protocol = port.protocol ?? 'TCP'
  return containerPorts(pod).find(it => it.name === target && (it.protocol ?? 'TCP') === protocol)?.containerPort
}

const portsOf = (service: Service, pod: Pod): readonly EndpointPort[] =>
  (service.spec.ports ?? []).flatMap(port => {
    const number = targetPortOf(pod, port)
    return number === undefined ? [] : [{ name: port.name ?? '', protocol: port.protocol ?? 'TCP', port: number }]
  })

const endpointOf = (service: Service, pod: Pod, addresses: readonly string[], place: Place): Endpoint => {
  const serving = isReady(pod)
  const terminating = pod.metadata.deletionTimestamp !== undefined
  const { hostname, subdomain, nodeName } = pod.spec
  const { namespace, name, uid } = pod.metadata
  return {
    addresses,
    conditions: {
      ready: service.spec.publishNotReadyAddresses === true || (serving && !terminating),
      serving,
      terminating,
    },
    ...(hostname && subdomain === service.metadata.name && { hostname }),
    nodeName: nodeName || place.nodeName,
    ...(place.zone !== undefined && { zone: place.zone }),
    targetRef: { kind: 'Pod', ...(namespace !== undefined && { namespace }), name, ...(uid !== undefined && { uid }) },
  }
}

/** Endpoints that share a family and port numbers, and so may share slices. */
interface Group {
  readonly family: 'IPv4' | 'IPv6'
  readonly ports: readonly EndpointPort[]
  readonly endpoints: Endpoint[]
}

const groupName = (family: string, ports: readonly EndpointPort[]): string =>
  keyHash([family, ...ports.map(({ name, protocol, port }) => `${name} ${protocol} ${port}`)].join('\n')).toString(36)

const groupsOf = (service: Service, pods: readonly Pod[], place: Place): ReadonlyMap<string, Group> => {
  const families = service.spec.ipFamilies ?? ['IPv4']
  const groups = new Map<string, Group>()
  for (const pod of pods) {
    if (isOver(pod)) continue
    const ports = portsOf(service, pod)
    for (const family of families) {
      const addresses = addressesOf(pod, family)
      if (addresses.length === 0) continue
      const name = groupName(family, ports)
      const group = groups.get(name) ?? { family, ports, endpoints: [] }
      group.endpoints.push(endpointOf(service, pod, addresses, place))
      groups.set(name, group)
    }
  }
  // A Service without endpoints still has one slice of each family, which says that somebody has looked.
  for (const family of families)
    if (![...groups.values()].some(group => group.family === family))
      groups.set(groupName(family, []), { family, ports: [], endpoints: [] })
  return groups
}

const sameFlat = (a: object | undefined, b: object | undefined): boolean => {
  if (a === b) return true
  if (a === undefined || b === undefined) return false
  const left = Object.entries(a)
  return left.length === Object.keys(b).length && left.every(([name, value]) => (b as Record<string, unknown>)[name] === value)
}

const sameEndpoint = (a: Endpoint, b: Endpoint): boolean =>
  a.hostname === b.hostname &&
  a.nodeName === b.nodeName &&
  a.zone === b.zone &&
  a.addresses.join() === b.addresses.join() &&
  sameFlat(a.conditions, b.conditions) &&
  sameFlat(a.targetRef, b.targetRef)

const podOf = ({ targetRef }: Endpoint): string => targetRef?.uid ?? targetRef?.name ?? ''

/** The endpoints in slices: those that were in a slice stay in it, new ones go where there is room. */
const distribute = (group: Group, before: readonly (EndpointSlice | undefined)[]): readonly (readonly Endpoint[])[] => {
  const wanted = new Map(group.endpoints.map(endpoint => [podOf(endpoint), endpoint]))
  const chunks = before.map(slice =>
    (slice?.endpoints ?? []).flatMap(old => {
      const now = wanted.get(podOf(old))
      wanted.delete(podOf(old))
      return now === undefined ? [] : [sameEndpoint(old, now) ? old : now]
    }),
  )
  for (const endpoint of wanted.values()) {
    const room = chunks.find(chunk => chunk.length < maxEndpointsPerSlice)
    if (room === undefined) chunks.push([endpoint])
    else room.push(endpoint)
  }
  return chunks
}

const labelsOf = (service: Service): Readonly<Record<string, string>> => {
  const { [serviceNameLabel]: _name, [managedByLabel]: _by, [headlessLabel]: _headless, ...own } = service.metadata.labels ?? {}
  return {
    ...own,
    ...(isHeadless(service.spec) && { [headlessLabel]: '' }),
    [serviceNameLabel]: service.metadata.name,
    [managedByLabel]: controllerName,
  }
}

const sliceOf = (service: Service, name: string, group: Group, endpoints: readonly Endpoint[]): EndpointSlice => {
  const { namespace, name: owner, uid } = service.metadata
  const ownerReferences =
    uid === undefined ? [] : [{ apiVersion: 'v1', kind: 'Service', name: owner, uid, controller: true, blockOwnerDeletion: true }]
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name,
      ...(namespace !== undefined && { namespace }),
      labels: labelsOf(service),
      ...(ownerReferences.length > 0 && { ownerReferences }),
    },
    addressType: group.family,
    endpoints,
    ports: group.ports,
  }
}

const sameSlice = (a: EndpointSlice, b: EndpointSlice): boolean =>
  a.endpoints.length === b.endpoints.length &&
  a.endpoints.every((endpoint, index) => endpoint === b.endpoints[index]) &&
  sameFlat(a.metadata.labels, b.metadata.labels) &&
  a.metadata.ownerReferences?.[0]?.uid === b.metadata.ownerReferences?.[0]?.uid

/**
 * The slices of a Service.
 * @param pods those that it selects, in a stable order; what is over or has no address is left out
 * @param before what this function gave for the Service the last time
 * @returns none for a Service without a selector or of type ExternalName; objects of `before` where nothing changed
 */
export const slicesOf = (
  service: Service,
  pods: readonly Pod[],
  before: readonly EndpointSlice[],
  place: Place,
): readonly EndpointSlice[] => {
  if (service.spec.type === 'ExternalName' || Object.keys(service.spec.selector ?? {}).length === 0) return []
  const old = new Map(before.map(slice => [slice.metadata.name, slice]))
  const slices: EndpointSlice[] = []
  for (const [hash, group] of groupsOf(service, pods, place)) {
    const prefix = `${service.metadata.name}-${hash}`
    const nameOf = (index: number) => (index === 0 ? prefix : `${prefix}-${index}`)
    const indexes = before.flatMap(({ metadata: { name } }) =>
      name === prefix ? [0] : name.startsWith(`${prefix}-`) ? [Number(name.slice(prefix.length + 1))] : [],
    )
    const known = Array.from({ length: Math.max(-1, ...indexes) + 1 }, (_, index) => old.get(nameOf(index)))
    const chunks = group.endpoints.length === 0 ? [[]] : distribute(group, known)
    for (const [index, endpoints] of chunks.entries()) {
      if (endpoints.length === 0 && group.endpoints.length > 0) continue
      const slice = sliceOf(service, nameOf(index), group, endpoints)
      const was = old.get(nameOf(index))
      slices.push(was !== undefined && sameSlice(was, slice) ? was : slice)
    }
  }
  return slices
}
