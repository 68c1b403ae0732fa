// Container logs that have grown: the file is renamed, the runtime opens a new one, older ones are compressed, the oldest go.
// It moves whole files and never reads a line; which containers have logs is the caller's to know.
// Follows k8s.io: Logging Architecture (containerLogMaxSize, containerLogMaxFiles), with the kubelet's file names:
// `0.log`, `0.log.20260101-120000`, `0.log.20260101-110000.gz`.

import { createReadStream, createWriteStream } from 'node:fs'
import { readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Cri } from '../api/cri/cri.ts'
import type { Clock, Millis } from '../host/clock.ts'
import { unlessMissing } from '../host/errno.ts'
import { Fault } from '../host/fault.ts'

export interface LogRotationDeps {
  readonly cri: Pick<Cri, 'reopenContainerLog'>
  readonly clock: Clock
  /** Bytes; negative rotates nothing. */
  readonly maxBytes: number
  /** All files of a container together, the one that is written included; at least 2. */
  readonly maxFiles: number
}

export interface LogRotation {
  /**
   * Rotates a running container's log when it has grown to the limit.
   * @returns whether it did
   * @throws Fault `io` naming the file; the log is then where it was
   */
  rotate(containerId: string, path: string): Promise<boolean>
}

const temporary = '.tmp'
const compressed = '.gz'

const sizeOf = async (path: string): Promise<number | undefined> => (await unlessMissing(stat(path)))?.size

/** What is left of an interrupted rotation: half-written archives, and files whose archive is there already. */
const isLeftover = (file: string, all: ReadonlySet<string>): boolean =>
  file.endsWith(temporary) || (!file.endsWith(compressed) && all.has(file + compressed))

const compress = async (path: string): Promise<void> => {
  const { createGzip } = await import('node:zlib')
  const { mode } = await stat(path)
  try {
    await pipeline(createReadStream(path), createGzip(), createWriteStream(path + temporary, { mode: mode & 0o777 }))
    await rename(path + temporary, path + compressed)
  } finally {
    await rm(path + temporary, { force: true })
  }
  await rm(path, { force: true })
}

// UTC, so that names sort by age on the day when clocks go back as well
const stamp = (now: Millis): string => new Date(now).toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 15)

/** Makes room for one more rotated file and compresses those that stay. */
const tidy = async (path: string, maxFiles: number): Promise<void> => {
  const folder = dirname(path)
  const all = new Set((await readdir(folder)).filter(file => file.startsWith(`${basename(path)}.`)))
  const leftovers = [...all].filter(file => isLeftover(file, all))
  for (const file of leftovers) await rm(join(folder, file), { force: true })
  const rotated = [...all].filter(file => !leftovers.includes(file)).sort()
  // beside the new log and the one that is rotated now
  const surplus = Math.max(rotated.length - Math.max(maxFiles - 2, 0), 0)
  for (const file of rotated.slice(0, surplus)) await rm(join(folder, file), { force: true })
  for (const file of rotated.slice(surplus)) if (!file.endsWith(compressed)) await compress(join(folder, file))
}

export const createLogRotation = ({ cri, clock, maxBytes, maxFiles }: LogRotationDeps): LogRotation => {
  const move = async (containerId: string, path: string): Promise<void> => {
    const rotated = `${path}.${stamp(clock.now())}`
    await rename(path, rotated)
    try {
      await cri.reopenContainerLog(containerId)
    } catch (error) {
      // the runtime still writes to the file under its new name: give it its name back and try again later
      await rename(rotated, path)
      throw error
    }
  }
  return {
    rotate: async (containerId, path) => {
      if (maxBytes < 0) return false
      try {
        const size = await sizeOf(path)
        if (size === undefined) {
          // somebody removed it, or an earlier rotation ended half way
          await cri.reopenContainerLog(containerId)
          return false
        }
        if (size < maxBytes) return false
        await tidy(path, maxFiles)
        await move(containerId, path)
        return true
      } catch (error) {
        throw new Fault('io', `container log ${path} cannot be rotated`, { cause: error })
      }
    },
  }
}
