// Container images made on this machine, offline, from Debian's static binaries: built once by umoci into
// .cache/images, under a key of everything that goes into them. Registries are never asked.
// Run as a program it prints the paths of the archives that the examples need, one a line.
import { createHash, randomBytes } from 'node:crypto'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { systemExec } from '../host/exec.ts'

const busybox = '/usr/bin/busybox'
const catatonit = '/usr/bin/catatonit'

/** How an image is made. */
export interface Recipe {
  readonly entrypoint?: readonly string[]
  readonly cmd?: readonly string[]
  readonly user?: string
  readonly stopSignal?: string
  /** Puts the files in place; `root` is the image's root folder. */
  readonly fill: (root: string) => Promise<void>
}

/** Images by name. */
export type Recipes = Readonly<Record<string, Recipe>>

/** Writes one file of an image, with the folders above it. */
export const put = async (root: string, path: string, text: string, mode = 0o644): Promise<void> => {
  await mkdir(dirname(join(root, path)), { recursive: true })
  await writeFile(join(root, path), text, { mode })
}

const passwd = `root:x:0:0:root:/root:/bin/sh
user:x:1000:1000:user:/tmp:/bin/sh
nobody:x:65534:65534::/:/bin/false
`

/** A shell with all of busybox's programs, and catatonit for those that want an init. */
export const fillBusybox = async (root: string): Promise<void> => {
  for (const folder of ['bin', 'etc', 'root', 'var', 'usr']) await mkdir(join(root, folder), { recursive: true })
  await mkdir(join(root, 'tmp'))
  await chmod(join(root, 'tmp'), 0o1777)
  await copyFile(catatonit, join(root, 'bin/catatonit'))
  await copyFile(busybox, join(root, 'bin/busybox'))
  const { stdout } = await systemExec.run([busybox, '--list'])
  for (const applet of stdout.split('\n').filter(name => name !== 'busybox' && name !== '')) {
    await symlink('busybox', join(root, 'bin', applet))
  }
  await put(root, 'etc/passwd', passwd)
  await put(root, 'etc/group', 'root:x:0:\nuser:x:1000:\nextra:x:2000:user\nnobody:x:65534:\n')
  await put(root, 'etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\n')
}

/** A shell with all of busybox's programs. */
export const busyboxImage = 'nodelet.dev/busybox:1'
/** What holds a sandbox's namespaces. */
export const pauseImage = 'registry.k8s.io/pause:3.10.1'

/** The images of the examples. */
export const recipes: Recipes = {
  [pauseImage]: { entrypoint: ['/pause', '-P'], fill: root => copyFile(catatonit, join(root, 'pause')) },
  [busyboxImage]: { cmd: ['sh'], fill: fillBusybox },
}

const cacheDir = new URL('../.cache/images/', import.meta.url).pathname

const keyOf = async (sources: readonly string[]): Promise<string> => {
  const hash = createHash('sha256')
  for (const path of [import.meta.filename, ...sources, busybox, catatonit]) hash.update(await readFile(path))
  return hash.digest('hex').slice(0, 16)
}

const fileOf = (name: string) => `${name.replaceAll(/[/:]/g, '_')}.tar`

const option = (name: string, words: readonly string[] = []) => words.flatMap(word => [`--config.${name}`, word])

/** Gives the only image of an OCI layout its full name, which umoci takes for no tag: importers go by it. */
const nameImage = async (layout: string, name: string) => {
  const index = JSON.parse(await readFile(`${layout}/index.json`, 'utf8')) as { readonly manifests: readonly object[] }
  const annotations = { 'org.opencontainers.image.ref.name': name }
  await writeFile(
    `${layout}/index.json`,
    JSON.stringify({ ...index, manifests: index.manifests.map(it => ({ ...it, annotations })) }),
  )
}

/** Builds one image into an OCI archive at `target`. */
const build = async (name: string, recipe: Recipe, target: string) => {
  const { entrypoint, cmd, user, stopSignal } = recipe
  const work = await mkdtemp(join(tmpdir(), 'nlt-image-'))
  try {
    const image = ['--image', `${work}/oci:it`]
    await systemExec.run(['umoci', 'init', '--layout', `${work}/oci`])
    await systemExec.run(['umoci', 'new', ...image])
    await systemExec.run(['umoci', 'unpack', ...image, `${work}/bundle`])
    await recipe.fill(`${work}/bundle/rootfs`)
    await systemExec.run(['umoci', 'repack', ...image, `${work}/bundle`])
    await systemExec.run([
      ...['umoci', 'config', ...image, '--config.env', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin'],
      ...option('entrypoint', entrypoint),
      ...option('cmd', cmd),
      ...option('user', user === undefined ? [] : [user]),
      ...option('stopsignal', stopSignal === undefined ? [] : [stopSignal]),
    ])
    const unique = `${target}.${randomBytes(4).toString('hex')}`
    await nameImage(`${work}/oci`, name)
    await systemExec.run(['tar', '--create', '--file', unique, '--directory', `${work}/oci`, '.'])
    await rename(unique, target)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

export interface ImageBuilder {
  /** Paths of OCI archives with these images, built where they are not in the cache yet. */
  archives(names: readonly string[]): Promise<readonly string[]>
}

/**
 * A builder of the images that `recipes` describes.
 * @param sources files whose change makes the images anew: those that the recipes stand in
 */
export const createImageBuilder = (all: Recipes, sources: readonly string[] = []): ImageBuilder => ({
  archives: async names => {
    const folder = join(cacheDir, await keyOf(sources))
    await mkdir(folder, { recursive: true })
    const paths: string[] = []
    for (const name of names) {
      const recipe = all[name]
      if (recipe === undefined) throw new Error(`no recipe for image ${name}`)
      const path = join(folder, fileOf(name))
      if (!(await stat(path).catch(() => undefined))) await build(name, recipe, path)
      paths.push(path)
    }
    return paths
  },
})

if (import.meta.main) {
  for (const path of await createImageBuilder(recipes).archives(Object.keys(recipes))) process.stdout.write(`${path}\n`)
}
