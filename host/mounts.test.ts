import t from 'tap'
import { createMounts, mountsBelow, parseMountInfo } from './mounts.ts'

const info = [
  '22 28 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw',
  '40 28 254:0 /srv/data /var/lib/x rw,relatime master:3 propagate_from:2 - ext4 /dev/vda rw,errors=remount-ro',
  '41 40 0:50 / /var/lib/x/a\\040b\\134c rw - tmpfs tmpfs rw,size=4k',
  '42 40 0:51 / /var/lib/x/deep/er/z rw - tmpfs tmpfs rw',
  '43 42 0:52 / /var/lib/x/deep/er/z rw - tmpfs tmpfs rw',
  '44 40 0:53 / /var/lib/x/gone//deleted rw - tmpfs tmpfs rw',
  '45 28 0:54 / /var/lib/xyz rw - tmpfs tmpfs rw',
  'not a line of it',
  '',
].join('\n')

t.test('mountinfo is read field by field, with and without optional fields', async t => {
  const mounts = parseMountInfo(info)
  t.equal(mounts.length, 7)
  t.match(mounts[0], { id: 22, parent: 28, path: '/sys', fsType: 'sysfs', isShared: true, options: ['rw', 'nosuid'] })
  t.match(mounts[1], {
    root: '/srv/data',
    path: '/var/lib/x',
    source: '/dev/vda',
    isShared: false,
    superOptions: ['rw', 'errors=remount-ro'],
  })
  t.equal(mounts[2]?.path, '/var/lib/x/a b\\c', 'blanks and backslashes are written as octal numbers')
})

t.test('mounts below a folder come deepest first, the upper one of two first, neighbours and deleted ones not', async t => {
  t.same(
    mountsBelow(parseMountInfo(info), '/var/lib/x').map(({ id }) => id),
    [43, 42, 41, 40],
  )
})

/** @param can whether the kernel does what it is asked directly */
const recorded = (table: string, { fails = false, can = false } = {}) => {
  const argvs: (readonly string[])[] = []
  const calls: (readonly string[])[] = []
  const run = async (argv: readonly string[]) => {
    argvs.push(argv)
    if (fails) throw new Error('target is busy')
    return { exitCode: 0, stdout: '', stderr: '' }
  }
  const called = (...call: readonly string[]) => {
    calls.push(call)
    return can
  }
  const direct = {
    tmpfs: (...args: readonly string[]) => called('tmpfs', ...args),
    bind: async (...args: readonly string[]) => called('bind', ...args),
  }
  return { argvs, calls, mounts: createMounts({ exec: { run }, direct, readTable: async () => table }) }
}

const askAll = async ({ mounts }: ReturnType<typeof recorded>) => {
  await mounts.tmpfs('/t', { sizeBytes: 4096, noswap: true })
  await mounts.tmpfs('/t', {})
  await mounts.bind('/proc/1/fd/3', '/t')
  await mounts.bind('/s', '/t', ['ro', 'noatime'])
  await mounts.fileSystem('nfs', 's:/x', '/t', ['nfsvers=4.2'])
}
const directCalls = [
  ['tmpfs', '/t', 'size=4096,noswap'],
  ['tmpfs', '/t', ''],
  ['bind', '/proc/1/fd/3', '/t'],
]
const optionsAndServers = [
  ['mount', '--no-canonicalize', '--no-mtab', '-o', 'bind,ro,noatime', '/s', '/t'],
  ['mount', '--no-canonicalize', '--no-mtab', '-t', 'nfs', '-o', 'nfsvers=4.2', 's:/x', '/t'],
]

t.test('tmpfs and plain bind mounts cost no process', async t => {
  const all = recorded(info, { can: true })
  await askAll(all)
  t.same(all.calls, directCalls)
  t.same(all.argvs, optionsAndServers)
})

t.test('what the kernel refuses is tried by mount(8), which says why', async t => {
  const all = recorded(info)
  await askAll(all)
  t.same(all.calls, directCalls)
  t.same(all.argvs, [
    ['mount', '--no-canonicalize', '--no-mtab', '-t', 'tmpfs', '-o', 'size=4096,noswap', 'tmpfs', '/t'],
    ['mount', '--no-canonicalize', '--no-mtab', '-t', 'tmpfs', 'tmpfs', '/t'],
    ['mount', '--no-canonicalize', '--no-mtab', '-o', 'bind', '/proc/1/fd/3', '/t'],
    ...optionsAndServers,
  ])
  const { mounts } = recorded(info, { fails: true })
  await t.rejects(mounts.tmpfs('/t', {}), { message: 'target is busy' })
})

t.test('paths to be unmounted reach the program untouched', async t => {
  const { argvs, mounts } = recorded(info)
  await mounts.unmount('/t', { lazy: true })
  await mounts.unmount('/t', { alone: true })
  await mounts.unmount('/t', { lazy: true, force: true })
  t.same(argvs, [
    ['umount', '--no-canonicalize', '--lazy', '/t'],
    ['umount', '--no-canonicalize', '/t'],
    ['umount', '--no-canonicalize', '--force', '--lazy', '/t'],
  ])
})

t.test('the upper one of two mounts at a path is the one that counts', async t => {
  const { mounts } = recorded(info)
  t.equal((await mounts.at('/var/lib/x/deep/er/z'))?.id, 43)
  t.equal(await mounts.isMountPoint('/var/lib'), false)
})

t.test('unmounting what is not mounted succeeds, what is busy does not', async t => {
  const { mounts } = recorded(info, { fails: true })
  await t.resolves(mounts.unmount('/not/mounted'))
  await t.rejects(mounts.unmount('/sys'), { code: 'command', message: 'cannot unmount /sys: target is busy' })
})

t.test('paths that are unmounted together cost one process, and each is told its own end', async t => {
  const { argvs, mounts } = recorded(info, { fails: true })
  const results = await Promise.allSettled([mounts.unmount('/not/mounted'), mounts.unmount('/sys'), mounts.unmount('/t')])
  t.same(
    results.map(it => it.status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  t.same(argvs, [['umount', '--no-canonicalize', '/not/mounted', '/sys', '/t']])
})
