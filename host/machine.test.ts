// The reader against a machine made of files, and against this one.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { defaultRoutes4, defaultRoutes6 } from './addresses.ts'
import { fileSystemSize, meminfoBytes, osReleaseValue, readMachine, toCpuList, toPageSizeName } from './machine.ts'

const files = {
  'proc/meminfo': 'MemTotal:       16314500 kB\nMemFree:         100 kB\nSwapTotal:       2097148 kB\n',
  'proc/sys/kernel/osrelease': '6.1.0-18-amd64\n',
  'proc/sys/kernel/random/boot_id': 'b00t\n',
  'proc/sys/kernel/pid_max': '4194304\n',
  'proc/sys/kernel/threads-max': '127000\n',
  'proc/self/cgroup': '0::/system.slice/nodelet.service\n',
  'etc/os-release': 'NAME="Debian GNU/Linux"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
  'etc/machine-id': 'mach1ne\n',
  'etc/hostname': 'n1\n',
  'sys/class/dmi/id/product_uuid': 'UU-ID\n',
  'sys/devices/system/cpu/online': '0-1,3\n',
  'sys/devices/system/cpu/possible': '0-3\n',
  'sys/devices/system/cpu/cpu0/thermal_throttle/count': '0',
  'sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '8\n',
  'sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages': '0\n',
  'sys/module/apparmor/parameters/enabled': 'Y\n',
  'sys/fs/cgroup/system.slice/nodelet.service/memory.swap.max': 'max\n',
}

t.test('a machine made of files', async t => {
  const root = t.testdir()
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  t.match(await readMachine(root), {
    hostname: 'n1',
    machineId: 'mach1ne',
    systemUuid: 'UU-ID',
    bootId: 'b00t',
    kernel: '6.1.0-18-amd64',
    osImage: 'Debian GNU/Linux 12 (bookworm)',
    cpus: 3,
    memoryBytes: 16_314_500 * 1024,
    swapBytes: 2_097_148 * 1024,
    hugePages: [
      { size: '2MB', count: 8 },
      { size: '1GB', count: 0 },
    ],
    pidLimit: 127_000,
    hasAppArmor: true,
    hasSwapController: true,
    thermalPaths: ['/sys/devices/system/cpu/cpu0/thermal_throttle'],
  })
})

t.test('a machine that tells nothing is no error', async t =>
  t.match(await readMachine(t.testdir()), { machineId: '', cpus: 1, memoryBytes: 0, osImage: 'Linux', hugePages: [] }),
)

t.test('this machine', async t => {
  const machine = await readMachine()
  t.ok(machine.memoryBytes > 0 && machine.cpus > 0 && machine.kernel !== '' && machine.bootId.length === 36)
  const size = await fileSystemSize('/')
  t.ok(size.bytes > size.availableBytes)
})

t.test('texts are read', async t => {
  t.same(toCpuList('0-3,8\n'), [0, 1, 2, 3, 8])
  t.same(toCpuList(''), [])
  t.equal(meminfoBytes('MemAvailable:   10 kB', 'MemAvailable'), 10_240)
  t.equal(osReleaseValue("PRETTY_NAME='Alpine'", 'PRETTY_NAME'), 'Alpine')
  t.equal(osReleaseValue('PRETTY_NAME=Arch', 'PRETTY_NAME'), 'Arch')
  t.same([2048 * 1024, 2 ** 30, 65_536].map(toPageSizeName), ['2MB', '1GB', '64KB'])
})

t.test('default routes are found, the preferred one first, and those that reject are not', async t => {
  const table = [
    'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT',
    'wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0',
    'eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0',
    '*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0',
    'eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0',
  ]
  t.same(
    defaultRoutes4(table.join('\n')).map(route => route.interface),
    ['eth0', 'wlan0'],
  )
  const zero = '0'.repeat(32)
  const six = [
    `${zero} 00 ${zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0`,
    `${zero} 00 ${zero} 00 ${zero} ffffffff 00000001 00000000 00200200       lo`,
  ]
  t.same(defaultRoutes6(six.join('\n')), [{ interface: 'eth0', metric: 1024 }])
})
