// The format in which a runtime writes a container's output, line by line, and what a reader of logs gets to see of it.
// Pure: bytes in, bytes out; agent/logs.ts reads the files. Follows the CRI log format: `TIME STREAM TAG CONTENT`, where tag P
// marks a line that goes on in the next one and F the last (or only) part.
import type { Millis } from '../host/clock.ts'

export interface LogLine {
  /** RFC 3339 with nanoseconds, as written. */
  readonly time: string
  readonly stream: 'stdout' | 'stderr'
  /** The line goes on. */
  readonly partial: boolean
  readonly content: Buffer
}

const blank = 0x20
const newline = 0x0a

/** One line of a log file, without its newline; undefined when it is not in the format. */
export const parseLine = (line: Buffer): LogLine | undefined => {
  const first = line.indexOf(blank)
  const second = line.indexOf(blank, first + 1)
  if (first <= 0 || second < 0) return undefined
  const third = line.indexOf(blank, second + 1)
  const stream = line.toString('latin1', first + 1, second)
  if (stream !== 'stdout' && stream !== 'stderr') return undefined
  const tags = line.toString('latin1', second + 1, third < 0 ? line.length : third).split(':')
  return {
    time: line.toString('latin1', 0, first),
    stream,
    partial: tags[0] === 'P',
    content: third < 0 ? Buffer.alloc(0) : line.subarray(third + 1),
  }
}

/** Whether the line that begins with these bytes ends what the program wrote as one line. */
export const endsLine = (head: Buffer): boolean => parseLine(head)?.partial !== true

export interface LogFormat {
  /** Puts the time in front of every line. */
  readonly timestamps?: boolean
  /** Leaves out what is older. */
  readonly since?: Millis
  /** Only what was written there. */
  readonly stream?: 'stdout' | 'stderr'
  /** Ends after so many bytes of output, within a line if need be. */
  readonly limitBytes?: number
}

export interface Formatter {
  /** What the reader sees of these bytes of the file; an incomplete line is kept for the next call. */
  push(bytes: Buffer): Buffer
  /** What is left when the file ends without a newline. */
  flush(): Buffer
  /** The limit is reached: nothing more comes. */
  readonly full: boolean
}

/** A formatter that is fed a log file piece by piece. */
export const createFormatter = (format: LogFormat): Formatter => {
  const { timestamps = false, since, stream, limitBytes = Number.POSITIVE_INFINITY } = format
  let rest: Buffer = Buffer.alloc(0)
  let left = limitBytes
  let atLineStart = true

  const show = (line: Buffer, parts: Buffer[]) => {
    const parsed = parseLine(line)
    if (parsed === undefined) return
    const { time, partial, content } = parsed
    if (stream !== undefined && parsed.stream !== stream) return
    if (since !== undefined && Date.parse(time) < since) return
    if (timestamps && atLineStart) parts.push(Buffer.from(`${time} `))
    parts.push(content)
    if (!partial) parts.push(Buffer.of(newline))
    atLineStart = !partial
  }

  const cut = (parts: readonly Buffer[]): Buffer => {
    const output = Buffer.concat(parts)
    const kept = output.length > left ? output.subarray(0, left) : output
    left -= kept.length
    return kept
  }

  return {
    push: bytes => {
      const all = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
      const parts: Buffer[] = []
      let start = 0
      for (let end = all.indexOf(newline); end >= 0; end = all.indexOf(newline, start)) {
        show(all.subarray(start, end), parts)
        start = end + 1
      }
      // A copy: what was handed in is a buffer that its owner reads into again.
      rest = Buffer.from(all.subarray(start))
      return cut(parts)
    },
    flush: () => {
      const parts: Buffer[] = []
      if (rest.length > 0) show(rest, parts)
      rest = Buffer.alloc(0)
      return cut(parts)
    },
    get full() {
      return left <= 0
    },
  }
}
