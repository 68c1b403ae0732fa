// Cgroup names and how the two drivers spell them: `/kubepods/burstable/pod1-2` and
// `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice`. Pure.
// Follows systemd.slice(5): a dash in a slice's name is a step down the tree, so a dash inside a part becomes an underscore.

export type CgroupDriver = 'cgroupfs' | 'systemd'

/** The parts from the root down: `['kubepods', 'burstable', 'pod1-2']`; empty for the root. */
export type CgroupName = readonly string[]

/** Reads what a flag or a configuration says: `/lab-n1`, `/`, ``. */
export const toCgroupName = (path: string): CgroupName => path.split('/').filter(part => part !== '')

const suffix = '.slice'

/** The unit of a slice: `kubepods-burstable.slice`; `-.slice` for the root. */
export const sliceOf = (name: CgroupName): string =>
  `${name.length === 0 ? '-' : name.map(part => part.replaceAll('-', '_')).join('-')}${suffix}`

/**
 * Where the cgroup is below a controller's mount point. Also what the runtime takes as a sandbox's cgroup parent:
 * runtimes read the last part alone with the systemd driver.
 */
export const cgroupPath = (name: CgroupName, driver: CgroupDriver): string =>
  driver === 'cgroupfs' || name.length === 0
    ? `/${name.join('/')}`
    : `/${name.map((_, depth) => sliceOf(name.slice(0, depth + 1))).join('/')}`

/** The last part of a name from the directory that stands for it, or undefined when that is no child in this driver's spelling. */
export const childOf = (directory: string, parent: CgroupName, driver: CgroupDriver): string | undefined => {
  if (driver === 'cgroupfs') return directory
  const prefix = parent.length === 0 ? '' : `${sliceOf(parent).slice(0, -suffix.length)}-`
  if (!directory.endsWith(suffix) || !directory.startsWith(prefix)) return undefined
  const part = directory.slice(prefix.length, -suffix.length)
  return part === '' || part.includes('-') ? undefined : part.replaceAll('_', '-')
}
