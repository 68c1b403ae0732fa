// What a node does beside its pods, now and then: rotates logs that have grown, removes images when the disk fills.
// Holds no policy (agent/rotate.ts and agent/gc.ts decide) and never runs two rounds of the same work at once.

import type { Cri } from '../api/cri/cri.ts'
import { allContainers } from '../api/pod.ts'
import type { Pod } from '../api/types.ts'
import type { Clock, Timer } from '../host/clock.ts'
import { describe, except } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import { type FileSystemSize, fileSystemSize } from '../host/machine.ts'
import { type ImageGcSettings, type ImageRecords, observeImages, planImageGc } from './gc.ts'
import type { LogRotation } from './rotate.ts'
import type { PodWorker } from './worker.ts'

export interface HousekeepingDeps {
  readonly runtime: Pick<Cri, 'listImages' | 'listContainers' | 'removeImage' | 'imageFsInfo' | 'status'>
  readonly workers: () => readonly PodWorker[]
  readonly wanted: () => readonly Pod[]
  readonly rotation: LogRotation
  readonly rotationMs: number
  readonly images: ImageGcSettings
  readonly clock: Clock
  readonly log: Log
}

export interface Housekeeping {
  start(): void
  stop(): void
  /** Removes every image that may go: the node runs short of space. @returns how many */
  removeUnusedImages(): Promise<number>
}

/** The kubelet's: once in five minutes. */
const imageGcMs = 300_000

export const createHousekeeping = (deps: HousekeepingDeps): Housekeeping => {
  const { clock, log } = deps
  const timers = new Map<string, Timer>()
  let stopped = false
  const since = clock.now()
  let records: ImageRecords | undefined
  let collecting: Promise<unknown> = Promise.resolve()

  const every = (what: string, ms: number, work: () => Promise<unknown>) => {
    const round = async () => {
      await work().catch(error => log.warn({ err: error }, `${what}: ${describe(error)}`))
      if (!stopped)
        timers.set(
          what,
          clock.after(ms, () => void round()),
        )
    }
    timers.set(
      what,
      clock.after(ms, () => void round()),
    )
  }

  const rotateLogs = async () => {
    for (const { seen } of deps.workers())
      for (const { id, state, logPath } of seen.containers)
        if (state === 'running' && logPath !== '')
          await deps.rotation.rotate(id, logPath).catch(error => log.warn({ err: error }, describe(error)))
  }

  const collect = async (how: 'as-needed' | 'all'): Promise<number> => {
    const { runtime } = deps
    const now = clock.now()
    const [images, containers, disk] = await Promise.all([runtime.listImages(), runtime.listContainers(), imageDisk(runtime)])
    const inUse = new Set(containers.flatMap(it => [it.imageId, it.imageRef]))
    // What is there at the first look is older than anybody knows.
    records = observeImages(records ?? new Map(), images, inUse, records === undefined ? 0 : now)
    const plan = planImageGc({ images, records, inUse, named: await namedImages(deps), disk, since, now }, deps.images, how)
    for (const { id, why } of plan.remove) {
      await except(runtime.removeImage({ image: id }), 'not-found')
      log.info({ image: id, why }, 'removed an image that nothing uses')
    }
    if (plan.missingBytes > 0)
      log.warn(
        { usedPercent: plan.usedPercent, missingBytes: plan.missingBytes },
        'the disk of images is full of something else than images',
      )
    return plan.remove.length
  }

  /** One after the other: two at once would remove the same. */
  const collectImages = (how: 'as-needed' | 'all'): Promise<number> => {
    const mine = collecting.then(() => collect(how))
    collecting = mine.catch(() => undefined)
    return mine
  }

  return {
    start: () => {
      every('logs could not be rotated', deps.rotationMs, rotateLogs)
      every('images could not be collected', imageGcMs, () => collectImages('as-needed'))
    },
    stop: () => {
      stopped = true
      for (const timer of timers.values()) timer.cancel()
    },
    removeUnusedImages: () => collectImages('all'),
  }
}

const imageDisk = async (runtime: Pick<Cri, 'imageFsInfo'>): Promise<FileSystemSize> => {
  const { imageFilesystems } = await runtime.imageFsInfo()
  return fileSystemSize(imageFilesystems[0]?.fsId?.mountpoint ?? '/')
}

/** Images of pods that are wanted here, and the sandbox image, which containerd 1.x does not pin. */
const namedImages = async ({ runtime, wanted }: HousekeepingDeps): Promise<readonly string[]> => {
  const { info } = await runtime.status(true)
  const { sandboxImage } = JSON.parse(info['config'] ?? '{}') as { sandboxImage?: string }
  const containers = wanted().flatMap(allContainers)
  return [...containers.map(it => it.image), ...(sandboxImage === undefined ? [] : [sandboxImage])]
}
