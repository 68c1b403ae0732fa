// How gRPC packs messages into a stream of bytes: a flag byte, four bytes of length, the message. Knows no stream and no schema.
// Pure. Follows gRPC over HTTP/2 ("Length-Prefixed-Message"); nothing is compressed, since nothing leaves the machine.
import { codes, type Status } from './grpc-status.ts'

const headBytes = 5

// As upstream's client (k8s.io/cri-client): a node full of pods fits into one ListContainers answer.
const messageLimitBytes = 16 * 1024 * 1024

/** The message as it is sent, or why it cannot be. */
export const toFrame = (message: Uint8Array): Buffer | Status => {
  if (message.length > messageLimitBytes) {
    const text = `Attempted to send message larger than max (${message.length} vs ${messageLimitBytes})`
    return { code: codes.resourceExhausted, message: text }
  }
  const frame = Buffer.allocUnsafe(headBytes + message.length)
  frame[0] = 0
  frame.writeUInt32BE(message.length, 1)
  frame.set(message, headBytes)
  return frame
}

export interface FrameReader {
  /** Takes the next bytes and hands on every message that is complete with them; answers why the stream cannot be read on. */
  read(chunk: Buffer): Status | undefined
  /** Whether the stream may end here: not within a message. */
  isBetweenMessages(): boolean
}

const nothing = Buffer.alloc(0)

/** A reader of one stream; an answer that arrives whole, as most do, is not copied, and a long one only once. */
export const createFrameReader = (onMessage: (bytes: Buffer) => void): FrameReader => {
  // The beginning of a head, or a message that has begun and how much of it is there; never both.
  let head: Buffer = nothing
  let body: Buffer | undefined
  let filled = 0

  const fill = (chunk: Buffer, into: Buffer): Buffer => {
    const taken = chunk.copy(into, filled)
    filled += taken
    if (filled === into.length) {
      body = undefined
      onMessage(into)
    }
    return chunk.subarray(taken)
  }
  const read = (chunk: Buffer): Status | undefined => {
    let rest = head.length === 0 ? chunk : Buffer.concat([head, chunk])
    head = nothing
    if (body !== undefined) rest = fill(rest, body)
    while (rest.length >= headBytes) {
      if (rest[0] !== 0) return { code: codes.internal, message: 'Received a compressed message, though none was asked for' }
      const length = rest.readUInt32BE(1)
      if (length > messageLimitBytes) {
        const text = `Received message larger than max (${length} vs ${messageLimitBytes})`
        return { code: codes.resourceExhausted, message: text }
      }
      const end = headBytes + length
      if (rest.length < end) {
        body = Buffer.allocUnsafe(length)
        filled = rest.copy(body, 0, headBytes)
        return
      }
      onMessage(rest.subarray(headBytes, end))
      rest = rest.subarray(end)
    }
    head = rest
    return
  }
  return { read, isBetweenMessages: () => body === undefined && head.length === 0 }
}
