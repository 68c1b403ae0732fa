// What the node has left: memory, disks, inodes, process ids. Reads /proc, cgroups and statfs, only for the signals that are asked for; the
// runtime is asked once where its files are. Decides nothing.
// Follows k8s.io: Node-pressure Eviction, "Eviction signals" (memory.available is capacity less the working set of everything).
import { stat } from 'node:fs/promises'
import type { Cri } from '../../api/cri/cri.ts'
import type { CgroupReader } from '../../host/cgroup-read.ts'
import { fileSystemSize } from '../../host/machine.ts'
import type { HostFigures } from '../stats/host-figures.ts'
import type { DiskLayout, Observation, Observations, Signal } from './thresholds.ts'

export interface Disks {
  readonly layout: DiskLayout
  /** A folder on each. */
  readonly nodefs: string
  readonly imagefs: string
  readonly containerfs: string
}

export interface NodeSignalsDeps {
  readonly rootDir: string
  /** The cgroup of all pods. */
  readonly podsCgroup: string
  /** Most processes that there can be. */
  readonly pidLimit: number
  readonly runtime: Pick<Cri, 'imageFsInfo'>
  readonly reader: Pick<CgroupReader, 'usage'>
  readonly host: Pick<HostFigures, 'complete' | 'processes'>
  /** The device that a folder is on. */
  readonly deviceOf?: (folder: string) => Promise<number>
  readonly sizeOf?: typeof fileSystemSize
}

export interface NodeSignals {
  /** Where the runtime keeps its files. @throws Fault while the runtime does not answer */
  disks(): Promise<Disks>
  /**
   * What is left of what the signals are about; a signal that cannot be told is left out.
   * @param disks undefined while they are not known: then nothing is told of the runtime's
   */
  observe(wanted: ReadonlySet<Signal>, disks: Disks | undefined): Promise<Observations>
}

/** One that hangs must not keep the node from seeing that memory runs out. */
const patienceMs = 2000

const left = (capacity: number, used: number): Observation => ({ capacity, available: Math.max(capacity - used, 0) })

/** Which disks these are, by the devices that the folders are on. */
export const toLayout = (nodefs: number, imagefs: number, containerfs: number): DiskLayout => {
  if (imagefs !== containerfs) return 'images-apart'
  return imagefs === nodefs ? 'one' : 'runtime-apart'
}

export const createNodeSignals = (deps: NodeSignalsDeps): NodeSignals => {
  const { rootDir, reader, host } = deps
  const deviceOf = deps.deviceOf ?? (async (folder: string) => (await stat(folder)).dev)
  const sizeOf = deps.sizeOf ?? fileSystemSize

  const memory = (): Observation | undefined => {
    const { memory: used } = host.complete(reader.usage('/'))
    return used?.limitBytes === undefined ? undefined : left(used.limitBytes, used.workingSetBytes)
  }

  const allocatableMemory = (): Observation | undefined => {
    const { memory: used } = reader.usage(deps.podsCgroup)
    // Without a limit pods are held to the machine's memory alone.
    return used?.limitBytes === undefined ? undefined : left(used.limitBytes, used.workingSetBytes)
  }

  /** Both signals of a disk, by one look at it. */
  const disk = async (name: 'nodefs' | 'imagefs' | 'containerfs', folder: string | undefined) => {
    const size = folder === undefined ? undefined : await sizeOf(folder).catch(() => undefined)
    if (size === undefined) return []
    return [
      [`${name}.available`, { capacity: size.bytes, available: size.availableBytes }],
      [`${name}.inodesFree`, { capacity: size.inodes, available: size.freeInodes }],
    ] as const
  }

  const observe: NodeSignals['observe'] = async (wanted, disks) => {
    const asked = (name: string) => wanted.has(`${name}.available` as Signal) || wanted.has(`${name}.inodesFree` as Signal)
    const found: (readonly [Signal, Observation | undefined])[] = []
    if (wanted.has('memory.available')) found.push(['memory.available', memory()])
    if (wanted.has('allocatableMemory.available')) found.push(['allocatableMemory.available', allocatableMemory()])
    if (wanted.has('pid.available')) found.push(['pid.available', left(deps.pidLimit, host.processes())])
    for (const name of ['nodefs', 'imagefs', 'containerfs'] as const) {
      if (asked(name)) found.push(...(await disk(name, name === 'nodefs' ? rootDir : disks?.[name])))
    }
    return new Map(found.filter((it): it is readonly [Signal, Observation] => it[1] !== undefined))
  }

  return {
    disks: async () => {
      const { imageFilesystems, containerFilesystems } = await deps.runtime.imageFsInfo({ timeoutMs: patienceMs })
      const imagefs = imageFilesystems[0]?.fsId?.mountpoint ?? rootDir
      // Runtimes before CRI 1.29 keep both on one file system and tell of one.
      const containerfs = containerFilesystems[0]?.fsId?.mountpoint ?? imagefs
      const layout = toLayout(await deviceOf(rootDir), await deviceOf(imagefs), await deviceOf(containerfs))
      return { layout, nodefs: rootDir, imagefs, containerfs }
    },
    observe,
  }
}
