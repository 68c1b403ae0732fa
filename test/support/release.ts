// A release of this checkout for tests: the one file and its Debian package, made anew for a test.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { bundle } from '../../deploy/build.ts'
import { makeDeb } from '../../deploy/deb.ts'
import { makeExecutable } from '../../deploy/executable.ts'

/** For the architecture of the test VM, whatever the host's is; gone when the test ends. @returns files for the VM, by their paths there */
export const releaseForVm = async (t: Test): Promise<Readonly<Record<string, string>>> => {
  const folder = await mkdtemp(join(tmpdir(), 'nlt-release-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const program = join(folder, 'nodelet')
  await makeExecutable('x64', folder, await bundle(folder), program)
  return { 'release/nodelet': program, 'release/nodelet.deb': join(folder, await makeDeb('x64', program, folder)) }
}
