// Builds what a release carries into dist/: the bundle (nodelet.mjs and, in chunks/, what its commands load when they are asked for),
// and of it the executable and the package of each architecture.
// Schemas and the version are inlined, nothing of node_modules is needed. The same sources give the same bytes.
import { createHash } from 'node:crypto'
import { link, readFile, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { build } from 'esbuild'
import { makeDeb } from './deb.ts'
import { type Architecture, architectures, makeExecutable } from './executable.ts'

const root = join(import.meta.dirname, '..')

/** Bundles into `outdir`, which is emptied first. @returns the files written, as paths below it, in order */
export const bundle = async (outdir: string): Promise<readonly string[]> => {
  await rm(outdir, { recursive: true, force: true })
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { nodelet: 'cli/main.ts' },
    outdir,
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node26',
    outExtension: { '.js': '.mjs' },
    chunkNames: 'chunks/[name]-[hash]',
    // Whitespace costs memory: V8 keeps the source. Names stay, for stacks that can be read.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'external',
    // The libraries are CommonJS and ask for node's own modules at run time.
    banner: { js: "import{createRequire as $require}from'node:module';const require=$require(import.meta.url);" },
    logLevel: 'warning',
    metafile: true,
  })
  return Object.keys(metafile.outputs)
    .map(path => relative(outdir, join(root, path)))
    .toSorted()
}

const sha256 = async (path: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex')

/** Bundle, executables and packages of these architectures; `nodelet` is that of this machine. @returns the files, as paths below */
export const release = async (outdir: string, wanted: readonly Architecture[]): Promise<readonly string[]> => {
  const files = await bundle(outdir)
  const made: string[] = []
  for (const arch of wanted) {
    const name = `nodelet-${arch}`
    await makeExecutable(arch, outdir, files, join(outdir, name))
    if (arch === process.arch) await link(join(outdir, name), join(outdir, 'nodelet'))
    made.push(name, await makeDeb(arch, join(outdir, name), outdir))
  }
  const sums = made.map(async name => `${await sha256(join(outdir, name))}  ${name}\n`)
  await writeFile(join(outdir, 'SHA256SUMS'), (await Promise.all(sums)).join(''))
  return [...made, 'SHA256SUMS']
}

// `npm run build`: all architectures; `npm run build -- x64`: those that are named.
if (import.meta.main) {
  const named = process.argv.slice(2)
  const wanted = architectures.filter(arch => named.length === 0 || named.includes(arch))
  for (const path of await release(join(root, 'dist'), wanted)) process.stdout.write(`dist/${path}\n`)
}
