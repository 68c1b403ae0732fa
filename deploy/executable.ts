// The program as one file: Node's single executable format, with the bundle inside as a read-only file system (useVfs), so that its
// commands load what they need and no more, as from a disk. Node is stripped; options of V8 are part of the file.
// The same bundle and Node give the same bytes, wherever the checkout is.
import { createHash } from 'node:crypto'
import { access, chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { systemExec } from '../host/exec.ts'
import { stripElf } from './elf.ts'

const root = join(import.meta.dirname, '..')

export const architectures = ['x64', 'arm64'] as const
export type Architecture = (typeof architectures)[number]

interface Lock {
  readonly packages: Readonly<Record<string, { readonly version: string; readonly integrity: string }>>
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

/** Fetches the package of another architecture, which npm does not install here, and compares it with the lock file. */
const fetchNode = async (name: string, folder: string): Promise<void> => {
  const { packages } = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as Lock
  const locked = packages[`node_modules/${name}`]
  if (locked === undefined) throw new Error(`package-lock.json has no ${name}`)
  await mkdir(dirname(folder), { recursive: true })
  const work = await mkdtemp(`${folder}-`)
  try {
    const pack = ['npm', 'pack', '--silent', `${name}@${locked.version}`, '--pack-destination', work]
    const { stdout } = await systemExec.run(pack, { timeoutMs: 600_000 })
    const archive = join(work, stdout.trim())
    const integrity = `sha512-${createHash('sha512')
      .update(await readFile(archive))
      .digest('base64')}`
    if (integrity !== locked.integrity) throw new Error(`${name} is not what package-lock.json says: ${integrity}`)
    await systemExec.run(['tar', '-xzf', archive, '-C', work, 'package/bin/node'], { timeoutMs: 120_000 })
    await rename(join(work, 'package'), folder)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** Node for that architecture, of the version that package.json pins. */
const nodeFor = async (arch: Architecture): Promise<string> => {
  const name = `node-linux-${arch}`
  const installed = join(root, 'node_modules', name, 'bin/node')
  if (await isThere(installed)) return installed
  const fetched = join(root, '.cache/node', `${name}-${process.version}`)
  if (!(await isThere(fetched))) await fetchNode(name, fetched)
  return join(fetched, 'bin/node')
}

// Why these, docs/architecture.md says. NODE_OPTIONS adds to them: `env`.
const v8Options = ['--optimize-for-size', '--no-turbofan']

/**
 * Makes the executable `output`.
 * @param folder where the bundle is, and nothing of another one
 * @param files the bundle's, as paths below it
 */
export const makeExecutable = async (
  arch: Architecture,
  folder: string,
  files: readonly string[],
  output: string,
): Promise<void> => {
  const work = await mkdtemp(join(folder, '.executable-'))
  try {
    await writeFile(join(work, 'node'), stripElf(await readFile(await nodeFor(arch))), { mode: 0o755 })
    const modules = files.filter(path => path.endsWith('.mjs') && path !== 'nodelet.mjs')
    const here = (path: string) => path.slice(folder.length + 1)
    const config = {
      // Paths relative to the bundle: the format keeps that of `main`.
      ...{ main: 'nodelet.mjs', mainFormat: 'module', executable: here(join(work, 'node')), output: here(join(work, 'out')) },
      ...{ useVfs: true, useCodeCache: false, useSnapshot: false, disableExperimentalSEAWarning: true },
      ...{ execArgv: v8Options, execArgvExtension: 'env' },
      assets: Object.fromEntries(modules.map(path => [path, path])),
    }
    await writeFile(join(work, 'config.json'), JSON.stringify(config))
    const build = [process.execPath, '--build-sea', here(join(work, 'config.json'))]
    await systemExec.run(['env', '--chdir', folder, ...build], { timeoutMs: 120_000 })
    await chmod(join(work, 'out'), 0o755)
    await rename(join(work, 'out'), output)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}
