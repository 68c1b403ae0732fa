// Runs several test files in this process, one after the other; their paths stand in a variable, a line each. For most of them loading
// Node and tap costs more than their tests. Each file's end is told by a skipped test whose name tap-file.ts knows, so that nobody
// answers for another.
import { resolve } from 'node:path'
import t from 'tap'
import { endOfFile, filesVariable } from './names.ts'

/** Resolves when everything that tap has said is with the reader: what a file that ends the process leaves behind is lost. */
const written = async () => {
  while (t.bufferLength > 0 || process.stdout.writableLength > 0) await new Promise(resolve => setTimeout(resolve, 1))
}

for (const path of (process.env[filesVariable] ?? '').split('\n')) {
  try {
    await import(resolve(path))
  } catch (error) {
    t.fail('the file cannot be loaded', { reason: error instanceof Error ? error.stack : error })
  }
  // Waits its turn behind all the file's tests.
  await t.test(`${endOfFile}${path}`, { skip: true }, async () => undefined)
  await written()
}
