// What has to be done for storage that outlives pods: the volume behind a claim, and network storage that a pod names itself. Pure.
// A volume's access modes bind nobody here, as with the kubelet: what makes a mount read-only is the pod's reference to the claim.
// Follows k8s.io: Persistent Volumes; the kubelet for folders, options and messages.
import { dirname, join } from 'node:path'
import { allContainers } from '../../api/pod.ts'
import type { NfsSource, PersistentVolume } from '../../api/storage.ts'
import type { Pod, Volume } from '../../api/types.ts'
import { Fault } from '../../host/fault.ts'
import { matchesTerms } from '../node-affinity.ts'
import type { ClaimedVolume } from './claims.ts'
import { localDisk, readyDir, volumeDir } from './paths.ts'

/** A path of the node itself; nothing is mounted for it. */
export interface HostPathAction {
  readonly do: 'host-path'
  readonly path: string
  readonly type: string
  /** Whatever the container's own mount says. */
  readonly readOnly?: boolean
}

/** A folder of the node, or the file system of a disk of it, mounted into the pod's folder. */
export interface LocalAction {
  readonly do: 'local'
  /** The name of the PersistentVolume. */
  readonly name: string
  /** A folder, or a block device. */
  readonly source: string
  /** Made on a block device that has none yet. */
  readonly fsType: string
  /** Where a block device is mounted for all pods. */
  readonly disk: string
  readonly dir: string
  /** A file that is there while the mount, or its group, is not finished. */
  readonly begun: string
  /** ReadWriteOncePod: no two pods of the node at once. */
  readonly isForOnePod: boolean
  readonly readOnly: boolean
  readonly options: readonly string[]
}

export interface NfsAction {
  readonly do: 'nfs'
  /** `server:/path`. */
  readonly source: string
  readonly dir: string
  readonly readOnly: boolean
  readonly options: readonly string[]
  readonly isForOnePod: boolean
}

/** A block device that containers get as it is. */
export interface DeviceAction {
  readonly do: 'device'
  readonly path: string
  readonly readOnly: boolean
}

export type PersistentAction = HostPathAction | LocalAction | NfsAction | DeviceAction

export interface NodeFacts {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
}

export interface PersistentInput {
  readonly pod: Pod
  readonly podDir: string
  readonly node: NodeFacts
}

const refuse = (message: string): Fault => new Fault('volume', message, { retry: 'never' })

/** A volume that cannot be used before something else changes; the kubelet names the check. */
const unfit = (check: string, message: string): Fault => new Fault('volume', message, { reason: check })

const checkMode = (pod: Pod, { name }: Volume, { spec: { volumeMode = 'Filesystem' } }: PersistentVolume): void => {
  const containers = allContainers(pod)
  const isIn = (field: 'volumeMounts' | 'volumeDevices') => containers.some(it => it[field]?.some(use => use.name === name))
  const [wrongUse, field] =
    volumeMode === 'Block' ? [isIn('volumeMounts'), 'volumeMounts'] : [isIn('volumeDevices'), 'volumeDevices']
  if (wrongUse) throw refuse(`volume ${name} has volumeMode ${volumeMode}, but is specified in ${field}`)
}

const nfsSource = ({ server, path }: NfsSource): string =>
  server.includes(':') && !server.startsWith('[') ? `[${server}]:${path}` : `${server}:${path}`

/** @param name of the folder: the volume's in the pod, or the PersistentVolume's */
export const nfsAction = (
  podDir: string,
  name: string,
  nfs: NfsSource,
  readOnly: boolean,
  { options = [], isForOnePod = false }: Partial<Pick<NfsAction, 'options' | 'isForOnePod'>> = {},
): NfsAction => ({
  do: 'nfs',
  source: nfsSource(nfs),
  dir: volumeDir(podDir, 'nfs', name),
  readOnly,
  options,
  isForOnePod,
})

/** For a driver that this node cannot ask. */
export const csiRefusal = (driver: string): Fault =>
  refuse(`driver name ${driver} not found in the list of registered CSI drivers: CSI volumes are not supported on this node`)

const withoutOptions = (options: readonly string[]): void => {
  if (options.length > 0) throw unfit('MountOptionSupport', 'mount options are not supported for this volume type')
}

/** Not sources but what is said of every volume. */
const described = new Set([
  'accessModes',
  'capacity',
  'claimRef',
  'mountOptions',
  'nodeAffinity',
  'persistentVolumeReclaimPolicy',
  'storageClassName',
  'volumeAttributesClassName',
  'volumeMode',
])

/**
 * What has to be done for the volume behind a claim of the pod.
 * @throws Fault `volume` when the volume is not for this node or this use, or of a kind that this node cannot do
 */
export const planPersistent = (
  { pod, podDir, node }: PersistentInput,
  volume: Volume,
  { volume: pv, readOnly }: ClaimedVolume,
): PersistentAction => {
  const { name } = pv.metadata
  const { local, hostPath, nfs, csi, mountOptions: options = [], nodeAffinity, volumeMode, accessModes = [] } = pv.spec
  // Of several modes nobody knows which one the pod means.
  const isForOnePod = accessModes.length === 1 && accessModes[0] === 'ReadWriteOncePod'
  checkMode(pod, volume, pv)
  const terms = nodeAffinity?.required?.nodeSelectorTerms
  if (terms !== undefined && !matchesTerms(terms, node.name, node.labels))
    throw unfit('NodeAffinity', 'no matching NodeSelectorTerms')
  if (csi) throw csiRefusal(csi.driver)
  if (local) {
    const { path: source, fsType = 'ext4' } = local
    if (volumeMode === 'Block') return { do: 'device', path: source, readOnly }
    return {
      ...{ do: 'local', name, source, fsType, readOnly, options, isForOnePod },
      disk: localDisk(dirname(dirname(podDir)), name),
      dir: volumeDir(podDir, 'local-volume', name),
      begun: join(readyDir(podDir, 'local-volume', name), 'begun'),
    }
  }
  if (volumeMode === 'Block') throw refuse(`volume ${name} has volumeMode Block, which only local volumes can have on this node`)
  if (hostPath) {
    withoutOptions(options)
    return { do: 'host-path', path: hostPath.path, type: hostPath.type ?? '', readOnly }
  }
  if (nfs) return nfsAction(podDir, name, nfs, readOnly || nfs.readOnly === true, { options, isForOnePod })
  const kinds = Object.keys(pv.spec).filter(key => !described.has(key))
  throw refuse(`volume ${name} is of kind ${kinds.join(', ') || '(none)'}, which is not supported on this node`)
}
