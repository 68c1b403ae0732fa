// Lines are whole, whatever pieces they come in.
import t from 'tap'
import { createLineCutter } from './json-lines.ts'

const cut = (chunks: readonly Buffer[]) => {
  const lines: string[] = []
  const cutter = createLineCutter(line => lines.push(line))
  for (const chunk of chunks) cutter.push(chunk)
  return { lines, heldBytes: cutter.heldBytes }
}
const text = Buffer.from('{"a":"ä€😀"}\n\r\n{"b":2}\n')

t.test('a stream cut at any place gives the same lines', async t => {
  for (let at = 0; at <= text.length; at++)
    t.same(cut([text.subarray(0, at), text.subarray(at)]).lines, ['{"a":"ä€😀"}', '{"b":2}'], `cut at ${at}`)
})

t.test('a stream that comes byte by byte gives them too', async t => {
  t.same(cut([...text].map(byte => Buffer.from([byte]))).lines, ['{"a":"ä€😀"}', '{"b":2}'])
})

t.test('a line without an end is held and never handed on', async t => {
  t.same(cut([Buffer.from('{"a":1}\n{"b'), Buffer.from('":')]), { lines: ['{"a":1}'], heldBytes: 5 })
})
