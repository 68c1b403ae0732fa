// The program as a release carries it: bin/nodelet, the bundle and Node, in a folder of its own. What is compared with a Go binary is
// this, not a checkout.
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bundle } from '../deploy/build.ts'

const root = join(import.meta.dirname, '..')

export interface Release {
  /** bin/nodelet of the release. */
  readonly program: string
  remove(): Promise<void>
}

export const createRelease = async (): Promise<Release> => {
  const dir = await mkdtemp(join(tmpdir(), 'nlt-release-'))
  await mkdir(join(dir, 'bin'))
  await cp(join(root, 'bin/nodelet'), join(dir, 'bin/nodelet'))
  await bundle(join(dir, 'dist'))
  await symlink(join(root, 'node_modules'), join(dir, 'node_modules'))
  return { program: join(dir, 'bin/nodelet'), remove: () => rm(dir, { recursive: true }) }
}
