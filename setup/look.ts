// Reads what the checks are to know of this machine. Changes nothing, judges nothing; a fact that cannot be read is told as absent.
import { constants } from 'node:fs'
import { access, readdir, readFile, readlink, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Exec } from '../host/exec.ts'
import { meminfoBytes } from '../host/machine.ts'
import { readValue, readView } from './containerd-text.ts'
import { type HostFacts, lookedSysctls, lookedUnits, neededFeatures, neededPrograms } from './host-facts.ts'
import { places } from './places.ts'

const text = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined)

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

const entries = (path: string): Promise<readonly string[]> => readdir(path).catch(() => [])

/** Programs of services are where root's are, whatever the PATH of who asks. */
const programFolders = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin']

const isProgram = async (name: string): Promise<boolean> => {
  for (const folder of programFolders) {
    const found = await access(join(folder, name), constants.X_OK).then(
      () => true,
      () => false,
    )
    if (found) return true
  }
  return false
}

const missingPrograms = async (): Promise<readonly string[]> => {
  const found = await Promise.all(neededPrograms.map(isProgram))
  return neededPrograms.filter((_, index) => !found[index])
}

type Try = (...argv: readonly string[]) => Promise<{ readonly exitCode: number; readonly stdout: string }>

const readFeature = async (name: (typeof neededFeatures)[number], attempt: Try): Promise<'there' | 'loadable' | 'missing'> => {
  const signs = {
    overlay: async () => /\toverlay$/m.test((await text('/proc/filesystems')) ?? ''),
    br_netfilter: () => isThere('/proc/sys/net/bridge/bridge-nf-call-iptables'),
    nf_tables: async () => (await attempt('nft', 'list', 'tables')).exitCode === 0,
    nf_conntrack: () => isThere('/proc/sys/net/netfilter/nf_conntrack_max'),
  }
  if (await signs[name]()) return 'there'
  return (await attempt('modprobe', '--dry-run', '--quiet', name)).exitCode === 0 ? 'loadable' : 'missing'
}

const readSysctls = async (): Promise<HostFacts['sysctls']> => {
  const pathOf = (name: string) => join('/proc/sys', name.replaceAll('.', '/'))
  const read = lookedSysctls.map(async name => [name, (await text(pathOf(name)))?.trim()] as const)
  return Object.fromEntries(await Promise.all(read))
}

/** Local ports of sockets that listen, from the text of /proc/net/tcp or tcp6. */
export const toListening = (table: string): readonly number[] =>
  [...table.matchAll(/^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A /gm)].map(([, port = '']) =>
    Number.parseInt(port, 16),
  )

const listening = async (): Promise<readonly number[]> => {
  const tables = await Promise.all(['/proc/net/tcp', '/proc/net/tcp6'].map(text))
  return [...new Set(tables.flatMap(table => toListening(table ?? '')))]
}

/** Names of the files of all programs that run. */
const processes = async (): Promise<readonly string[]> => {
  const ids = (await entries('/proc')).filter(name => /^\d+$/.test(name))
  const files = await Promise.all(ids.map(id => readlink(`/proc/${id}/exe`).catch(() => '')))
  return [
    ...new Set(
      files.map(
        file =>
          file
            .replace(/ \(deleted\)$/, '')
            .split('/')
            .at(-1) ?? '',
      ),
    ),
  ]
}

const readContainerd = async (attempt: Try): Promise<HostFacts['containerd']> => {
  const [dump, active, ids, own] = await Promise.all([
    attempt('containerd', 'config', 'dump'),
    attempt('systemctl', 'is-active', '--quiet', 'containerd'),
    (await isThere(places.containerdSocket))
      ? attempt('ctr', '--namespace', 'k8s.io', '--connect-timeout', '2s', 'containers', 'list', '--quiet')
      : { exitCode: -1, stdout: '' },
    text(places.containerdConfig),
  ])
  const named = (own ?? '').split('\n').some(line => /^\s*(sandbox_image|sandbox)\s*=/.test(line))
  return {
    isActive: active.exitCode === 0,
    view: dump.exitCode === 0 && readValue(dump.stdout, [], 'version') !== undefined ? readView(dump.stdout) : undefined,
    containers: ids.exitCode === 0 ? ids.stdout.split('\n').filter(Boolean).length : 0,
    namesSandboxImage: named,
  }
}

const isClockSynchronized = async (attempt: Try): Promise<boolean | undefined> => {
  const { exitCode, stdout } = await attempt('timedatectl', 'show', '--property', 'NTPSynchronized', '--value')
  return exitCode === 0 ? stdout.trim() === 'yes' : undefined
}

/** All of it, in a second or less. */
export const lookAtHost = async (exec: Pick<Exec, 'try'>): Promise<HostFacts> => {
  const attempt: Try = (...argv) => exec.try(argv, { timeoutMs: 10_000 }).catch(() => ({ exitCode: -1, stdout: '' }))
  const isUnified = await isThere('/sys/fs/cgroup/cgroup.controllers')
  const features = neededFeatures.map(async name => [name, await readFeature(name, attempt)] as const)
  const [missing, kernel, sysctls, ports, containerd, units, running, foreign, disk, memory, swaps, clock, ours] =
    await Promise.all([
      missingPrograms(),
      Promise.all(features).then(Object.fromEntries<'there' | 'loadable' | 'missing'>),
      readSysctls(),
      listening(),
      readContainerd(attempt),
      // one line for each, in order
      attempt('systemctl', 'is-active', ...lookedUnits),
      processes(),
      entries('/etc/cni/net.d'),
      statfs('/var/lib'),
      text('/proc/meminfo'),
      text('/proc/swaps'),
      isClockSynchronized(attempt),
      attempt('systemctl', 'is-active', '--quiet', 'nodelet'),
    ])
  const states = units.stdout.split('\n')
  return {
    isRoot: process.getuid?.() === 0,
    hasSystemd: await isThere('/run/systemd/system'),
    cgroupVersion: isUnified ? 2 : 1,
    controllers: ((await text('/sys/fs/cgroup/cgroup.controllers')) ?? '').trim().split(' '),
    missingPrograms: missing,
    kernel,
    sysctls,
    hasSwap: (swaps ?? '').trim().split('\n').length > 1,
    listening: ports,
    containerd,
    activeUnits: lookedUnits.filter((_, index) => states[index] === 'active'),
    processes: running,
    foreignCni: foreign.filter(name => /\.(conf|conflist|json)$/.test(name) && name !== '10-nodelet.conflist'),
    freeBytes: disk.bavail * disk.bsize,
    memoryBytes: meminfoBytes(memory ?? '', 'MemTotal'),
    isClockSynchronized: clock,
    isInstalled: ours.exitCode === 0,
  }
}
