import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { stripElf } from './elf.ts'

// Two segments, a section table behind them and a string that no segment covers.
const small = (): Buffer => {
  const file = Buffer.alloc(400, 0xaa)
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1])
  file.writeBigUInt64LE(64n, 32)
  file.writeBigUInt64LE(350n, 40)
  file.writeUInt16LE(56, 54)
  file.writeUInt16LE(2, 56)
  file.writeUInt16LE(3, 60)
  file.writeUInt16LE(2, 62)
  for (const [index, [offset, size]] of [
    [200, 100],
    [0, 176],
  ].entries() as ArrayIterator<[number, [number, number]]>) {
    file.writeBigUInt64LE(BigInt(offset), 64 + index * 56 + 8)
    file.writeBigUInt64LE(BigInt(size), 64 + index * 56 + 32)
  }
  return file
}

t.test('the file ends where its last segment ends, and names no sections', async t => {
  const stripped = stripElf(small())
  t.equal(stripped.length, 300)
  t.equal(stripped.readBigUInt64LE(40), 0n)
  t.equal(stripped.readUInt16LE(60), 0)
  t.equal(stripped.readUInt16LE(62), 0)
  t.ok(stripped.subarray(64).equals(small().subarray(64, 300)), 'nothing else is changed')
})

t.test('what is no such file is refused', async t => {
  t.throws(() => stripElf(Buffer.from('#!/bin/sh\n')), /not a 64-bit little-endian ELF/)
  t.throws(() => stripElf(Buffer.alloc(0)), /not a 64-bit little-endian ELF/)
})

t.test('a real program runs as before', async t => {
  const dir = await mkdtemp(join(tmpdir(), 'nlt-elf-'))
  t.teardown(() => rm(dir, { recursive: true }))
  const program = join(dir, 'echo')
  await writeFile(program, stripElf(await readFile('/bin/echo')), { mode: 0o755 })
  t.equal((await promisify(execFile)(program, ['it', 'runs'])).stdout, 'it runs\n')
})
