// A small file that outlives the daemon: root's own, replaced whole, written soon after a change and once however many there were.
// What is in it is its owner's business. A file that cannot be read is put aside with a warning and never stops the daemon.
import { mkdir, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Clock, Timer } from './clock.ts'
import { unlessMissing } from './errno.ts'
import { writeFileAtomic } from './files.ts'
import type { Log } from './log.ts'

export interface StateFile<T> {
  /** What the file said when it was opened; undefined when it was missing or unreadable. */
  readonly remembered: T | undefined
  /** Writes soon, once however often it is called until then; `read` is asked when the write begins. */
  save(read: () => T): void
  /** Resolves when everything that was asked to be saved is on the disk, or the last attempt has failed. */
  flush(): Promise<void>
}

export interface StateFileDeps<T> {
  /** Its folder is made when it is not there, 0700. */
  readonly path: string
  /** For the log: `the memory of Service addresses`. */
  readonly what: string
  /** @throws anything when the text is not what it should be */
  readonly parse: (text: string) => T
  readonly print: (value: T) => string
  /** Whether a loss of power may not cost the last change. */
  readonly durable: boolean
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
}

const firstRetryMs = 1_000
const longestRetryMs = 60_000

/** @throws errors of the file system other than that the file is missing */
export const openStateFile = async <T>(deps: StateFileDeps<T>): Promise<StateFile<T>> => {
  const { path, what, print, durable, clock, log } = deps
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const remembered = await load(deps)
  let pending: (() => T) | undefined
  let writing: Promise<void> | undefined
  let retry: Timer | undefined
  let retryMs = firstRetryMs

  const writeOnce = async (read: () => T) => {
    try {
      await writeFileAtomic(path, print(read()), { mode: 0o600, durable })
      retryMs = firstRetryMs
    } catch (error) {
      log.error({ err: error, path }, `${what} cannot be written`)
      const wait = retryMs
      retryMs = Math.min(retryMs * 2, longestRetryMs)
      retry = clock.after(wait, () => start(pending ?? read))
    }
  }
  const start = (read: () => T) => {
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

const load = async <T>({ path, what, parse, log }: StateFileDeps<T>): Promise<T | undefined> => {
  const text = await unlessMissing(readFile(path, 'utf8'))
  if (text === undefined) return undefined
  try {
    return parse(text)
  } catch (error) {
    const aside = `${path}.unreadable`
    await rename(path, aside)
    log.warn({ err: error, path: aside }, `${what} cannot be read and was put aside`)
    return undefined
  }
}
