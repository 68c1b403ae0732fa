// What of a disk's shortage can be helped, by which disks there are: what the node can take away without ending anybody, and what pods
// have on that disk. Pure tables.
// Follows buildSignalToNodeReclaimFuncs and buildSignalToRankFunc in pkg/kubelet/eviction/helpers.go of 1.36.
import type { DiskLayout, Signal } from './thresholds.ts'

/** What can be taken away before pods have to go: ended containers, images that nothing uses. */
export type Reclaim = 'containers' | 'images'
/** What a pod keeps on disks: writable layers, logs, and volumes that are its own. */
export type Kept = 'layers' | 'logs' | 'volumes'

type Disk = 'nodefs' | 'imagefs' | 'containerfs'

const reclaims: Readonly<Record<DiskLayout, Readonly<Record<Disk, readonly Reclaim[]>>>> = {
  one: { nodefs: ['containers', 'images'], imagefs: ['containers', 'images'], containerfs: ['containers', 'images'] },
  'runtime-apart': { nodefs: [], imagefs: ['containers', 'images'], containerfs: ['containers', 'images'] },
  'images-apart': { nodefs: ['containers'], imagefs: ['images'], containerfs: ['containers'] },
}

const kept: Readonly<Record<DiskLayout, Readonly<Record<Disk, readonly Kept[]>>>> = {
  one: {
    nodefs: ['layers', 'logs', 'volumes'],
    imagefs: ['layers', 'logs', 'volumes'],
    containerfs: ['layers', 'logs', 'volumes'],
  },
  'runtime-apart': { nodefs: ['logs', 'volumes'], imagefs: ['layers'], containerfs: ['layers'] },
  'images-apart': { nodefs: ['layers', 'logs', 'volumes'], imagefs: [], containerfs: ['layers', 'logs', 'volumes'] },
}

const diskOf = (signal: Signal): Disk | undefined => {
  const [name] = signal.split('.')
  return name === 'nodefs' || name === 'imagefs' || name === 'containerfs' ? name : undefined
}

/** What may be taken away, in this order; nothing helps against a lack of memory or process ids. */
export const reclaimsFor = (signal: Signal, layout: DiskLayout): readonly Reclaim[] => {
  const disk = diskOf(signal)
  return disk === undefined ? [] : reclaims[layout][disk]
}

/** What of a pod's files is on the disk of the signal. */
export const keptOn = (signal: Signal, layout: DiskLayout): readonly Kept[] => {
  const disk = diskOf(signal)
  return disk === undefined ? [] : kept[layout][disk]
}
