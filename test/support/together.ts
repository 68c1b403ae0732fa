// Runs several test files in this process, one after the other; their paths stand in a variable, a line each. For most of them loading
// Node and tap costs more than their tests. Each file's end is told by a skipped test whose name tap-file.ts knows, so that nobody
// answers for another.
import { resolve } from 'node:path'
import t from 'tap'
import { endOfFile, filesVariable } from './names.ts'

for (const path of (process.env[filesVariable] ?? '').split('\n')) {
  try {
    await import(resolve(path))
  } catch (error) {
    t.fail('the file cannot be loaded', { reason: error instanceof Error ? error.stack : error })
  }
  // Waits its turn behind all the file's tests.
  await t.test(`${endOfFile}${path}`, { skip: true }, async () => undefined)
}
