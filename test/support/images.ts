// Container images made on this machine, offline, from Debian's static binaries: built once by umoci and skopeo into
// .cache/images, under a key of everything that goes into them. Registries are never asked.
import { createHash, randomBytes } from 'node:crypto'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { systemExec } from '../../host/exec.ts'

const busybox = '/usr/bin/busybox'
const catatonit = '/usr/bin/catatonit'

interface Recipe {
  readonly entrypoint?: readonly string[]
  readonly cmd?: readonly string[]
  readonly user?: string
  /** Puts the files in place; `root` is the image's root folder. */
  readonly fill: (root: string) => Promise<void>
}

const put = async (root: string, path: string, text: string, mode = 0o644) => {
  await mkdir(dirname(join(root, path)), { recursive: true })
  await writeFile(join(root, path), text, { mode })
}

const fillBusybox = async (root: string) => {
  for (const folder of ['bin', 'etc', 'root', 'var', 'usr']) await mkdir(join(root, folder), { recursive: true })
  await mkdir(join(root, 'tmp'))
  await chmod(join(root, 'tmp'), 0o1777)
  await copyFile(busybox, join(root, 'bin/busybox'))
  const { stdout } = await systemExec.run([busybox, '--list'])
  for (const applet of stdout.split('\n').filter(name => name !== 'busybox' && name !== '')) {
    await symlink('busybox', join(root, 'bin', applet))
  }
  await put(
    root,
    'etc/passwd',
    'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n',
  )
  await put(root, 'etc/group', 'root:x:0:\nuser:x:1000:\nextra:x:2000:user\nnobody:x:65534:\n')
}

// busybox's httpd runs cgi-bin/index.cgi for the path /; the program's environment is the container's.
const fillWeb = async (root: string) => {
  await fillBusybox(root)
  await copyFile(catatonit, join(root, 'bin/catatonit'))
  const script = (command: string) => `#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n${command}\n`
  await put(root, 'www/cgi-bin/index.cgi', script('echo "${POD_NAME:-$(hostname)}"'), 0o755)
  await put(root, 'www/cgi-bin/client', script('echo "$REMOTE_ADDR" | sed "s/[][]//g; s/^::ffff://"'), 0o755)
  await put(root, 'www/healthz', 'ok\n')
}

/** A web server on $PORT (80): `/` answers $POD_NAME or the host name, `/cgi-bin/client` who asked, `/healthz` ok. */
export const webImage = 'nodelet.dev/web:1'
/** A shell with all of busybox's programs. */
export const busyboxImage = 'nodelet.dev/busybox:1'
/** What holds a sandbox's namespaces. */
export const pauseImage = 'registry.k8s.io/pause:3.10.1'

const recipes: Readonly<Record<string, Recipe>> = {
  [pauseImage]: { entrypoint: ['/pause', '-P'], fill: root => copyFile(catatonit, join(root, 'pause')) },
  [busyboxImage]: { cmd: ['sh'], fill: fillBusybox },
  [webImage]: {
    // An init in front: a server that is process 1 ignores SIGTERM, and every stop would take the whole grace period.
    entrypoint: ['/bin/catatonit', '--', 'sh', '-c', 'exec httpd -f -h /www -p "${PORT:-80}"'],
    fill: fillWeb,
  },
}

const cacheDir = new URL('../../.cache/images/', import.meta.url).pathname

const keyOf = async (): Promise<string> => {
  const hash = createHash('sha256')
  for (const path of [import.meta.filename, busybox, catatonit]) hash.update(await readFile(path))
  return hash.digest('hex').slice(0, 16)
}

const fileOf = (name: string) => `${name.replaceAll(/[/:]/g, '_')}.tar`

/** Builds one image into an OCI archive at `target`. */
const build = async (name: string, recipe: Recipe, target: string) => {
  const work = await mkdtemp(join(tmpdir(), 'nlt-image-'))
  try {
    const image = ['--image', `${work}/oci:it`]
    await systemExec.run(['umoci', 'init', '--layout', `${work}/oci`])
    await systemExec.run(['umoci', 'new', ...image])
    await systemExec.run(['umoci', 'unpack', ...image, `${work}/bundle`])
    await recipe.fill(`${work}/bundle/rootfs`)
    await systemExec.run(['umoci', 'repack', ...image, `${work}/bundle`])
    const entrypoint = recipe.entrypoint?.flatMap(word => ['--config.entrypoint', word]) ?? []
    const cmd = recipe.cmd?.flatMap(word => ['--config.cmd', word]) ?? []
    const user = recipe.user === undefined ? [] : ['--config.user', recipe.user]
    const path = ['--config.env', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin']
    await systemExec.run(['umoci', 'config', ...image, ...path, ...entrypoint, ...cmd, ...user])
    const unique = `${target}.${randomBytes(4).toString('hex')}`
    await systemExec.run(['skopeo', 'copy', '-q', `oci:${work}/oci:it`, `oci-archive:${unique}:${name}`])
    await rename(unique, target)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** Paths of OCI archives with these images, built where they are not in the cache yet. */
export const imageArchives = async (names: readonly string[]): Promise<readonly string[]> => {
  const folder = join(cacheDir, await keyOf())
  await mkdir(folder, { recursive: true })
  const paths: string[] = []
  for (const name of names) {
    const recipe = recipes[name]
    if (recipe === undefined) throw new Error(`no recipe for image ${name}`)
    const path = join(folder, fileOf(name))
    if (!(await stat(path).catch(() => undefined))) await build(name, recipe, path)
    paths.push(path)
  }
  return paths
}

/** Puts images into the containerd that listens at `socket`, where the CRI sees them. */
export const importImages = async (socket: string, names: readonly string[]): Promise<void> => {
  for (const path of await imageArchives(names)) {
    await systemExec.run(['ctr', '--address', socket, '--namespace', 'k8s.io', 'images', 'import', path])
  }
}
