import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { toReference } from './reference.ts'

t.test('docs/reference.md is what `npm run reference` makes of the schemas', async t => {
  const written = await readFile(join(import.meta.dirname, '../docs/reference.md'), 'utf8')
  t.equal(written, toReference(), 'run `npm run reference`')
})
