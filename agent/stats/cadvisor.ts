// Looks at every cgroup of the node, its pods and containers for /metrics/cadvisor, once for each scrape. Keeps nothing.
// The runtime says which cgroup is which container; when it does not answer, cgroups are told without names.
import { readFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import type { Cri } from '../../api/cri/cri.ts'
import type { StringMap } from '../../api/cri/types.ts'
import { namespaceOf } from '../../api/pod.ts'
import type { ContainerStatus } from '../../api/pod-status.ts'
import type { Pod } from '../../api/types.ts'
import type { CgroupReader } from '../../host/cgroup-read.ts'
import type { Clock } from '../../host/clock.ts'
import type { Family } from '../../host/exposition.ts'
import { createSlices, type Slices } from '../../host/loop.ts'
import type { Machine } from '../../host/machine.ts'
import { type MountEntry, parseMountInfo } from '../../host/mounts.ts'
import { readNetwork } from '../../host/net-dev.ts'
import { containerNameLabel, podNameLabel, podNamespaceLabel } from '../labels.ts'
import { type CgroupEntry, type CgroupLabels, type DeviceFs, type MachineEntry, toCadvisorFamilies } from './cadvisor-families.ts'
import type { HostFigures } from './host-figures.ts'
import { containerIdOf } from './pod-cgroups.ts'
import { processFigures } from './process-figures.ts'
import type { Storage } from './storage.ts'

export interface CadvisorDeps {
  readonly reader: CgroupReader
  readonly host: HostFigures
  readonly machine: Machine
  readonly version: string
  readonly pods: () => readonly Pod[]
  readonly parentOf: (pod: Pod) => string
  /** The cgroup that holds all pods. */
  readonly podsCgroup: string
  readonly systemCgroups: Readonly<Record<string, string | undefined>>
  readonly cri: Pick<Cri, 'listContainers' | 'listPodSandbox'>
  /** The image of sandboxes; empty when the runtime does not tell it. */
  readonly sandboxImage: () => Promise<string>
  readonly storage: Pick<Storage, 'writableLayers'>
  readonly clock: Clock
}

/** Whom the runtime knows under an id. */
interface Known {
  readonly labels: StringMap
  readonly image: string
  readonly isSandbox: boolean
  readonly startedAt: number
}

const noLabels: Omit<CgroupLabels, 'id'> = { name: '', image: '', namespace: '', pod: '', container: '' }

const imagesOf = (pods: readonly Pod[]): ReadonlyMap<string, ContainerStatus> =>
  new Map(
    pods
      .flatMap(({ status }) => [
        ...(status?.initContainerStatuses ?? []),
        ...(status?.containerStatuses ?? []),
        ...(status?.ephemeralContainerStatuses ?? []),
      ])
      .map(it => [it.containerID?.replace(/^.*:\/\//, '') ?? '', it] as const),
  )

const patience = { timeoutMs: 2000 }

const askRuntime = async ({ cri, pods, sandboxImage }: CadvisorDeps): Promise<ReadonlyMap<string, Known>> => {
  const [containers, sandboxes, image] = await Promise.all([
    cri.listContainers({ state: { state: 'CONTAINER_RUNNING' } }, patience),
    cri.listPodSandbox({ state: { state: 'SANDBOX_READY' } }, patience),
    sandboxImage().catch(() => ''),
  ])
  const statuses = imagesOf(pods())
  const known = new Map<string, Known>()
  for (const { id, labels, image: spec, createdAt } of containers) {
    const status = statuses.get(id)
    const startedAt = Date.parse(status?.state?.running?.startedAt ?? '') || createdAt / 1e6
    known.set(id, { labels, image: status?.image || spec?.userSpecifiedImage || spec?.image || '', isSandbox: false, startedAt })
  }
  for (const { id, labels, createdAt } of sandboxes) {
    known.set(id, { labels, image, isSandbox: true, startedAt: createdAt / 1e6 })
  }
  return known
}

const deviceMounts = (): readonly MountEntry[] =>
  parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8')).filter(it => it.source.startsWith('/dev/'))

/** The device that holds a folder; empty when none does. */
const deviceOf = (mounts: readonly MountEntry[], folder: string): string => {
  const above = mounts.filter(({ path }) => path === '/' || folder === path || folder.startsWith(`${path}/`))
  return above.reduce((longest, it) => (it.path.length >= longest.path.length ? it : longest), { path: '', source: '' }).source
}

/** File systems on devices, once each. */
const deviceFileSystems = async (mounts: readonly MountEntry[]): Promise<readonly DeviceFs[]> => {
  const byDevice = new Map(mounts.map(it => [it.source, it.path]).reverse() as [string, string][])
  const found = [...byDevice].map(async ([device, path]): Promise<readonly DeviceFs[]> => {
    const fs = await statfs(path).catch(() => undefined)
    if (fs === undefined || fs.blocks === 0) return []
    const { bsize, blocks, bfree, files, ffree } = fs
    return [{ device, bytes: blocks * bsize, usedBytes: (blocks - bfree) * bsize, inodes: files, inodesFree: ffree }]
  })
  return (await Promise.all(found)).flat()
}

/** `8:0` to `/dev/sda`; the number itself where the kernel knows no name. */
const createDeviceNames = () => {
  const names = new Map<string, string>()
  return (device: string): string => {
    const there = names.get(device)
    if (there !== undefined) return there
    let name = device
    try {
      const uevent = readFileSync(`/sys/dev/block/${device}/uevent`, 'utf8')
      name = `/dev/${/^DEVNAME=(.*)$/m.exec(uevent)?.[1] ?? device}`
    } catch {
      // a device that is gone keeps its number
    }
    names.set(device, name)
    return name
  }
}

const toMachine = ({ machine, version }: CadvisorDeps): MachineEntry => {
  const ids = (key: string, text: string) => [...text.matchAll(new RegExp(`^${key}\\s*:\\s*(\\d+)`, 'gm'))].map(it => it[1])
  const cpuinfo = readFileSync('/proc/cpuinfo', 'utf8')
  const packages = ids('physical id', cpuinfo)
  const cores = new Set(ids('core id', cpuinfo).map((core, index) => `${packages[index]}/${core}`)).size
  return {
    labels: { machine_id: machine.machineId, system_uuid: machine.systemUuid, boot_id: machine.bootId },
    cores: machine.cpus,
    physicalCores: cores || machine.cpus,
    sockets: Math.max(new Set(packages).size, 1),
    memoryBytes: machine.memoryBytes,
    swapBytes: machine.swapBytes,
    kernel: machine.kernel,
    os: machine.osImage,
    version,
  }
}

/** Every cgroup at or below a path, the path first. */
const walk = (reader: CgroupReader, path: string): readonly string[] => [
  path,
  ...reader.children(path).flatMap(child => walk(reader, `${path}/${child}`)),
]

interface Look {
  readonly known: ReadonlyMap<string, Known>
  readonly podOf: ReadonlyMap<string, Pod>
  readonly layers: Awaited<ReturnType<Storage['writableLayers']>>
  readonly devices: readonly DeviceFs[]
  readonly mounts: readonly MountEntry[]
  readonly slices: Slices
}

const labelsOf = (path: string, { known, podOf }: Look): { labels: CgroupLabels; owner: Known | undefined; id: string } => {
  const id = containerIdOf(path.slice(path.lastIndexOf('/') + 1)) ?? ''
  const owner = known.get(id)
  const labels = { id: path, ...noLabels }
  if (owner !== undefined) {
    const of = (label: string) => owner.labels[label] ?? ''
    const names = { namespace: of(podNamespaceLabel), pod: of(podNameLabel), container: of(containerNameLabel) }
    return { labels: { ...labels, name: id, image: owner.image, ...names }, owner, id }
  }
  const pod = podOf.get(path)
  if (pod === undefined) return { labels, owner, id }
  return { labels: { ...labels, namespace: namespaceOf(pod), pod: pod.metadata.name }, owner, id }
}

const lookAt = async (path: string, look: Look, { reader, host, clock }: CadvisorDeps): Promise<CgroupEntry> => {
  const isRoot = path === '/'
  const usage = reader.usage(path)
  const { labels, owner, id } = labelsOf(path, look)
  const pids = isRoot ? [] : reader.processes(path)
  const pid = isRoot ? 'self' : owner?.isSandbox === true ? pids[0] : undefined
  const layer = look.layers.get(id)
  const ownFs = {
    device: deviceOf(look.mounts, layer?.fsId?.mountpoint ?? ''),
    bytes: undefined,
    usedBytes: layer?.usedBytes?.value ?? 0,
  }
  return {
    labels,
    at: clock.now(),
    startedAt: owner?.startedAt ?? (isRoot ? host.bootedAt : (reader.madeAt(path) ?? host.bootedAt)),
    usage: isRoot ? host.complete(usage) : usage,
    detail: reader.detail(path),
    processes: { ...(await processFigures(pids, look.slices)), ...(isRoot && { processes: host.processes() }) },
    interfaces: pid === undefined ? [] : (readNetwork(pid)?.interfaces ?? []),
    // a writable layer has no limit and no inodes of its own
    fileSystems: isRoot ? look.devices : layer === undefined ? [] : [{ ...ownFs, inodes: undefined, inodesFree: undefined }],
  }
}

export interface Cadvisor {
  families(): Promise<readonly Family[]>
}

export const createCadvisor = (deps: CadvisorDeps): Cadvisor => ({
  families: async () => {
    const { reader, pods, parentOf, podsCgroup, systemCgroups, storage, clock } = deps
    const slices = createSlices(clock)
    const mounts = deviceMounts()
    const [known, layers, devices] = await Promise.all([
      askRuntime(deps).catch(() => undefined),
      storage.writableLayers(),
      deviceFileSystems(mounts),
    ])
    const podOf = new Map(pods().flatMap(pod => (parentOf(pod) === '' ? [] : [[parentOf(pod), pod] as const])))
    const look: Look = { known: known ?? new Map(), podOf, layers, devices, mounts, slices }
    const others = Object.values(systemCgroups).filter(path => path !== undefined)
    const paths = new Set(['/', ...others, ...walk(reader, podsCgroup)])
    const entries: CgroupEntry[] = []
    for (const path of paths) {
      if (path !== '/' && reader.madeAt(path) === undefined) continue
      entries.push(await lookAt(path, look, deps))
      await slices.pause()
    }
    return toCadvisorFamilies({ entries, machine: toMachine(deps), deviceName: createDeviceNames(), failed: known === undefined })
  },
})
