// The environment of a container. Pure: objects in, variables out; files that fileKeyRef names are read by their owner
// (agent/volumes) before. Follows k8s.io: Define Environment Variables; kubelet's makeEnvironmentVariables for what wins
// over what: envFrom in order, then env in order over it, then Service variables only where nothing else has the name.
// Values are bytes, since a Secret's need not be text.

import type { KeyValue } from '../api/cri/types.ts'
import type { ResourceList } from '../api/meta.ts'
import { fullName, namespaceOf } from '../api/pod.ts'
import type { Service } from '../api/service-types.ts'
import type { Source } from '../api/source.ts'
import type { ConfigMap, Container, EnvFromSource, EnvVar, Pod, Secret } from '../api/types.ts'
import { Fault } from '../host/fault.ts'
import { type Live, podField, resourceField } from './downward.ts'
import { envFileValue } from './env-file.ts'
import { expand } from './expand.ts'

export interface EnvInput extends Live {
  readonly pod: Pod
  readonly container: Container
  readonly configMaps: Pick<Source<ConfigMap>, 'get'>
  readonly secrets: Pick<Source<Secret>, 'get'>
  /** All that are known; those of other namespaces are passed over. */
  readonly services: readonly Service[]
  /** What the node has to give to pods: stands in for limits that nobody set. */
  readonly allocatable: ResourceList
  /** Content of the files that fileKeyRef names, by `envFileKey`; one that does not exist is left out. */
  readonly files?: ReadonlyMap<string, string>
  /** Told about names that cannot be a variable's and are left out. */
  readonly warn?: (message: string) => void
}

/** The key of a file in `EnvInput.files`. */
export const envFileKey = (volume: string, path: string): string => `${volume}/${path}`

const wrong = (message: string): Fault => new Fault('container-config', message, { reason: 'CreateContainerConfigError' })

/** Values by name, or undefined when the object is not there. */
type Values = ReadonlyMap<string, Buffer> | undefined

const configMapValues = (input: EnvInput, name: string): Values => {
  const found = input.configMaps.get(namespaceOf(input.pod), name)
  // binaryData never becomes a variable
  return found && new Map(Object.entries(found.data ?? {}).map(([key, text]) => [key, Buffer.from(text)]))
}

const secretValues = (input: EnvInput, name: string): Values => {
  const found = input.secrets.get(namespaceOf(input.pod), name)
  return found && new Map(Object.entries(found.data ?? {}).map(([key, encoded]) => [key, Buffer.from(encoded, 'base64')]))
}

/** A variable's name may be anything printable but `=`, as upstream allows since 1.34. */
const isVariableName = (name: string): boolean => /^[\x20-\x3c\x3e-\x7e]+$/.test(name)

const fromSource = (input: EnvInput, source: EnvFromSource): readonly (readonly [string, Buffer])[] => {
  const ref = source.configMapRef ?? source.secretRef
  if (ref === undefined) return []
  const [kind, values] = source.configMapRef
    ? ['configmap', configMapValues(input, ref.name ?? '')]
    : ['secret', secretValues(input, ref.name ?? '')]
  if (values === undefined) {
    if (ref.optional) return []
    throw wrong(`${kind} "${ref.name ?? ''}" not found`)
  }
  const named = [...values].map(([key, value]) => [`${source.prefix ?? ''}${key}`, value] as const)
  const skipped = named.map(([name]) => name).filter(name => !isVariableName(name))
  if (skipped.length > 0) {
    input.warn?.(
      `Keys [${skipped.join(', ')}] from the EnvFrom ${kind} ${namespaceOf(input.pod)}/${ref.name} were skipped: no names of variables`,
    )
  }
  return named.filter(([name]) => isVariableName(name))
}

const oneKey = (
  input: EnvInput,
  [kind, shown]: readonly ['configmap', 'ConfigMap'] | readonly ['secret', 'Secret'],
  ref: { readonly name?: string; readonly key: string; readonly optional?: boolean },
): Buffer | undefined => {
  const name = ref.name ?? ''
  const values = kind === 'configmap' ? configMapValues(input, name) : secretValues(input, name)
  const value = values?.get(ref.key)
  if (value !== undefined || ref.optional) return value
  if (values === undefined) throw wrong(`${kind} "${name}" not found`)
  throw wrong(`couldn't find key ${ref.key} in ${shown} ${namespaceOf(input.pod)}/${name}`)
}

const fromFile = (input: EnvInput, ref: NonNullable<NonNullable<EnvVar['valueFrom']>['fileKeyRef']>): Buffer | undefined => {
  const volume = input.pod.spec.volumes?.find(({ name }) => name === ref.volumeName)
  if (volume === undefined) throw wrong(`cannot find the volume "${ref.volumeName}" referenced by FileKeyRef`)
  if (volume.emptyDir === undefined) throw wrong(`the volume "${ref.volumeName}" referenced by FileKeyRef is no emptyDir`)
  const content = input.files?.get(envFileKey(ref.volumeName, ref.path))
  const value = content === undefined ? undefined : envFileValue(content, ref.key)
  // upstream takes an empty value for none
  if (value !== undefined && value !== '') return Buffer.from(value)
  if (ref.optional) return undefined
  if (content === undefined) throw wrong(`couldn't parse env file: ${ref.path} is not in volume "${ref.volumeName}"`)
  throw wrong(`environment variable key "${ref.key}" not found in file "${ref.path}" of volume "${ref.volumeName}"`)
}

/** The value of a variable that is not literal; undefined leaves the variable out. */
const fromElsewhere = (input: EnvInput, from: NonNullable<EnvVar['valueFrom']>): Buffer | undefined => {
  if (from.fieldRef) return Buffer.from(podField(input.pod, from.fieldRef, input))
  if (from.resourceFieldRef) {
    return Buffer.from(resourceField(input.pod, from.resourceFieldRef, input.allocatable, input.container))
  }
  if (from.configMapKeyRef) return oneKey(input, ['configmap', 'ConfigMap'], from.configMapKeyRef)
  if (from.secretKeyRef) return oneKey(input, ['secret', 'Secret'], from.secretKeyRef)
  if (from.fileKeyRef) return fromFile(input, from.fileKeyRef)
  return Buffer.alloc(0)
}

const given = (names: readonly (string | undefined)[]): ReadonlySet<string> => new Set(names.filter(name => !!name) as string[])

/** The names of the objects that a container's variables come from, in its pod's namespace. */
export const envReferences = ({ env = [], envFrom = [] }: Container) => ({
  configMaps: given([
    ...envFrom.map(({ configMapRef }) => configMapRef?.name),
    ...env.map(({ valueFrom }) => valueFrom?.configMapKeyRef?.name),
  ]),
  secrets: given([
    ...envFrom.map(({ secretRef }) => secretRef?.name),
    ...env.map(({ valueFrom }) => valueFrom?.secretKeyRef?.name),
  ]),
})

const variableName = (name: string): string => name.replaceAll('-', '_').toUpperCase()
const bracketed = (ip: string): string => (ip.includes(':') ? `[${ip}]` : ip)

/** The variables that tell a container where one Service is (k8s.io: Service, Environment variables). */
export const serviceVariables = ({ metadata, spec }: Service): readonly (readonly [string, string])[] => {
  const ip = spec.clusterIP ?? ''
  const ports = spec.ports ?? []
  const [first] = ports
  if (ip === '' || ip === 'None' || first === undefined) return []
  const name = variableName(metadata.name)
  const links = ports.map(({ port, protocol = 'TCP' }) => {
    const url = `${protocol.toLowerCase()}://${bracketed(ip)}:${port}`
    return { base: `${name}_PORT_${port}_${protocol}`, url, port, scheme: protocol.toLowerCase() }
  })
  return [
    [`${name}_SERVICE_HOST`, ip],
    [`${name}_SERVICE_PORT`, String(first.port)],
    ...ports.flatMap(({ name: portName, port }) =>
      portName ? [[`${name}_SERVICE_PORT_${variableName(portName)}`, String(port)] as const] : [],
    ),
    ...links.slice(0, 1).map(({ url }) => [`${name}_PORT`, url] as const),
    ...links.flatMap(({ base, url, port, scheme }) => [
      [base, url] as const,
      [`${base}_PROTO`, scheme] as const,
      [`${base}_PORT`, String(port)] as const,
      [`${base}_ADDR`, ip] as const,
    ]),
  ]
}

/** The Services a pod is told about: those of its namespace unless it wants none, and always the apiserver's own. */
const visibleServices = ({ pod, services }: EnvInput): readonly Service[] => {
  const isMaster = (service: Service) => fullName(service) === 'default/kubernetes'
  const isOfPod = (service: Service) => namespaceOf(service) === namespaceOf(pod)
  const masters = services.filter(isMaster)
  if (pod.spec.enableServiceLinks === false) return masters
  // a Service called kubernetes in the pod's own namespace hides the apiserver's, as it does upstream
  return [...masters, ...services.filter(service => isOfPod(service) && !isMaster(service))]
}

/**
 * The environment of a container, in the order it is declared, Service variables last.
 * @throws Fault `container-config` with reason CreateContainerConfigError and the kubelet's message when something that
 *   is not optional is missing
 */
export const makeEnv = (input: EnvInput): KeyValue[] => {
  const env = new Map<string, Buffer>()
  for (const source of input.container.envFrom ?? []) {
    for (const [name, value] of fromSource(input, source)) env.set(name, value)
  }
  const services = new Map(visibleServices(input).flatMap(serviceVariables))
  // one character per byte, so that expansion leaves bytes alone that are no UTF-8
  const lookup = (name: string) => env.get(name)?.toString('latin1') ?? services.get(name)
  for (const { name, value = '', valueFrom } of input.container.env ?? []) {
    const isLiteral = value !== '' || valueFrom === undefined
    const given = isLiteral
      ? Buffer.from(expand(Buffer.from(value).toString('latin1'), lookup), 'latin1')
      : fromElsewhere(input, valueFrom)
    if (given !== undefined) env.set(name, given)
  }
  for (const [name, value] of services) if (!env.has(name)) env.set(name, Buffer.from(value))
  return [...env].map(([key, value]) => ({ key, value }))
}
