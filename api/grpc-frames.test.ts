// Messages come whole out of a stream of bytes, wherever it was cut.
import t from 'tap'
import { createFrameReader, toFrame } from './grpc-frames.ts'

const frame = (text: string): Buffer => {
  const made = toFrame(Buffer.from(text))
  if (Buffer.isBuffer(made)) return made
  throw new Error(made.message)
}
const texts = ['one', '', 'a longer message', 'x']
const bytes = Buffer.concat(texts.map(frame))

t.test('cut anywhere, the messages are the same', async t => {
  for (let first = 0; first <= bytes.length; first += 1) {
    for (let second = first; second <= bytes.length; second += 1) {
      const heard: string[] = []
      const reader = createFrameReader(it => heard.push(it.toString()))
      for (const piece of [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]) {
        const broken = reader.read(piece)
        if (broken !== undefined) t.fail(broken.message)
      }
      if (`${heard}` !== `${texts}` || !reader.isBetweenMessages()) t.fail(`${heard} when cut at ${first} and ${second}`)
    }
  }
  t.pass()
})

for (const [name, length, expected] of [
  ['nothing is missing before the first byte', 0, true],
  ['a head that has begun', 2, false],
  ['a head alone', 5, false],
  ['a message that has begun', 7, false],
  ['a whole message', 8, true],
] as const) {
  t.test(`may the stream end here? ${name}`, async t => {
    const reader = createFrameReader(() => undefined)
    reader.read(bytes.subarray(0, length))
    t.equal(reader.isBetweenMessages(), expected)
  })
}

t.test('a message may have 16 MB, not one byte more', async t => {
  const longest = Buffer.alloc(16 * 1024 * 1024)
  t.ok(Buffer.isBuffer(toFrame(longest)))
  t.match(toFrame(Buffer.alloc(longest.length + 1)), { code: 8, message: /larger than max \(16777217 vs 16777216\)/ })
  const reader = createFrameReader(() => t.fail('nothing is complete'))
  t.equal(reader.read(Buffer.of(0, 1, 0, 0, 0)), undefined)
  t.match(createFrameReader(() => t.fail()).read(Buffer.of(0, 1, 0, 0, 1)), { code: 8, message: /larger than max/ })
})
