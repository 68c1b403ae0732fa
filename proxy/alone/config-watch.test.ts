// The configuration's file is watched as it is replaced: written, renamed over, or by a link that is turned, as a ConfigMap's is.
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { silentLog } from '../../host/log.ts'
import { watchConfig } from './config-watch.ts'

const begin = async (t: { teardown(run: () => Promise<void>): unknown }) => {
  const folder = await mkdtemp(join(tmpdir(), 'nlt-config-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

t.test('content that is written anew is told of, once; the same content is not', async t => {
  const folder = await begin(t)
  const file = join(folder, 'config.yaml')
  await writeFile(file, 'a')
  let told = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  const stop = await watchConfig(
    file,
    () => {
      told += 1
      resolve()
    },
    silentLog,
  )
  await writeFile(join(folder, 'new'), 'a')
  await rename(join(folder, 'new'), file)
  await writeFile(file, 'b')
  await promise
  await writeFile(file, 'c')
  stop()
  t.equal(told, 1)
})

t.test('a link that is turned is told of', async t => {
  const folder = await begin(t)
  for (const version of ['1', '2']) {
    await mkdir(join(folder, version))
    await writeFile(join(folder, version, 'config.yaml'), version)
  }
  await symlink('1', join(folder, 'data'))
  await symlink('data/config.yaml', join(folder, 'config.yaml'))
  const { promise, resolve } = Promise.withResolvers<void>()
  const stop = await watchConfig(join(folder, 'config.yaml'), resolve, silentLog)
  await symlink('2', join(folder, 'next'))
  await rename(join(folder, 'next'), join(folder, 'data'))
  await promise
  stop()
  t.pass('the change was noticed')
})
