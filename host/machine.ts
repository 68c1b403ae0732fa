// Facts about this machine from /proc, /sys and /etc: what it is and how much of everything it has. Starts no process.
// systeminformation is not used: the calls of it that start none read the same files, and importing it costs 11 MB.
// Follows proc(5), sysfs(5), os-release(5), machine-id(5).
import { readdir, readFile, stat, statfs } from 'node:fs/promises'
import { arch, hostname } from 'node:os'
import { join } from 'node:path'

export interface FileSystemSize {
  readonly bytes: number
  readonly availableBytes: number
  readonly inodes: number
  readonly freeInodes: number
}

export interface HugePages {
  /** As cgroup files name it: `2MB`. */
  readonly size: string
  readonly sizeBytes: number
  readonly count: number
}

export interface Machine {
  readonly hostname: string
  readonly machineId: string
  readonly systemUuid: string
  readonly bootId: string
  readonly kernel: string
  readonly osImage: string
  /** As Go and Kubernetes name it: `amd64`, `arm64`. */
  readonly architecture: string
  readonly cpus: number
  readonly memoryBytes: number
  readonly swapBytes: number
  readonly hugePages: readonly HugePages[]
  /** Processes that the kernel can tell apart at one time. */
  readonly pidLimit: number
  readonly hasAppArmor: boolean
  /** Whether the kernel limits swap by cgroup. */
  readonly hasSwapController: boolean
  /** Files that show when a processor was throttled: hidden from containers, since they tell what the neighbours do. */
  readonly thermalPaths: readonly string[]
}

const goArchitectures: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le', loong64: 'loong64' }

/** `0-3,8` as numbers. */
export const toCpuList = (text: string): readonly number[] =>
  text
    .trim()
    .split(',')
    .filter(range => range !== '')
    .flatMap(range => {
      const [first = 0, last = first] = range.split('-').map(Number)
      return Array.from({ length: last - first + 1 }, (_, index) => first + index)
    })

/** A field of /proc/meminfo in bytes; 0 when it is not there. */
export const meminfoBytes = (meminfo: string, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(meminfo)?.[1] ?? 0) * 1024

/** A value of an os-release file without its quotes. */
export const osReleaseValue = (text: string, key: string): string =>
  new RegExp(`^${key}=(["']?)(.*)\\1$`, 'm').exec(text)?.[2] ?? ''

/** A number of bytes as cgroup files name page sizes: the largest unit that divides it. */
export const toPageSizeName = (bytes: number): string => {
  const units = ['B', 'KB', 'MB', 'GB', 'TB', 'PB']
  let [size, unit] = [bytes, 0]
  while (size % 1024 === 0 && unit < units.length - 1) [size, unit] = [size / 1024, unit + 1]
  return `${size}${units[unit]}`
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

/** Size of the file system that holds a folder. */
export const fileSystemSize = async (folder: string): Promise<FileSystemSize> => {
  const { bsize, blocks, bavail, files, ffree } = await statfs(folder)
  return { bytes: blocks * bsize, availableBytes: bavail * bsize, inodes: files, freeInodes: ffree }
}

/** Memory that can be had without swapping, in bytes. */
export const availableMemory = async (): Promise<number> => meminfoBytes(await readFile('/proc/meminfo', 'utf8'), 'MemAvailable')

/**
 * Reads all of it. A fact that this machine does not tell is empty, 0 or false, never an error.
 * @param root where /proc, /sys and /etc are; tests give a folder
 */
export const readMachine = async (root = '/'): Promise<Machine> => {
  const read = async (...paths: readonly string[]): Promise<string> => {
    for (const path of paths) {
      const text = await readFile(join(root, path), 'utf8').catch(() => '')
      if (text.trim() !== '') return text.trim()
    }
    return ''
  }
  const entries = (path: string): Promise<readonly string[]> => readdir(join(root, path)).catch(() => [])

  const readHugePages = async (): Promise<readonly HugePages[]> => {
    const folders = await entries('sys/kernel/mm/hugepages')
    const found = folders.map(async (folder): Promise<HugePages | undefined> => {
      const kilobytes = Number(/^hugepages-(\d+)kB$/.exec(folder)?.[1])
      if (Number.isNaN(kilobytes)) return undefined
      const count = Number(await read(`sys/kernel/mm/hugepages/${folder}/nr_hugepages`)) || 0
      return { size: toPageSizeName(kilobytes * 1024), sizeBytes: kilobytes * 1024, count }
    })
    return (await Promise.all(found)).filter(it => it !== undefined).sort((a, b) => a.sizeBytes - b.sizeBytes)
  }

  const readThermalPaths = async (): Promise<readonly string[]> => {
    const cpus = toCpuList(await read('sys/devices/system/cpu/possible'))
    const paths = cpus.map(cpu => `/sys/devices/system/cpu/cpu${cpu}/thermal_throttle`)
    const there = await Promise.all(paths.map(path => isThere(join(root, path))))
    return paths.filter((_, index) => there[index])
  }

  const readSwapController = async (): Promise<boolean> => {
    if (await isThere(join(root, 'sys/fs/cgroup/memory'))) {
      return isThere(join(root, 'sys/fs/cgroup/memory/memory.memsw.limit_in_bytes'))
    }
    // the root cgroup has no such file: our own one says it
    const own = /^0::(.*)$/m.exec(await read('proc/self/cgroup'))?.[1] ?? '/'
    const parts = own === '/' ? ['init.scope', 'system.slice'] : [own]
    return (await Promise.all(parts.map(part => isThere(join(root, 'sys/fs/cgroup', part, 'memory.swap.max'))))).some(Boolean)
  }

  const [meminfo, osRelease, online, machineId] = await Promise.all([
    read('proc/meminfo'),
    read('etc/os-release', 'usr/lib/os-release'),
    read('sys/devices/system/cpu/online'),
    read('etc/machine-id', 'var/lib/dbus/machine-id'),
  ])
  return {
    hostname: root === '/' ? hostname() : await read('etc/hostname'),
    machineId,
    systemUuid: (await read('sys/class/dmi/id/product_uuid', 'proc/device-tree/vm,uuid', 'etc/machine-id')).replaceAll('\0', ''),
    bootId: await read('proc/sys/kernel/random/boot_id'),
    kernel: await read('proc/sys/kernel/osrelease'),
    osImage: osReleaseValue(osRelease, 'PRETTY_NAME') || 'Linux',
    architecture: goArchitectures[arch()] ?? arch(),
    cpus: Math.max(toCpuList(online).length, 1),
    memoryBytes: meminfoBytes(meminfo, 'MemTotal'),
    swapBytes: meminfoBytes(meminfo, 'SwapTotal'),
    hugePages: await readHugePages(),
    pidLimit: Math.min(
      Number(await read('proc/sys/kernel/pid_max')) || 32_768,
      Number(await read('proc/sys/kernel/threads-max')) || Number.MAX_SAFE_INTEGER,
    ),
    hasAppArmor: (await read('sys/module/apparmor/parameters/enabled')) === 'Y',
    hasSwapController: await readSwapController(),
    thermalPaths: await readThermalPaths(),
  }
}
