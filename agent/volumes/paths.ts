// Where the files of a pod are below the root folder: the kubelet's own layout, so that a node can be taken over from
// one and given back. Pure. Names come from manifests that nobody may have checked: none may lead out of its folder.
import { join } from 'node:path'
import { Fault } from '../../host/fault.ts'

/** Kinds of volumes that have a folder of their own, as the kubelet writes them into the path. */
export type VolumePlugin = 'empty-dir' | 'configmap' | 'secret' | 'projected' | 'downward-api' | 'local-volume' | 'nfs'

const one = (what: string, name: string): string => {
  if (name !== '.' && name !== '..' && /^[A-Za-z0-9._-]{1,253}$/.test(name)) return name
  throw new Fault('bad-manifest', `${JSON.stringify(name)} cannot be the ${what}: want letters, digits, '-', '_' and '.'`, {
    retry: 'never',
  })
}

export const podsDir = (rootDir: string): string => join(rootDir, 'pods')
export const podDir = (rootDir: string, uid: string): string => join(podsDir(rootDir), one('uid of a pod', uid))
export const volumesDir = (pod: string): string => join(pod, 'volumes')
export const volumeDir = (pod: string, plugin: VolumePlugin, volume: string): string =>
  join(volumesDir(pod), `kubernetes.io~${plugin}`, one('name of a volume', volume))
/** Holds the file `ready` once a volume has its mount and its owner. */
export const readyDir = (pod: string, plugin: VolumePlugin, volume: string): string =>
  join(pod, 'plugins', `kubernetes.io~${plugin}`, one('name of a volume', volume))
/** Where the file systems of disks are mounted that local volumes name, each once for all pods. */
export const localDisksDir = (rootDir: string): string => join(rootDir, 'plugins/kubernetes.io/local-volume/mounts')
export const localDisk = (rootDir: string, volume: string): string =>
  join(localDisksDir(rootDir), one('name of a volume', volume))
export const hostsFile = (pod: string): string => join(pod, 'etc-hosts')
export const containerDir = (pod: string, container: string): string =>
  join(pod, 'containers', one('name of a container', container))
export const subPathsDir = (pod: string): string => join(pod, 'volume-subpaths')
/** @param index which of the container's volumeMounts it is */
export const subPathTarget = (pod: string, volume: string, container: string, index: number): string =>
  join(subPathsDir(pod), one('name of a volume', volume), one('name of a container', container), String(index))
