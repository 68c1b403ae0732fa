// What a pod may learn about itself: fieldRef and resourceFieldRef to text, for variables and for files. Pure.
// Follows k8s.io: Downward API; kubelet's podFieldSelectorRuntimeValue, pkg/fieldpath, pkg/api/v1/resource.
import type { Quantity, ResourceList } from '../api/meta.ts'
import { containerOf, namespaceOf } from '../api/pod.ts'
import { toBytes, toMilli } from '../api/quantity.ts'
import type { Container, FieldRef, Pod, ResourceFieldRef } from '../api/types.ts'
import { Fault } from '../host/fault.ts'

/** What is known about a pod only on its node, while it runs. */
export interface Live {
  /** In the order of the node's families, the primary first; empty before the sandbox is up. */
  readonly podIPs: readonly string[]
  readonly hostIPs: readonly string[]
}

const wrong = (message: string): Fault =>
  new Fault('container-config', message, { reason: 'CreateContainerConfigError', retry: 'never' })

const namedEscapes: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
  '"': '\\"',
}
const printable = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u

/** As Go's strconv.Quote writes it, which is what files of labels have always held. */
const quote = (text: string): string => {
  const escapeOne = (char: string): string => {
    const named = namedEscapes[char]
    if (named !== undefined) return named
    if (printable.test(char)) return char
    const code = char.codePointAt(0) ?? 0
    if (code < 0x20 || code === 0x7f) return `\\x${code.toString(16).padStart(2, '0')}`
    return code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`
  }
  return `"${[...text].map(escapeOne).join('')}"`
}

/** Labels or annotations as lines of key="value", sorted by key, no line end after the last. */
export const formatMap = (map: Readonly<Record<string, string>> = {}): string =>
  Object.keys(map)
    .sort()
    .map(key => `${key}=${quote(map[key] ?? '')}`)
    .join('\n')

const qualifiedName = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/

const subscripted = (pod: Pod, fieldPath: string): string | undefined => {
  const [, path, key] = /^(.+?)\['(.*)'\]$/s.exec(fieldPath) ?? []
  if (path === undefined || key === undefined) return undefined
  if (path !== 'metadata.labels' && path !== 'metadata.annotations') {
    throw wrong(`field label does not support subscript: ${fieldPath}`)
  }
  // annotation keys of old are allowed capital letters in their prefix, label keys are not
  if (!qualifiedName.test(path === 'metadata.annotations' ? key.toLowerCase() : key)) {
    throw wrong(`invalid key subscript in ${fieldPath}`)
  }
  const map = path === 'metadata.labels' ? pod.metadata.labels : pod.metadata.annotations
  return map !== undefined && Object.hasOwn(map, key) ? (map[key] ?? '') : ''
}

/**
 * The text of a field that a file of a volume may show: those of the metadata.
 * @throws Fault `container-config` for any other
 */
export const metadataField = (pod: Pod, { fieldPath }: FieldRef): string => {
  const single = subscripted(pod, fieldPath)
  if (single !== undefined) return single
  if (fieldPath === 'metadata.name') return pod.metadata.name
  if (fieldPath === 'metadata.namespace') return namespaceOf(pod)
  if (fieldPath === 'metadata.uid') return pod.metadata.uid ?? ''
  if (fieldPath === 'metadata.labels') return formatMap(pod.metadata.labels)
  if (fieldPath === 'metadata.annotations') return formatMap(pod.metadata.annotations)
  throw wrong(`unsupported fieldPath: ${fieldPath}`)
}

/**
 * The text of a field that a variable may show: those of the metadata, and what is known only on the node.
 * @throws Fault `container-config` for any other
 */
export const podField = (pod: Pod, ref: FieldRef, live: Live): string => {
  if (ref.apiVersion !== undefined && ref.apiVersion !== '' && ref.apiVersion !== 'v1') {
    throw wrong(`unsupported pod version: ${ref.apiVersion}`)
  }
  switch (ref.fieldPath) {
    case 'spec.nodeName':
    case 'spec.host':
      return pod.spec.nodeName ?? ''
    case 'spec.serviceAccountName':
      return pod.spec.serviceAccountName ?? ''
    case 'status.hostIP':
      return live.hostIPs[0] ?? ''
    case 'status.hostIPs':
      return live.hostIPs.join(',')
    case 'status.podIP':
      return live.podIPs[0] ?? ''
    case 'status.podIPs':
      return live.podIPs.join(',')
    default:
      return metadataField(pod, ref)
  }
}

const isZero = (quantity: Quantity | undefined): boolean => quantity === undefined || toMilli(quantity) === 0

/** The limit that holds when the container has none: the pod's own, else what the node has to give. */
const limitOf = (pod: Pod, container: Container, resource: string, allocatable: ResourceList): Quantity => {
  const own = container.resources?.limits?.[resource]
  if (own !== undefined && !isZero(own)) return own
  if (resource.startsWith('hugepages-')) return own ?? 0
  const ofPod = resource === 'ephemeral-storage' ? undefined : pod.spec.resources?.limits?.[resource]
  if (ofPod !== undefined && !isZero(ofPod)) return ofPod
  return allocatable[resource] ?? 0
}

const named = (pod: Pod, name: string): Container => {
  const found = containerOf(pod, name)
  if (found === undefined) throw wrong(`container ${name} not found`)
  return found
}

/**
 * The text of a container's request or limit, in units of the divisor, rounded up.
 * @param container the one that asks; may be left out where the reference names one
 * @param allocatable what the node has to give: stands in for limits that nobody set
 * @throws Fault `container-config` for a resource that cannot be asked for, or a container that is not there
 */
export const resourceField = (pod: Pod, ref: ResourceFieldRef, allocatable: ResourceList, container?: Container): string => {
  const wanted = ref.containerName || container === undefined ? named(pod, ref.containerName ?? '') : container
  const [, kind, resource = ''] = /^(requests|limits)\.(cpu|memory|ephemeral-storage|hugepages-.+)$/.exec(ref.resource) ?? []
  if (kind === undefined) throw wrong(`unsupported container resource : ${ref.resource}`)
  const amount = kind === 'limits' ? limitOf(pod, wanted, resource, allocatable) : (wanted.resources?.requests?.[resource] ?? 0)
  const divisor = ref.divisor === undefined || isZero(ref.divisor) ? 1 : ref.divisor
  const units = resource === 'cpu' ? toMilli : toBytes
  return String(Math.ceil(units(amount) / units(divisor)))
}
