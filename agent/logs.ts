// Reads a container's log for a person: all of it or its last lines, once or as it grows, across rotation.
// Owns its file handle and its watch until the reader stops; never changes a file. The format is agent/log-format.ts's.
// Follows `kubectl logs`; what is rotated away is not read again, a follower loses nothing to a rotation.

import { watch } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { Clock } from '../host/clock.ts'
import { isErrno } from '../host/errno.ts'
import { Fault } from '../host/fault.ts'
import { createFormatter, endsLine, type Formatter, type LogFormat } from './log-format.ts'

export interface ReadOptions extends LogFormat {
  /** Only so many of the last lines. */
  readonly tailLines?: number
}

export interface FollowOptions {
  /** Whether the container may still write; when it does not, the log ends with what is there. */
  readonly alive: () => boolean
  readonly clock: Clock
  readonly signal: AbortSignal
}

const blockSize = 64 * 1024

/**
 * The log at `path` as its reader sees it, piece by piece.
 * @param follow goes on until the container is dead or the signal aborts
 * @throws Fault `not-found` when there is no such file
 */
export async function* readLog(path: string, options: ReadOptions = {}, follow?: FollowOptions): AsyncGenerator<Buffer> {
  const formatter = createFormatter(options)
  let file = await openLog(path)
  try {
    let offset = options.tailLines === undefined ? 0 : await findTail(file, options.tailLines)
    const watcher = follow && watchLog(path, follow)
    try {
      for (;;) {
        // Asked before the file is read: what a container wrote before it died is in the file by then.
        const last = follow === undefined || !follow.alive() || follow.signal.aborted
        offset = yield* drain(file, offset, formatter)
        if (formatter.full) return
        const next = await replacement(path, file)
        if (next !== undefined) {
          offset = yield* drain(file, offset, formatter)
          await file.close()
          file = next
          offset = 0
          continue
        }
        if (last) break
        await watcher?.changed()
      }
    } finally {
      watcher?.stop()
    }
    if (!follow?.signal.aborted) yield formatter.flush()
  } finally {
    await file.close()
  }
}

const openLog = async (path: string): Promise<FileHandle> => {
  try {
    return await open(path, 'r')
  } catch (error) {
    const gone = isErrno(error, 'ENOENT')
    throw new Fault(gone ? 'not-found' : 'io', gone ? `there is no log ${path}` : `cannot read ${path}`, { cause: error })
  }
}

/** Reads on from `offset` to the end of the file; a file that became shorter is read from its start. Returns the new offset. */
async function* drain(file: FileHandle, from: number, formatter: Formatter): AsyncGenerator<Buffer, number> {
  const buffer = Buffer.allocUnsafe(blockSize)
  let offset = (await file.stat()).size < from ? 0 : from
  while (!formatter.full) {
    const { bytesRead } = await file.read(buffer, 0, blockSize, offset)
    if (bytesRead === 0) break
    offset += bytesRead
    const output = formatter.push(buffer.subarray(0, bytesRead))
    if (output.length > 0) yield output
  }
  return offset
}

/** The file that has taken this one's place. Not before it holds something: until then the runtime may still write to the old. */
const replacement = async (path: string, file: FileHandle): Promise<FileHandle | undefined> => {
  const there = await stat(path).catch(() => undefined)
  if (there === undefined || there.size === 0 || there.ino === (await file.stat()).ino) return undefined
  return open(path, 'r').catch(() => undefined)
}

// Whether the container lives is not told by the file: it is asked this often.
const aliveCheckMs = 500

const watchLog = (path: string, { clock, signal }: FollowOptions) => {
  let dirty = false
  let wake = () => {}
  const touch = () => {
    dirty = true
    wake()
  }
  // The folder and not the file: a rotation renames the file and puts a new one in its place.
  const watcher = watch(dirname(path), (_, name) => {
    if (name === null || name === basename(path)) touch()
  })
  watcher.on('error', touch)
  signal.addEventListener('abort', touch, { once: true })
  return {
    changed: async () => {
      const woken = new Promise<void>(resolve => {
        wake = resolve
      })
      const timer = clock.after(aliveCheckMs, () => wake())
      if (!dirty && !signal.aborted) await woken
      timer.cancel()
      dirty = false
    },
    stop: () => {
      watcher.close()
      signal.removeEventListener('abort', touch)
    },
  }
}

// Enough for time, stream and tag of a line.
const headSize = 128

/** Where the last `lines` lines begin; parts of one line count as one. Reads backwards, and no more than it needs. */
export const findTail = async (file: FileHandle, lines: number): Promise<number> => {
  const { size } = await file.stat()
  if (lines <= 0) return size
  let found = 0
  let lineEnd = size
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - blockSize)
    // The heads of lines that begin in this block may reach into the next one.
    const buffer = Buffer.alloc(Math.min(end + headSize, size) - start)
    await file.read(buffer, 0, buffer.length, start)
    for (let at = end - start - 1; at >= -1; at--) {
      if (at === -1 ? start > 0 : buffer[at] !== 0x0a) continue
      // A line begins behind this newline; the last newline of the file begins none.
      const lineStart = start + at + 1
      if (lineStart < size && lineEnd < size && isEnd(buffer.subarray(at + 1, at + 1 + headSize))) {
        if (++found === lines) return lineEnd
      }
      lineEnd = lineStart
    }
    end = start
  }
  return 0
}

const isEnd = (head: Buffer): boolean => {
  const end = head.indexOf(0x0a)
  return endsLine(end < 0 ? head : head.subarray(0, end))
}
