// What statistics need to know of a kind of volume: where its files are, and whether they count as the pod's own use of the disk. Pure.
import type { Volume } from '../../api/types.ts'
import type { VolumePlugin } from '../volumes/paths.ts'

/** The kind of a volume that has a folder of its own, as its path names it. */
export const pluginOf = (volume: Volume): VolumePlugin | undefined => {
  if (volume.emptyDir !== undefined) return 'empty-dir'
  if (volume.configMap !== undefined) return 'configmap'
  if (volume.secret !== undefined) return 'secret'
  if (volume.projected !== undefined) return 'projected'
  return volume.downwardAPI === undefined ? undefined : 'downward-api'
}

/** Volumes that count against what the pod may keep on the node: those of the others are in memory. */
export const isOnDisk = ({ emptyDir, configMap }: Volume): boolean =>
  configMap !== undefined || (emptyDir !== undefined && (emptyDir.medium ?? '') === '')
