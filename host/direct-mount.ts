// mount(2) without mount(8): 0.02 ms of processor time in place of 1.7 for a tmpfs, 0.07 in place of 1.5 for a bind mount. Only for what
// answers at once, tmpfs (0.12 ms at most of 200) and files of local disks, since everything else here waits for it.
// A call that fails is not explained: who asked runs mount(8) then, whose words a user can look up.
import { statfs } from 'node:fs/promises'
import { libc } from './libc.ts'

export interface DirectMount {
  /** @param options as mount(8) hands them on: `size=4096,noswap` @returns whether it is mounted now */
  tmpfs(target: string, options: string): boolean
  /** Shows `source`, without the mounts below it, if that is on a disk of this machine. @returns whether it is mounted now */
  bind(source: string, target: string): Promise<boolean>
}

/** <sys/mount.h> MS_BIND */
const bindFlag = 4096n

// The magic numbers of statfs(2). Of others not all are known to answer at once: a server that went away would hold up this whole process.
const localFileSystems: ReadonlySet<number> = new Set([
  0xef53, // ext4
  0x5846_5342, // xfs
  0x9123_683e, // btrfs
  0x0102_1994, // tmpfs
  0x794c_7630, // overlay
])

const isLocal = async (path: string): Promise<boolean> => {
  try {
    return localFileSystems.has((await statfs(path)).type)
  } catch {
    return false
  }
}

const call = (...[source, target, fsType, flags, options]: readonly [string, string, string, bigint, string]): boolean => {
  try {
    return libc().c.mount(source, target, fsType, flags, options) === 0
  } catch {
    return false
  }
}

/** The paths are taken as they are, also those through /proc/PID/fd/N. */
export const directMount: DirectMount = {
  tmpfs: (target, options) => call('tmpfs', target, 'tmpfs', 0n, options),
  bind: async (source, target) => (await isLocal(source)) && call(source, target, '', bindFlag, ''),
}
