// Cuts a stream of bytes into the JSON texts that stand on its lines: the framing of watches and streamed lists.
// Holds one unfinished line at most. A line that the stream ends within is never handed on: it was torn.

export interface LineCutter {
  push(chunk: Buffer): void
  /** How many bytes of an unfinished line are held: more than none at the end means that the stream was torn. */
  readonly heldBytes: number
}

const newline = 0x0a

/** Calls `onLine` with each line that is complete and not empty. */
export const createLineCutter = (onLine: (line: string) => void): LineCutter => {
  // A long line comes in many chunks: they are joined once, when its end is there.
  let held: Buffer[] = []
  let heldBytes = 0
  const take = (tail: Buffer): string => {
    if (held.length === 0) return tail.toString('utf8')
    const line = Buffer.concat([...held, tail]).toString('utf8')
    held = []
    heldBytes = 0
    return line
  }
  return {
    push: chunk => {
      let start = 0
      for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
        const line = take(chunk.subarray(start, end))
        start = end + 1
        if (line.trim() !== '') onLine(line)
      }
      if (start === chunk.length) return
      // A copy, so that a small rest does not keep a large chunk alive for as long as a quiet watch lasts.
      held.push(Buffer.from(chunk.subarray(start)))
      heldBytes += chunk.length - start
    },
    get heldBytes() {
      return heldBytes
    },
  }
}
