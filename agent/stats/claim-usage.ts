// How full the volumes behind claims are, as /metrics tells it: one set of figures per claim, whichever of its pods it is read by.
// Names and labels are those of the kubelet 1.36 (kubelet_volume_stats_*).
import { statfs } from 'node:fs/promises'
import { namespaceOf } from '../../api/pod.ts'
import type { Pod } from '../../api/types.ts'
import type { Family } from '../../host/exposition.ts'
import { claimOf } from '../volumes/claims.ts'
import { createFamilySet, gauge } from './family-set.ts'

const prefix = 'kubelet_volume_stats'
const names = {
  capacity: gauge(`${prefix}_capacity_bytes`, 'Size of the volume'),
  available: gauge(`${prefix}_available_bytes`, 'What is free in the volume'),
  used: gauge(`${prefix}_used_bytes`, 'What is used of the volume'),
  inodes: gauge(`${prefix}_inodes`, 'Inodes of the volume'),
  inodesFree: gauge(`${prefix}_inodes_free`, 'Free inodes of the volume'),
  inodesUsed: gauge(`${prefix}_inodes_used`, 'Used inodes of the volume'),
}

/** @param folderOf Volumes.claimFolder */
export const claimFamilies = async (
  pods: readonly Pod[],
  folderOf: (pod: Pod, volume: string) => string | undefined,
): Promise<readonly Family[]> => {
  const folders = new Map<string, { readonly labels: Record<string, string>; readonly folder: string }>()
  for (const pod of pods) {
    for (const volume of pod.spec.volumes ?? []) {
      const claim = claimOf(pod, volume)
      const folder = claim && folderOf(pod, volume.name)
      if (claim === undefined || folder === undefined) continue
      const labels = { namespace: namespaceOf(pod), persistentvolumeclaim: claim.claimName }
      folders.set(`${labels.namespace}/${claim.claimName}`, { labels, folder })
    }
  }
  const set = createFamilySet()
  for (const { labels, folder } of folders.values()) {
    const fs = await statfs(folder).catch(() => undefined)
    if (fs === undefined) continue
    set.add(names.capacity, labels, fs.blocks * fs.bsize)
    set.add(names.available, labels, fs.bavail * fs.bsize)
    set.add(names.used, labels, (fs.blocks - fs.bfree) * fs.bsize)
    set.add(names.inodes, labels, fs.files)
    set.add(names.inodesFree, labels, fs.ffree)
    set.add(names.inodesUsed, labels, fs.files - fs.ffree)
  }
  return set.families()
}
