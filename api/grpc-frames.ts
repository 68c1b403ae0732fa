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

/** A reader of one stream; an answer that arrives whole, as most do, is not copied. */
export const createFrameReader = (onMessage: (bytes: Buffer) => void): FrameReader => {
  let chunks: Buffer[] = []
  let have = 0
  // Bytes before which there is nothing to do: a message of several MB is put together once, not with each of its frames.
  let want = headBytes
  const read = (chunk: Buffer): Status | undefined => {
    chunks.push(chunk)
    have += chunk.length
    if (have < want) return
    let rest = chunks.length === 1 ? chunk : Buffer.concat(chunks, have)
    want = headBytes
    while (rest.length >= headBytes) {
      if (rest[0] !== 0) return { code: codes.internal, message: 'Received a compressed message, though none was asked for' }
      const length = rest.readUInt32BE(1)
      if (length > messageLimitBytes) {
        const text = `Received message larger than max (${length} vs ${messageLimitBytes})`
        return { code: codes.resourceExhausted, message: text }
      }
      want = headBytes + length
      if (rest.length < want) break
      onMessage(rest.subarray(headBytes, want))
      rest = rest.subarray(want)
      want = headBytes
    }
    have = rest.length
    chunks = have === 0 ? [] : [rest]
    return
  }
  return { read, isBetweenMessages: () => have === 0 }
}
