// The disk that brings this checkout into a test VM, mounted there at /opt: /opt/nodelet as `npm ci --omit=dev` leaves it, the
// images that are asked for, and beside it, in /opt/dev, the packages that only tests import.
import { cp, glob, mkdir, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { build } from 'esbuild'
import { bundle } from '../../deploy/build.ts'
import { systemExec } from '../../host/exec.ts'
import { imageArchives } from './images.ts'

const root = join(import.meta.dirname, '../..')

// Tools of the checkout that no test imports; they are large.
const toolPackages = new Set(['@biomejs', '@esbuild', '@typescript', 'esbuild', 'typescript'])

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  )

const copy = (from: string, to: string) => cp(from, to, { recursive: true, verbatimSymlinks: true })

/** Every file that git tracks or would track, as it is now. */
const copySources = async (target: string) => {
  const argv = ['git', '-C', root, 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const { stdout } = await systemExec.run(argv)
  for (const path of new Set(stdout.split('\0'))) {
    if (path !== '' && (await exists(join(root, path)))) await copy(join(root, path), join(target, path))
  }
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>
}

/** Names of the installed packages at the top of node_modules: those of the program, and those that only tests import. */
const readPackages = async (): Promise<readonly [readonly string[], readonly string[]]> => {
  const { packages } = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as Lock
  const needed: string[] = []
  const forTests: string[] = []
  for (const [path, { dev = false }] of Object.entries(packages)) {
    const name = /^node_modules\/((?:@[^/]+\/)?[^/]+)$/.exec(path)?.[1]
    if (name === undefined || !(await exists(join(root, path)))) continue
    if (!dev) needed.push(name)
    else if (!toolPackages.has(name.split('/')[0] ?? name)) forTests.push(name)
  }
  return [needed, forTests]
}

const copyPackages = async (names: readonly string[], target: string) => {
  const modules = join(root, 'node_modules')
  for (const name of names) await copy(join(modules, name), join(target, name))
  await mkdir(join(target, '.bin'), { recursive: true })
  for (const program of await readdir(join(modules, '.bin'))) {
    const link = await readlink(join(modules, '.bin', program))
    if (await exists(join(target, '.bin', link))) await symlink(link, join(target, '.bin', program))
  }
}

/** The program as a release has it, a bundle: an emulated machine takes half a minute to load the sources for the first time. */
const prepareProgram = async (checkout: string) => {
  await bundle(join(checkout, 'dist'))
  // without this file bin/nodelet takes the bundle
  await rm(join(checkout, 'cli/main.ts'))
  // as `nodeOptions`, also for what systemd starts
  const starter = join(checkout, 'bin/nodelet')
  const text = await readFile(starter, 'utf8')
  if (!text.includes(' --no-turbofan ')) throw new Error('bin/nodelet has other options for Node than it had')
  await writeFile(starter, text.replace(' --no-turbofan ', ' --jitless '))
}

/**
 * Options for Node in the VM. Code that is written while it runs is what emulation is worst at: it is slow, and now and then V8 finds its
 * own pages wrong and ends. So Node only interprets there, which leaves it without WebAssembly, by which it would strip types: they
 * are stripped before.
 */
export const nodeOptions = '--jitless --import /opt/without-types.mjs'

// Gives Node the text without types for a source of the checkout, whose file stays as it is: names and paths are the sources'.
const withoutTypes = `import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

const checkout = 'file:///opt/nodelet/'
if (process.argv[1]?.endsWith('.ts'))
  registerHooks({
    load: (url, context, next) =>
      url.startsWith(checkout) && url.endsWith('.ts') && !url.includes('/node_modules/')
        ? { format: 'module', source: readFileSync(url.replace(checkout, '/opt/without-types/').replace(/ts$/, 'js')), shortCircuit: true }
        : next(url, context),
  })
`

const stripTypes = async (checkout: string, folder: string) => {
  const sources = await Array.fromAsync(glob('**/*.ts', { cwd: checkout }))
  await build({
    absWorkingDir: checkout,
    entryPoints: sources,
    outdir: join(folder, 'without-types'),
    outbase: checkout,
    format: 'esm',
    target: 'node26',
    logLevel: 'warning',
  })
  await writeFile(join(folder, 'without-types.mjs'), withoutTypes)
}

/**
 * Fills a folder with what the VM finds at /opt.
 * @param images names of container images, whose archives are where test/support/images.ts looks for them
 */
export const fillPayload = async (folder: string, images: readonly string[]): Promise<void> => {
  const checkout = join(folder, 'nodelet')
  await mkdir(checkout, { recursive: true })
  await copySources(checkout)
  await stripTypes(checkout, folder)
  await prepareProgram(checkout)
  const [needed, forTests] = await readPackages()
  await copyPackages(needed, join(checkout, 'node_modules'))
  await copyPackages(forTests, join(folder, 'dev'))
  for (const name of needed) {
    await mkdir(dirname(join(folder, 'dev', name)), { recursive: true })
    await symlink(`/opt/nodelet/node_modules/${name}`, join(folder, 'dev', name))
  }
  for (const archive of await imageArchives(images)) await copy(archive, join(checkout, archive.slice(root.length)))
}
