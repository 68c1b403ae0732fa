// The images of the tests: those of deploy/images.ts, and some that a test wants for what their configuration says.
// Made offline, kept in .cache/images.
import { createImageBuilder, fillBusybox, put, type Recipes, recipes } from '../../deploy/images.ts'
import { systemExec } from '../../host/exec.ts'

export { busyboxImage, pauseImage } from '../../deploy/images.ts'

// busybox's httpd runs cgi-bin/index.cgi for the path /; the program's environment is the container's.
const fillWeb = async (root: string) => {
  await fillBusybox(root)
  const script = (command: string) => `#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n${command}\n`
  await put(root, 'www/cgi-bin/index.cgi', script('echo "${POD_NAME:-$(hostname)}"'), 0o755)
  await put(root, 'www/cgi-bin/client', script('echo "$REMOTE_ADDR" | sed "s/[][]//g; s/^::ffff://"'), 0o755)
  await put(root, 'www/healthz', 'ok\n')
}

/** A web server on $PORT (80): `/` answers $POD_NAME or the host name, `/cgi-bin/client` who asked, `/healthz` ok. */
export const webImage = 'nodelet.dev/web:1'
/** A shell whose image says that it is ended by SIGUSR1 and runs as the user named `user`. */
export const peculiarImage = 'nodelet.dev/peculiar:1'

const builder = createImageBuilder(
  {
    ...recipes,
    [webImage]: {
      // An init in front: a server that is process 1 ignores SIGTERM, and every stop would take the whole grace period.
      entrypoint: ['/bin/catatonit', '--', 'sh', '-c', 'exec httpd -f -h /www -p "${PORT:-80}"'],
      fill: fillWeb,
    },
    [peculiarImage]: { cmd: ['sh'], user: 'user', stopSignal: 'SIGUSR1', fill: fillBusybox },
  } satisfies Recipes,
  [import.meta.filename],
)

/** Paths of OCI archives with these images, built where they are not in the cache yet. */
export const imageArchives = builder.archives

/** Puts the images of these archives into the containerd that listens at `socket`, where the CRI sees them. */
export const importArchives = async (socket: string, paths: readonly string[]): Promise<void> => {
  for (const path of paths) {
    const argv = ['ctr', '--address', socket, '--namespace', 'k8s.io', 'images', 'import', path]
    await systemExec.run(argv, { timeoutMs: 120_000 })
  }
}

/** Puts images of the tests into a containerd, by their names. */
export const importImages = async (socket: string, names: readonly string[]): Promise<void> =>
  importArchives(socket, await imageArchives(names))
