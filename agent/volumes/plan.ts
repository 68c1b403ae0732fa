// What has to be done for each volume of a pod: a pure function from the spec to actions, carried out by volumes.ts.
// Kinds that this node cannot do are refused here, by name. Follows k8s.io: Volumes; and the kubelet for what a spec
// leaves open (defaults, the size of a tmpfs, which volumes are prepared at all).

import { normalize } from 'node:path'
import type { ResourceList } from '../../api/meta.ts'
import { allContainers, isSidecar, namespaceOf } from '../../api/pod.ts'
import { toBytes } from '../../api/quantity.ts'
import type { Container, DownwardFile, KeyToPath, Pod, ProjectedSource, Volume } from '../../api/types.ts'
import { Fault } from '../../host/fault.ts'
import { envReferences } from '../env.ts'
import { type ClaimedVolume, claimOf } from './claims.ts'
import { readyDir, volumeDir } from './paths.ts'
import { csiRefusal, type NodeFacts, nfsAction, type PersistentAction, planPersistent } from './persistent.ts'

export interface TokenSource {
  readonly from: 'token'
  readonly path: string
  /** '' asks for the apiserver's own. */
  readonly audience: string
  readonly expirationSeconds: number
}

/** Where the files of a volume come from. */
export type FileSource =
  | {
      readonly from: 'configmap' | 'secret'
      readonly name: string
      readonly items: readonly KeyToPath[]
      readonly optional: boolean
    }
  | { readonly from: 'downward'; readonly items: readonly DownwardFile[] }
  | TokenSource

export type VolumeAction =
  | { readonly do: 'empty-dir'; readonly dir: string; readonly ready: string; readonly tmpfs: TmpfsWish | undefined }
  | FilesAction
  | PersistentAction
  | { readonly do: 'image'; readonly reference: string }

export interface FilesAction {
  readonly do: 'files'
  readonly dir: string
  readonly tmpfs: TmpfsWish | undefined
  readonly defaultMode: number
  readonly sources: readonly FileSource[]
  /** Folders for other volumes that are mounted inside this one, which is read-only for the container. */
  readonly nested: readonly string[]
}

export interface TmpfsWish {
  readonly sizeBytes: number | undefined
}

export interface PlanInput {
  readonly pod: Pod
  readonly podDir: string
  readonly allocatable: ResourceList
  readonly node: NodeFacts
  /** What a claim of the pod has led to, by the volume's name; absent without an apiserver. @throws what is wrong with the claim */
  readonly claimed?: (volume: string) => ClaimedVolume
}

const refuse = (message: string): Fault => new Fault('volume', message, { retry: 'never' })

/** The volumes that some container uses; the others are left alone, as the kubelet does. */
export const usedVolumes = (pod: Pod): readonly Volume[] => {
  const used = new Set(
    allContainers(pod).flatMap(({ volumeMounts = [], volumeDevices = [] }) =>
      [...volumeMounts, ...volumeDevices].map(({ name }) => name),
    ),
  )
  return (pod.spec.volumes ?? []).filter(({ name }) => used.has(name))
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

/** The memory limit of the pod's cgroup, or undefined when some container has none: nothing holds the pod then. */
export const podMemoryLimit = (pod: Pod): number | undefined => {
  const overhead = toBytes(pod.spec.overhead?.['memory'] ?? 0)
  const ofPod = pod.spec.resources?.limits?.['memory']
  if (ofPod !== undefined) return toBytes(ofPod) + overhead
  const limit = ({ resources }: Container) => toBytes(resources?.limits?.['memory'] ?? 0)
  const { containers, initContainers = [] } = pod.spec
  if ([...containers, ...initContainers].some(container => limit(container) === 0)) return undefined
  let sidecars = 0
  let peak = 0
  for (const container of initContainers) {
    if (isSidecar(container)) sidecars += limit(container)
    peak = Math.max(peak, isSidecar(container) ? sidecars : sidecars + limit(container))
  }
  return Math.max(peak, sum(containers.map(limit)) + sidecars) + overhead
}

/** A tmpfs is never larger than what the node has for pods, the pod's own memory limit, and its sizeLimit. */
const tmpfsOf = ({ pod, allocatable }: PlanInput, sizeLimit?: string | number): TmpfsWish => {
  const bounds = [toBytes(allocatable['memory'] ?? 0), podMemoryLimit(pod) ?? 0, toBytes(sizeLimit ?? 0)]
  const smallest = Math.min(...bounds.filter(bytes => bytes > 0))
  return { sizeBytes: Number.isFinite(smallest) ? smallest : undefined }
}

/** Folders to be made inside a read-only volume so that other mounts of the same containers find their place. */
export const nestedMountPoints = (pod: Pod, volume: string): readonly string[] => {
  const found = new Set<string>()
  for (const { volumeMounts = [] } of allContainers(pod)) {
    const paths = volumeMounts.map(mount => normalize(mount.mountPath).replace(/\/$/, ''))
    const own = paths.filter((_, index) => volumeMounts[index]?.name === volume)
    for (const outer of own) {
      const inside = paths.filter(path => path.startsWith(`${outer}/`)).sort()
      // what is inside another of them is not in this volume but in that one
      const nearest = inside.filter(path => !inside.some(other => path.startsWith(`${other}/`)))
      for (const path of nearest) found.add(path.slice(outer.length + 1))
    }
  }
  return [...found]
}

/** Why not, for those that have a name. */
const unsupportedSources: Readonly<Record<string, string>> = {
  clusterTrustBundle: ': its feature gate ClusterTrustBundleProjection is off, as it is by default',
  podCertificate: ': its feature gate PodCertificateRequest is off, as it is by default',
}

const projectedSource = (source: ProjectedSource): FileSource => {
  const { configMap, secret, downwardAPI, serviceAccountToken } = source
  if (configMap)
    return { from: 'configmap', name: configMap.name ?? '', items: configMap.items ?? [], optional: configMap.optional ?? false }
  if (secret) return { from: 'secret', name: secret.name ?? '', items: secret.items ?? [], optional: secret.optional ?? false }
  if (downwardAPI) return { from: 'downward', items: downwardAPI.items ?? [] }
  if (serviceAccountToken) {
    const { path, audience = '', expirationSeconds = 3600 } = serviceAccountToken
    return { from: 'token', path, audience, expirationSeconds }
  }
  const kinds = Object.keys(source).join(', ') || '(empty)'
  throw refuse(`projected source ${kinds} is not supported on this node${unsupportedSources[kinds] ?? ''}`)
}

/** The mode that files have where nobody says otherwise. */
const fileMode = 0o644

const fileAction = (
  input: PlanInput,
  volume: Volume,
  plugin: 'configmap' | 'secret' | 'projected' | 'downward-api',
  defaultMode: number | undefined,
  sources: readonly FileSource[],
): FilesAction => ({
  do: 'files',
  dir: volumeDir(input.podDir, plugin, volume.name),
  // config maps alone are on the disk; all that may hold a secret never is
  tmpfs: plugin === 'configmap' ? undefined : tmpfsOf(input),
  defaultMode: defaultMode ?? fileMode,
  sources,
  nested: nestedMountPoints(input.pod, volume.name),
})

const emptyDirAction = (input: PlanInput, { name }: Volume, medium: string, sizeLimit?: string | number): VolumeAction => {
  if (medium.startsWith('HugePages')) throw refuse(`emptyDir of medium "${medium}" is not supported on this node`)
  if (medium !== '' && medium !== 'Memory') throw refuse(`unknown storage medium "${medium}"`)
  return {
    do: 'empty-dir',
    dir: volumeDir(input.podDir, 'empty-dir', name),
    ready: readyDir(input.podDir, 'empty-dir', name),
    tmpfs: medium === 'Memory' ? tmpfsOf(input, sizeLimit) : undefined,
  }
}

const gitRepoRefusal =
  'git-repo volume plugin has been disabled; clone the repository in an init container into an emptyDir instead'

/** What a volume of an apiserver's pod is bound to decides what is done for it. */
const claimAction = (input: PlanInput, volume: Volume): VolumeAction => {
  if (input.claimed === undefined) {
    const kind = volume.persistentVolumeClaim ? 'persistentVolumeClaim' : 'ephemeral'
    throw refuse(`${kind} needs a control plane that binds claims, and this node runs without one`)
  }
  return planPersistent(input, volume, input.claimed(volume.name))
}

/**
 * What has to be done for one volume.
 * @throws Fault `volume` for a kind that this node cannot do, `bad-manifest` for a name that cannot be a folder's
 */
export const planVolume = (input: PlanInput, volume: Volume): VolumeAction => {
  const { emptyDir, hostPath, configMap, secret, downwardAPI, projected, image, nfs, csi } = volume
  if (emptyDir) return emptyDirAction(input, volume, emptyDir.medium ?? '', emptyDir.sizeLimit)
  if (hostPath) return { do: 'host-path', path: hostPath.path, type: hostPath.type ?? '' }
  if (configMap) {
    const { name = '', items = [], optional = false, defaultMode } = configMap
    return fileAction(input, volume, 'configmap', defaultMode, [{ from: 'configmap', name, items, optional }])
  }
  if (secret) {
    const { secretName: name = '', items = [], optional = false, defaultMode } = secret
    return fileAction(input, volume, 'secret', defaultMode, [{ from: 'secret', name, items, optional }])
  }
  if (downwardAPI) {
    return fileAction(input, volume, 'downward-api', downwardAPI.defaultMode, [
      { from: 'downward', items: downwardAPI.items ?? [] },
    ])
  }
  if (projected) {
    return fileAction(input, volume, 'projected', projected.defaultMode, (projected.sources ?? []).map(projectedSource))
  }
  if (claimOf(input.pod, volume) !== undefined) return claimAction(input, volume)
  if (nfs) return nfsAction(input.podDir, volume.name, nfs, nfs.readOnly ?? false)
  if (csi) throw csiRefusal(csi.driver)
  if (image) return { do: 'image', reference: (image as { readonly reference?: string }).reference ?? '' }
  if (volume['gitRepo']) throw refuse(gitRepoRefusal)
  const kinds = Object.keys(volume).filter(key => key !== 'name' && volume[key] != null)
  // the API's default for a volume that says nothing
  if (kinds.length === 0) return emptyDirAction(input, volume, '')
  throw refuse(`volume kind ${kinds.join(', ')} is not supported on this node`)
}

/** The objects that a pod needs, as `namespace/name`. */
export interface References {
  readonly configMaps: ReadonlySet<string>
  readonly secrets: ReadonlySet<string>
}

/** Which config maps and secrets a pod's volumes, variables and image pulls name, the optional ones too. */
export const references = (pod: Pod): References => {
  const volumes = pod.spec.volumes ?? []
  const projected = volumes.flatMap(volume => volume.projected?.sources ?? [])
  const containers = allContainers(pod)
  const variables = containers.map(envReferences)
  const keys = (names: readonly (string | undefined)[]) =>
    new Set(names.flatMap(name => (name ? [`${namespaceOf(pod)}/${name}`] : [])))
  return {
    configMaps: keys([
      ...volumes.map(({ configMap }) => configMap?.name),
      ...projected.map(({ configMap }) => configMap?.name),
      ...variables.flatMap(({ configMaps }) => [...configMaps]),
    ]),
    secrets: keys([
      ...volumes.map(({ secret }) => secret?.secretName),
      ...projected.map(({ secret }) => secret?.name),
      ...variables.flatMap(({ secrets }) => [...secrets]),
      ...(pod.spec.imagePullSecrets ?? []).map(({ name }) => name),
    ]),
  }
}
