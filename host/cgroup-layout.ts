// Which cgroup hierarchies this machine has mounted where: version 1, version 1 with an empty unified tree beside it
// (hybrid), or version 2. Pure: the text of /proc/self/mountinfo comes in.
// Follows cgroups(7) and proc(5).
import { Fault } from './fault.ts'

export interface CgroupTree {
  readonly mountPoint: string
  /** `cpu`, `memory`, …; empty for trees that only group processes (name=systemd, hybrid's unified one). */
  readonly controllers: readonly string[]
}

export interface CgroupLayout {
  readonly version: 1 | 2
  /** One of version 2; of version 1 one for each mount, co-mounted controllers together. */
  readonly trees: readonly CgroupTree[]
}

const known = new Set(
  'blkio cpu cpuacct cpuset devices freezer hugetlb memory misc net_cls net_prio perf_event pids rdma'.split(' '),
)
const toPlain = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))

interface CgroupMount {
  readonly mountPoint: string
  readonly type: string
  readonly options: readonly string[]
}

const toMount = (line: string): CgroupMount | undefined => {
  const [before = '', after = ''] = line.split(' - ')
  const mountPoint = before.split(' ')[4]
  const [type = '', , options = ''] = after.split(' ')
  if (mountPoint === undefined || !type.startsWith('cgroup')) return undefined
  return { mountPoint: toPlain(mountPoint), type, options: options.split(',') }
}

/**
 * Reads the layout. A controller that is mounted twice counts at its shortest path.
 * @param root where version 2 must be mounted to be the machine's version
 * @throws Fault `unsupported` when no cgroup hierarchy is mounted
 */
export const toCgroupLayout = (mountinfo: string, root = '/sys/fs/cgroup'): CgroupLayout => {
  const mounts = mountinfo
    .split('\n')
    .map(toMount)
    .filter(mount => mount !== undefined)
    .sort((a, b) => a.mountPoint.length - b.mountPoint.length)
  if (mounts.some(mount => mount.type === 'cgroup2' && mount.mountPoint === root)) {
    return { version: 2, trees: [{ mountPoint: root, controllers: [] }] }
  }
  const seen = new Set<string>()
  const trees = mounts.flatMap(({ mountPoint, type, options }): CgroupTree[] => {
    const controllers = options.filter(option => known.has(option))
    const identity =
      type === 'cgroup2' ? ['unified'] : controllers.length > 0 ? controllers : options.filter(it => it.startsWith('name='))
    if (identity.length === 0 || identity.some(it => seen.has(it))) return []
    for (const it of identity) seen.add(it)
    return [{ mountPoint, controllers }]
  })
  if (!trees.some(tree => tree.controllers.length > 0)) {
    throw new Fault('unsupported', 'no cgroup hierarchy with controllers is mounted: mount cgroup2 at /sys/fs/cgroup', {
      retry: 'never',
    })
  }
  return { version: 1, trees }
}
