// Runs several test files in this process, one after the other; their paths stand in a variable, a line each. For most of them loading
// Node and tap costs more than their tests. Each file is loaded in a test, since tap ends for good when it has nothing to do, and its
// end is told by a skipped test whose name tap-file.ts knows, so that nobody answers for another. A file must not await its tests.
import { resolve } from 'node:path'
// Loaded first: a file that replaces globals while it loads a library (x509.ts) must not do so to Node's own modules.
import 'node:https'
import t from 'tap'
import { endOfFile, filesVariable, loadOfFile } from './names.ts'

// A reader that is slow lets the socket fill, and what Node then keeps back is lost with a file that ends the process.
interface Handle {
  setBlocking?(on: boolean): void
}
;(process.stdout as unknown as { readonly _handle?: Handle })._handle?.setBlocking?.(true)

/** Resolves when everything that tap has said is with the reader: what a file that ends the process leaves behind is lost. */
const written = async () => {
  while (t.bufferLength > 0 || process.stdout.writableLength > 0) await new Promise(resolve => setTimeout(resolve, 1))
}

for (const path of (process.env[filesVariable] ?? '').split('\n')) {
  await t.test(`${loadOfFile}${path}`, async () => {
    await written()
    await import(resolve(path))
  })
  // Waits its turn behind all the file's tests.
  await t.test(`${endOfFile}${path}`, { skip: true }, async () => undefined)
}
