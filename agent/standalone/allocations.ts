// The memory of what was allocated: one file under the state folder, root's own, replaced whole, so that Services keep their
// addresses over restarts. Losing it costs little (allocate.ts points most Services to the same addresses again), so a file that
// cannot be read is put aside with a warning and never stops the daemon. Decides nothing about addresses.
import { mkdir, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import * as v from 'valibot'
import type { Clock, Timer } from '../../host/clock.ts'
import { unlessMissing, writeFileAtomic } from '../../host/files.ts'
import type { Log } from '../../host/log.ts'
import type { Allocations, Holding } from './allocate.ts'

export interface AllocationMemory {
  /** What was allocated when the file was opened. */
  readonly remembered: Allocations
  /** Writes soon, once however often it is called until then; `read` is asked when the write begins. */
  save(read: () => Allocations): void
  /** Resolves when everything that was asked to be saved is on the disk, or the last attempt has failed. */
  flush(): Promise<void>
}

const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535))
const fileSchema = v.object({
  version: v.literal(1),
  services: v.record(
    v.string(),
    v.object({
      clusterIPs: v.array(v.pipe(v.string(), v.ip())),
      nodePorts: v.record(v.string(), port),
      healthCheckNodePort: v.optional(port),
    }),
  ),
})

const firstRetryMs = 1_000
const longestRetryMs = 60_000

const parse = (text: string): Allocations => {
  const { services } = v.parse(fileSchema, JSON.parse(text))
  const entries = Object.entries(services).map(([key, { healthCheckNodePort, ...rest }]): [string, Holding] => [
    key,
    healthCheckNodePort === undefined ? rest : { ...rest, healthCheckNodePort },
  ])
  return Object.fromEntries(entries)
}

const load = async (path: string, log: Log): Promise<Allocations> => {
  const text = await unlessMissing(readFile(path, 'utf8'))
  if (text === undefined) return {}
  try {
    return parse(text)
  } catch (error) {
    const aside = `${path}.unreadable`
    await rename(path, aside)
    log.warn({ err: error, path: aside }, 'the memory of Service addresses cannot be read and was put aside; some may change')
    return {}
  }
}

/**
 * Opens the memory; a missing or unreadable file is an empty one.
 * @param path of the file; its folder is made when it is not there
 * @throws errors of the file system other than that the file is missing
 */
export const openAllocations = async (deps: {
  readonly path: string
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
}): Promise<AllocationMemory> => {
  const { path, clock, log } = deps
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const remembered = await load(path, log)
  let pending: (() => Allocations) | undefined
  let writing: Promise<void> | undefined
  let retry: Timer | undefined
  let retryMs = firstRetryMs

  const writeOnce = async (read: () => Allocations) => {
    try {
      const content = `${JSON.stringify({ version: 1, services: read() })}\n`
      await writeFileAtomic(path, content, { mode: 0o600, durable: true })
      retryMs = firstRetryMs
    } catch (error) {
      log.error({ err: error, path }, 'the memory of Service addresses cannot be written')
      const wait = retryMs
      retryMs = Math.min(retryMs * 2, longestRetryMs)
      retry = clock.after(wait, () => start(pending ?? read))
    }
  }
  const start = (read: () => Allocations) => {
    pending = read
    retry?.cancel()
    retry = undefined
    writing ??= writeAll().finally(() => {
      writing = undefined
    })
  }
  const writeAll = async () => {
    // Everything that changes in this turn goes into one write.
    await Promise.resolve()
    while (pending !== undefined) {
      const read = pending
      pending = undefined
      await writeOnce(read)
    }
  }
  return { remembered, save: start, flush: async () => await writing }
}
