// SPDY/3.1 as far as a client of a container runtime's streaming server needs it: opens streams, sends and takes data.
// Pure bytes; cli/exec.ts owns the socket. Why not WebSocket: its v4.channel.k8s.io has no way to say that stdin has ended, and
// no runtime's server speaks v5, so that `echo x | nodelet exec -i POD -- cat` would never end.

export type Frame =
  | { readonly type: 'data'; readonly stream: number; readonly data: Buffer; readonly last: boolean }
  | { readonly type: 'accepted'; readonly stream: number }
  | { readonly type: 'ping'; readonly reply: Buffer }
  | { readonly type: 'refused'; readonly stream: number }

const control = 0x80
const version = 3
const kinds = { syn: 1, reply: 2, reset: 3, ping: 6 }
const fin = 0x01

const toControl = (kind: number, body: Buffer): Buffer => {
  const head = Buffer.alloc(8)
  head.writeUInt16BE((control << 8) | version, 0)
  head.writeUInt16BE(kind, 2)
  head.writeUInt32BE(body.length, 4)
  return Buffer.concat([head, body])
}

/**
 * Opens a stream with its headers. Numbers are odd and grow, and data may follow when the stream was accepted: a server
 * drops what comes before.
 * @param first whether it is the first of its connection: headers are one zlib stream per connection, whose start it carries
 */
export const openStream = (stream: number, headers: Readonly<Record<string, string>>, first: boolean): Buffer => {
  const head = Buffer.alloc(10)
  head.writeUInt32BE(stream, 0)
  return toControl(kinds.syn, Buffer.concat([head, toHeaderBlock(headers, first)]))
}

const toText = (text: string): Buffer => {
  const bytes = Buffer.from(text)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

/** Names and values in a zlib stream of stored blocks: a dozen bytes are not worth a compressor that keeps state. */
const toHeaderBlock = (headers: Readonly<Record<string, string>>, first: boolean): Buffer => {
  const pairs = Object.entries(headers)
  const count = Buffer.alloc(4)
  count.writeUInt32BE(pairs.length)
  const plain = Buffer.concat([count, ...pairs.flatMap(([name, value]) => [toText(name.toLowerCase()), toText(value)])])
  const block = Buffer.alloc(5)
  block.writeUInt16LE(plain.length, 1)
  block.writeUInt16LE(~plain.length & 0xffff, 3)
  const zlibStart = Buffer.from(first ? [0x78, 0x01] : [])
  // An empty block at the end makes the reader hand out what it has.
  const flush = Buffer.from([0x00, 0x00, 0x00, 0xff, 0xff])
  return Buffer.concat([zlibStart, block, plain, flush])
}

/** Data on a stream; `last` when no more will come. */
export const toData = (stream: number, data: Uint8Array, last = false): Buffer => {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(stream, 0)
  head.writeUInt32BE(data.length, 4)
  head[4] = last ? fin : 0
  return Buffer.concat([head, data])
}

/** Takes bytes as they come and hands out whole frames; those that a client need not know are left out. */
export const createDecoder = (onFrame: (frame: Frame) => void): ((bytes: Buffer) => void) => {
  let rest: Buffer = Buffer.alloc(0)
  return bytes => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
    while (rest.length >= 8) {
      const end = 8 + rest.readUIntBE(5, 3)
      if (rest.length < end) return
      const frame = toFrame(rest.subarray(0, end))
      rest = rest.subarray(end)
      if (frame !== undefined) onFrame(frame)
    }
  }
}

const toFrame = (frame: Buffer): Frame | undefined => {
  const first = frame.readUInt8(0)
  const body = frame.subarray(8)
  if ((first & control) === 0) {
    return { type: 'data', stream: frame.readUInt32BE(0), data: body, last: (frame.readUInt8(4) & fin) !== 0 }
  }
  const kind = frame.readUInt16BE(2)
  if (kind === kinds.ping) return { type: 'ping', reply: Buffer.from(frame) }
  if (kind === kinds.reply) return { type: 'accepted', stream: body.readUInt32BE(0) }
  if (kind === kinds.reset) return { type: 'refused', stream: body.readUInt32BE(0) }
  return undefined
}
