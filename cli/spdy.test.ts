import { createInflate } from 'node:zlib'
import t from 'tap'
import { createDecoder, type Frame, openStream, toData } from './spdy.ts'

/** What another implementation's zlib makes of the header blocks of one connection. */
const inflate = async (blocks: readonly Buffer[]): Promise<string[]> => {
  const stream = createInflate()
  const texts: string[] = []
  for (const block of blocks) {
    const out = new Promise<Buffer>(resolve => stream.once('data', resolve))
    stream.write(block)
    texts.push((await out).toString('latin1'))
  }
  stream.destroy()
  return texts
}

t.test('streams are opened with headers that zlib can read, one after the other', async t => {
  const frames = [openStream(1, { streamtype: 'error' }, true), openStream(3, { streamType: 'stdin' }, false)]
  t.equal(frames[0]?.subarray(0, 4).toString('hex'), '80030001')
  t.equal(frames[1]?.readUInt32BE(8), 3)
  for (const frame of frames) t.equal(frame.readUIntBE(5, 3), frame.length - 8)
  t.same(await inflate(frames.map(it => it.subarray(18))), [
    '\0\0\0\x01\0\0\0\nstreamtype\0\0\0\x05error',
    '\0\0\0\x01\0\0\0\nstreamtype\0\0\0\x05stdin',
  ])
})

t.test('frames are told whole, however the bytes come', async t => {
  const ping = Buffer.from('8003000600000004' + '00000002', 'hex')
  const reply = Buffer.from('8003000200000004' + '00000001', 'hex')
  const bytes = Buffer.concat([reply, toData(3, Buffer.from('hello')), ping, toData(1, Buffer.alloc(0), true)])
  for (const size of [1, 5, 9, 1000]) {
    const frames: Frame[] = []
    const decode = createDecoder(frame => frames.push(frame))
    for (let i = 0; i < bytes.length; i += size) decode(bytes.subarray(i, i + size))
    t.same(frames, [
      { type: 'accepted', stream: 1 },
      { type: 'data', stream: 3, data: Buffer.from('hello'), last: false },
      { type: 'ping', reply: ping },
      { type: 'data', stream: 1, data: Buffer.alloc(0), last: true },
    ])
  }
})
