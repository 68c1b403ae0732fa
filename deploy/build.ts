// Bundles the program into dist/, as a release carries it: nodelet.mjs and, in chunks/, what its commands load when they are asked for.
// Schemas and the version are inlined, nothing of node_modules is needed. The same sources give the same bytes.
import { rm } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { build } from 'esbuild'

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

if (import.meta.main) {
  const outdir = join(root, 'dist')
  for (const path of await bundle(outdir)) process.stdout.write(`dist/${path}\n`)
}
