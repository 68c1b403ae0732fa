// Rules for a container's environment and for references to fields of its pod. Pure.
// Follows k8s.io: Define Environment Variables; Downward API.
import { formatQuantity } from '../quantity.ts'
import type { Container, EnvVar, FieldRef, KeyRef, ResourceFieldRef } from '../types.ts'
import { check, configKey, descendingPath, dnsSubdomain, environmentName, qualifiedName } from './names.ts'
import type { Report } from './problem.ts'

const environmentFields = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.podIP',
  'status.podIPs',
]
const volumeFields = ['metadata.name', 'metadata.namespace', 'metadata.uid', 'metadata.labels', 'metadata.annotations']
const resources = ['cpu', 'memory', 'ephemeral-storage'].flatMap(name => [`limits.${name}`, `requests.${name}`])
const byteDivisors = ['0', '1', '1k', '1M', '1G', '1T', '1P', '1E', '1Ki', '1Mi', '1Gi', '1Ti', '1Pi', '1Ei']

/** Reports a reference to a field that the downward API does not give; volumes may have whole label sets, variables may not. */
export const checkFieldRef = (report: Report, path: string, ref: FieldRef, where: 'environment' | 'volume'): void => {
  if (ref.apiVersion !== undefined && ref.apiVersion !== 'v1') report(`${path}.apiVersion`, ref.apiVersion, 'want v1')
  const at = `${path}.fieldPath`
  const subscript = /^(metadata\.(?:labels|annotations))\['(.*)'\]$/.exec(ref.fieldPath)
  if (subscript !== null) {
    const key = subscript[1] === 'metadata.annotations' ? subscript[2]!.toLowerCase() : subscript[2]!
    if (!qualifiedName.ok(key)) report(at, ref.fieldPath, `the key: ${qualifiedName.want}`)
    return
  }
  const fields = where === 'environment' ? environmentFields : volumeFields
  if (!fields.includes(ref.fieldPath))
    report(at, ref.fieldPath, `want one of ${fields.join(', ')}, metadata.labels['<key>'], metadata.annotations['<key>']`)
}

/** Reports a reference to a resource that is none, or an amount that it cannot be divided by. */
export const checkResourceFieldRef = (
  report: Report,
  path: string,
  ref: ResourceFieldRef,
  containerNames: readonly string[] | undefined,
): void => {
  if (containerNames !== undefined) {
    if (!ref.containerName) report(`${path}.containerName`, ref.containerName, 'required: a volume belongs to no container')
    else if (!containerNames.includes(ref.containerName))
      report(`${path}.containerName`, ref.containerName, 'want the name of a container of this pod')
  }
  if (!resources.includes(ref.resource) && !/^(limits|requests)\.hugepages-./.test(ref.resource)) {
    report(`${path}.resource`, ref.resource, `want one of ${resources.join(', ')} or limits.hugepages-<size>`)
  }
  if (ref.divisor === undefined) return
  const allowed = ref.resource.endsWith('.cpu') ? ['0', '1', '1m'] : byteDivisors
  if (!allowed.includes(formatQuantity(ref.divisor)))
    report(`${path}.divisor`, ref.divisor, `want one of ${allowed.slice(1).join(', ')}`)
}

const checkKeyRef = (report: Report, path: string, ref: KeyRef): void => {
  check(report, `${path}.name`, ref.name, dnsSubdomain, true)
  check(report, `${path}.key`, ref.key, configKey, true)
}

const checkValueFrom = (report: Report, path: string, variable: EnvVar, emptyDirs: ReadonlyMap<string, boolean>): void => {
  const from = variable.valueFrom
  if (from === undefined) return
  const given = Object.keys(from)
  if (given.length === 0)
    report(path, undefined, 'want one of fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef')
  if (given.length > 1) report(path, undefined, `want only one of ${given.join(', ')}`)
  if (variable.value) report(path, undefined, 'want either value or valueFrom')
  if (from.fieldRef) checkFieldRef(report, `${path}.fieldRef`, from.fieldRef, 'environment')
  if (from.resourceFieldRef) checkResourceFieldRef(report, `${path}.resourceFieldRef`, from.resourceFieldRef, undefined)
  if (from.configMapKeyRef) checkKeyRef(report, `${path}.configMapKeyRef`, from.configMapKeyRef)
  if (from.secretKeyRef) checkKeyRef(report, `${path}.secretKeyRef`, from.secretKeyRef)
  if (from.fileKeyRef) {
    const { volumeName, path: file, key } = from.fileKeyRef
    const isEmptyDir = emptyDirs.get(volumeName)
    if (isEmptyDir === undefined) report(`${path}.fileKeyRef.volumeName`, volumeName, 'no volume of this name in spec.volumes')
    else if (!isEmptyDir) report(`${path}.fileKeyRef.volumeName`, volumeName, 'want an emptyDir volume')
    check(report, `${path}.fileKeyRef.path`, file, descendingPath, true)
    check(report, `${path}.fileKeyRef.key`, key, environmentName, true)
  }
}

/** Reports what is wrong with `env` and `envFrom`; `volumes` tells of each volume name whether it is an emptyDir. */
export const checkEnvironment = (
  report: Report,
  path: string,
  container: Container,
  volumes: ReadonlyMap<string, boolean>,
): void => {
  for (const [index, variable] of (container.env ?? []).entries()) {
    const at = `${path}.env[${index}]`
    check(report, `${at}.name`, variable.name, environmentName, true)
    checkValueFrom(report, `${at}.valueFrom`, variable, volumes)
  }
  for (const [index, source] of (container.envFrom ?? []).entries()) {
    const at = `${path}.envFrom[${index}]`
    check(report, `${at}.prefix`, source.prefix, environmentName)
    if (source.configMapRef) check(report, `${at}.configMapRef.name`, source.configMapRef.name, dnsSubdomain, true)
    if (source.secretRef) check(report, `${at}.secretRef.name`, source.secretRef.name, dnsSubdomain, true)
    if (source.configMapRef && source.secretRef) report(at, undefined, 'want only one of configMapRef, secretRef')
    if (!source.configMapRef && !source.secretRef) report(at, undefined, 'want one of configMapRef, secretRef')
  }
}
