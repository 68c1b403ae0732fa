import t from 'tap'
import { Fault } from '../../host/fault.ts'
import { type DiskWish, mountDisk } from './disk.ts'

interface Given {
  /** What blkid(8) answers. */
  readonly blkid?: { readonly exitCode: number; readonly stdout?: string }
  readonly fsck?: number
  readonly isMounted?: boolean
  readonly wish?: Partial<DiskWish>
}

/** A machine with one disk: what was run on it, in order. */
const tried = async (dir: string, { blkid = { exitCode: 2 }, fsck = 0, isMounted = false, wish = {} }: Given) => {
  const ran: string[] = []
  const answer = (argv: readonly string[]) => {
    ran.push(argv.join(' '))
    if (argv[0] === 'blkid') return { stdout: '', stderr: '', ...blkid }
    return { exitCode: argv[0] === 'fsck' ? fsck : 0, stdout: 'what it found', stderr: '' }
  }
  const exec = { run: async (argv: readonly string[]) => answer(argv), try: async (argv: readonly string[]) => answer(argv) }
  const mounts = {
    isMountPoint: async () => isMounted,
    fileSystem: async (fsType: string, source: string, _: string, options: readonly string[]) => {
      ran.push(`mount ${fsType} ${source} ${options.join(',')}`)
    },
  }
  const whole = { device: '/dev/d', target: `${dir}/disk`, fsType: 'ext4', readOnly: false, options: [], ...wish }
  const problem = await mountDisk({ exec, mounts }, whole).then(
    () => undefined,
    error => (error instanceof Fault ? error.message : `${error}`),
  )
  return { ran: ran.filter(line => !line.startsWith('blkid')), problem }
}
const ext4 = { exitCode: 0, stdout: 'DEVNAME=/dev/d\nTYPE=ext4\n' }

for (const [name, given, ran, problem] of [
  ['a disk with nothing on it gets a file system', {}, ['mkfs.ext4 -F -m0 /dev/d', 'mount ext4 /dev/d defaults'], undefined],
  [
    'of the type that is asked for',
    { wish: { fsType: 'xfs', options: ['noatime'] } },
    ['mkfs.xfs -f /dev/d', 'mount xfs /dev/d noatime,defaults'],
    undefined,
  ],
  ['one with a file system is checked', { blkid: ext4 }, ['fsck -a /dev/d', 'mount ext4 /dev/d defaults'], undefined],
  ['what was repaired is mounted', { blkid: ext4, fsck: 1 }, ['fsck -a /dev/d', 'mount ext4 /dev/d defaults'], undefined],
  [
    'what cannot be repaired is not',
    { blkid: ext4, fsck: 4 },
    ['fsck -a /dev/d'],
    'fsck found errors on device /dev/d but could not correct them: what it found',
  ],
  [
    'one that is only read is left as it is',
    { blkid: ext4, wish: { readOnly: true } },
    ['mount ext4 /dev/d ro,defaults'],
    undefined,
  ],
  [
    'an empty one cannot be only read',
    { wish: { readOnly: true } },
    [],
    'cannot mount unformatted disk /dev/d as it is read-only',
  ],
  [
    'partitions are never formatted over',
    { blkid: { exitCode: 0, stdout: 'PTTYPE=gpt\n' } },
    [],
    '/dev/d holds partitions and no file system; name one of them',
  ],
  ['nor is what cannot be read', { blkid: { exitCode: 4 } }, [], /^could not determine what is on \/dev\/d/],
  ['a type that is no name is no program', { wish: { fsType: '../sh' } }, [], '"../sh" is no file system type'],
  ['one that is mounted stays as it is', { isMounted: true }, [], undefined],
] as const)
  t.test(name, async t => {
    const seen = await tried(t.testdir({}), given as Given)
    t.same(seen.ran, ran)
    t.match(seen.problem, problem)
  })
