import t from 'tap'
import { toCgroupLayout } from './cgroup-layout.ts'

const mount = (path: string, type: string, options: string) =>
  `30 25 0:26 / ${path} rw,nosuid shared:9 - ${type} ${type} rw,${options}`
const v1 = [
  mount('/sys/fs/cgroup/cpu,cpuacct', 'cgroup', 'cpu,cpuacct'),
  mount('/sys/fs/cgroup/memory', 'cgroup', 'memory'),
  mount('/sys/fs/cgroup/systemd', 'cgroup', 'xattr,name=systemd'),
]

t.test('version 1: a tree for each mount, co-mounted controllers together', async t =>
  t.same(toCgroupLayout(v1.join('\n')), {
    version: 1,
    trees: [
      { mountPoint: '/sys/fs/cgroup/memory', controllers: ['memory'] },
      { mountPoint: '/sys/fs/cgroup/systemd', controllers: [] },
      { mountPoint: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['cpu', 'cpuacct'] },
    ],
  }),
)

t.test('hybrid is version 1 with one more tree that only groups', async t => {
  const { version, trees } = toCgroupLayout([...v1, mount('/sys/fs/cgroup/unified', 'cgroup2', 'nsdelegate')].join('\n'))
  t.equal(version, 1)
  t.same(trees.at(-2), { mountPoint: '/sys/fs/cgroup/unified', controllers: [] })
})

t.test('version 2', async t =>
  t.same(toCgroupLayout(mount('/sys/fs/cgroup', 'cgroup2', 'nsdelegate')), {
    version: 2,
    trees: [{ mountPoint: '/sys/fs/cgroup', controllers: [] }],
  }),
)

t.test('a controller mounted twice counts at its shortest path', async t => {
  const { trees } = toCgroupLayout([mount('/some/container/rootfs/cgroup/memory', 'cgroup', 'memory'), ...v1].join('\n'))
  t.same(
    trees.filter(tree => tree.controllers.includes('memory')).map(tree => tree.mountPoint),
    ['/sys/fs/cgroup/memory'],
  )
})

t.test('a path with a space is read as it is', async t =>
  t.equal(toCgroupLayout(mount('/sys/fs/my\\040cgroup', 'cgroup', 'memory')).trees[0]?.mountPoint, '/sys/fs/my cgroup'),
)

t.test('none at all is unsupported', async t => t.throws(() => toCgroupLayout(''), { code: 'unsupported' }))
