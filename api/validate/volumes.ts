// Rules for a pod's volumes and for mounting them. Pure. Follows k8s.io: Volumes; Projected Volumes.
import type { Container, DownwardFile, KeyToPath, PodSpec, ProjectedSource, Volume } from '../types.ts'
import { checkFieldRef, checkResourceFieldRef } from './environment.ts'
import { check, descendingPath, dnsLabel, noBacksteps, projectedPath, uniqueness } from './names.ts'
import { unsupportedVolumes } from './pod-schema.ts'
import type { Report } from './problem.ts'

const supported = ['emptyDir', 'hostPath', 'configMap', 'secret', 'downwardAPI', 'projected', 'nfs']
const isUnsupported = (kind: string): kind is keyof typeof unsupportedVolumes => Object.hasOwn(unsupportedVolumes, kind)

const checkMode = (report: Report, path: string, mode: number | undefined): void => {
  if (mode !== undefined && (mode < 0 || mode > 0o777))
    report(path, mode, 'want a file mode from 0 to 0777 (octal; 0 to 511 in JSON)')
}

type CheckPath = (path: string, file: string) => void

/** Checks a file's path within a volume; two files of one volume may not share it. */
const filesOf = (report: Report): CheckPath => {
  const unique = uniqueness(report)
  return (path, file) => {
    if (projectedPath.ok(file)) unique(path, file)
    else report(path, file, projectedPath.want)
  }
}

const checkItems = (report: Report, path: string, items: readonly KeyToPath[] | undefined, checkPath: CheckPath): void => {
  for (const [index, item] of (items ?? []).entries()) {
    if (item.key === '') report(`${path}[${index}].key`, item.key, 'want a key')
    checkPath(`${path}[${index}].path`, item.path)
    checkMode(report, `${path}[${index}].mode`, item.mode)
  }
}

const checkDownward = (
  report: Report,
  path: string,
  items: readonly DownwardFile[] | undefined,
  containers: readonly string[],
  checkPath: CheckPath,
): void => {
  for (const [index, item] of (items ?? []).entries()) {
    const at = `${path}[${index}]`
    checkPath(`${at}.path`, item.path)
    checkMode(report, `${at}.mode`, item.mode)
    if (item.fieldRef && item.resourceFieldRef) report(at, undefined, 'want only one of fieldRef, resourceFieldRef')
    if (!item.fieldRef && !item.resourceFieldRef) report(at, undefined, 'want one of fieldRef, resourceFieldRef')
    if (item.fieldRef) checkFieldRef(report, `${at}.fieldRef`, item.fieldRef, 'volume')
    if (item.resourceFieldRef) checkResourceFieldRef(report, `${at}.resourceFieldRef`, item.resourceFieldRef, containers)
  }
}

const refusedSources: Readonly<Record<string, string>> = {
  serviceAccountToken: 'tokens are issued by an apiserver, and this node runs without one',
  clusterTrustBundle: 'trust bundles come from an apiserver, and this node runs without one',
  podCertificate: 'certificates are issued by a control plane, and this node runs without one',
}

const checkProjected = (
  report: Report,
  path: string,
  sources: readonly ProjectedSource[],
  containers: readonly string[],
): void => {
  const checkPath = filesOf(report)
  for (const [index, source] of sources.entries()) {
    const at = `${path}[${index}]`
    const given = Object.keys(source)
    if (given.length === 0) report(at, undefined, 'want one of configMap, secret, downwardAPI')
    if (given.length > 1) report(at, undefined, `want only one of ${given.join(', ')}: a list entry each`)
    for (const kind of given) {
      const why = refusedSources[kind]
      if (why !== undefined) report(`${at}.${kind}`, undefined, `not possible here: ${why}`)
    }
    for (const kind of ['configMap', 'secret'] as const) {
      const object = source[kind]
      if (object === undefined) continue
      if (!object.name) report(`${at}.${kind}.name`, object.name, 'required')
      checkItems(report, `${at}.${kind}.items`, object.items, checkPath)
    }
    if (source.downwardAPI) checkDownward(report, `${at}.downwardAPI.items`, source.downwardAPI.items, containers, checkPath)
  }
}

const checkSource = (report: Report, path: string, volume: Volume, containers: readonly string[]): void => {
  const { emptyDir, hostPath, configMap, secret, downwardAPI, projected, nfs } = volume
  if (emptyDir) {
    const medium = emptyDir.medium ?? ''
    if (!/^(|Memory|HugePages(-\d+(Ki|Mi|Gi))?)$/.test(medium))
      report(`${path}.emptyDir.medium`, medium, 'want Memory, HugePages, HugePages-<size> or nothing')
    if (String(emptyDir.sizeLimit ?? '').startsWith('-'))
      report(`${path}.emptyDir.sizeLimit`, emptyDir.sizeLimit, 'want an amount of at least 0')
  }
  if (hostPath) check(report, `${path}.hostPath.path`, hostPath.path, noBacksteps, true)
  if (nfs) {
    if (nfs.server === '') report(`${path}.nfs.server`, nfs.server, 'required')
    if (!nfs.path.startsWith('/')) report(`${path}.nfs.path`, nfs.path, 'want an absolute path')
  }
  if (configMap) {
    if (!configMap.name) report(`${path}.configMap.name`, configMap.name, 'required')
    checkItems(report, `${path}.configMap.items`, configMap.items, filesOf(report))
  }
  if (secret) {
    if (!secret.secretName) report(`${path}.secret.secretName`, secret.secretName, 'required')
    checkItems(report, `${path}.secret.items`, secret.items, filesOf(report))
  }
  if (downwardAPI) checkDownward(report, `${path}.downwardAPI.items`, downwardAPI.items, containers, filesOf(report))
  if (projected) checkProjected(report, `${path}.projected.sources`, projected.sources ?? [], containers)
  for (const kind of ['configMap', 'secret', 'downwardAPI', 'projected'] as const) {
    checkMode(report, `${path}.${kind}.defaultMode`, volume[kind]?.defaultMode)
  }
}

/** Reports what is wrong with a pod's volumes. */
export const checkVolumes = (report: Report, spec: PodSpec): void => {
  const unique = uniqueness(report)
  const containers = [...(spec.initContainers ?? []), ...spec.containers].map(container => container.name)
  for (const [index, volume] of (spec.volumes ?? []).entries()) {
    const at = `spec.volumes[${index}]`
    check(report, `${at}.name`, volume.name, dnsLabel, true)
    unique(`${at}.name`, volume.name)
    const kinds = Object.keys(volume).filter(key => key !== 'name')
    if (kinds.length > 1) report(at, undefined, `want only one of ${kinds.join(', ')}`)
    for (const kind of kinds.filter(isUnsupported)) {
      report(`${at}.${kind}`, undefined, `${unsupportedVolumes[kind]}; supported are ${supported.join(', ')}`)
    }
    checkSource(report, at, volume, containers)
  }
}

/** Reports mounts of volumes that are not there, paths mounted twice, and paths that would leave the volume. */
export const checkMounts = (report: Report, path: string, container: Container, volumes: ReadonlyMap<string, boolean>): void => {
  const unique = uniqueness(report)
  for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
    const at = `${path}.volumeMounts[${index}]`
    if (!volumes.has(mount.name)) report(`${at}.name`, mount.name, 'no volume of this name in spec.volumes')
    if (mount.mountPath === '') report(`${at}.mountPath`, mount.mountPath, 'required')
    else if (mount.mountPath.includes(':')) report(`${at}.mountPath`, mount.mountPath, "want a path without ':'")
    unique(`${at}.mountPath`, mount.mountPath)
    check(report, `${at}.subPath`, mount.subPath, descendingPath)
    check(report, `${at}.subPathExpr`, mount.subPathExpr, descendingPath)
    if (mount.subPath && mount.subPathExpr)
      report(`${at}.subPathExpr`, mount.subPathExpr, 'want only one of subPath, subPathExpr')
    if (mount.mountPropagation === 'Bidirectional' && container.securityContext?.privileged !== true) {
      report(`${at}.mountPropagation`, mount.mountPropagation, 'needs securityContext.privileged: true')
    }
    if (mount.recursiveReadOnly === undefined || mount.recursiveReadOnly === 'Disabled') continue
    if (mount.readOnly !== true) report(`${at}.recursiveReadOnly`, mount.recursiveReadOnly, 'needs readOnly: true')
    if ((mount.mountPropagation ?? 'None') !== 'None')
      report(`${at}.recursiveReadOnly`, mount.recursiveReadOnly, 'needs mountPropagation: None')
  }
  for (const [index, device] of (container.volumeDevices ?? []).entries()) {
    report(
      `${path}.volumeDevices[${index}].name`,
      device.name,
      'block devices come from persistentVolumeClaims, which need a control plane',
    )
  }
}
