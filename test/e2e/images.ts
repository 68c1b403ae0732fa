// The images that the upstream suite names, made offline from Debian's programs and the suite's own agnhost: what a test looks at is there,
// laid out as in the real ones. Kept in .cache/images like those of the tests.
import { chmod, copyFile, cp, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createImageBuilder, fillBusybox, pauseImage, put, type Recipe, type Recipes, recipes } from '../../deploy/images.ts'
import { systemExec } from '../../host/exec.ts'
import { peer, peerSource } from '../support/peers.ts'

const registry = 'registry.k8s.io/e2e-test-images'
const cacheDir = join(import.meta.dirname, '../../.cache/e2e')

const packages = 'bash,curl,netcat-openbsd,iproute2,iperf,dnsutils,util-linux,ca-certificates'

/** A small Debian, made once. */
const debian = async (): Promise<string> => {
  const dir = join(cacheDir, 'debian')
  if (await stat(dir).catch(() => undefined)) return dir
  await mkdir(cacheDir, { recursive: true })
  const unfinished = await mkdtemp(`${dir}.`)
  const argv = ['mmdebstrap', '--quiet', '--variant=minbase', `--include=${packages}`, 'bookworm', unfinished]
  await systemExec.run(argv, { timeoutMs: 600_000 })
  for (const folder of ['var/lib/apt', 'var/cache', 'usr/share/doc', 'usr/share/locale', 'dev']) {
    await rm(join(unfinished, folder), { recursive: true, force: true })
    await mkdir(join(unfinished, folder), { recursive: true })
  }
  await chmod(unfinished, 0o755)
  await rename(unfinished, dir)
  return dir
}

/** A static Go program from a few lines of source. */
const goProgram = async (source: string, target: string): Promise<void> => {
  const dir = await mkdtemp(`${tmpdir()}/nlt-go-`)
  try {
    await writeFile(join(dir, 'main.go'), source)
    await systemExec.run(['go', 'build', '-o', target, join(dir, 'main.go')], { env: { CGO_ENABLED: '0' }, timeoutMs: 300_000 })
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

// busybox's shell drops variables whose names are no identifiers, and the suite looks for such: `sh -c env` goes to env directly.
const shell = `package main

import (
	"os"
	"syscall"
)

func main() {
	argv := os.Args
	if len(argv) == 3 && argv[1] == "-c" && argv[2] == "env" {
		argv = []string{"env"}
	}
	syscall.Exec("/bin/busybox", argv, os.Environ())
}
`
const effectiveUser = `package main

import (
	"fmt"
	"os"
)

func main() { fmt.Println("Effective uid:", os.Geteuid()) }
`

const fillShell = async (root: string) => {
  await fillBusybox(root)
  await rm(join(root, 'bin/sh'))
  await goProgram(shell, join(root, 'bin/sh'))
  // The suite asks for owners by these names, and as in the real image there is no user 1000.
  await put(root, 'etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n')
  await put(root, 'etc/group', 'root:x:0:\nnobody:x:65534:\n')
}

const fillWeb = async (root: string) => {
  await fillShell(root)
  await put(root, 'usr/share/nginx/html/index.html', 'Welcome to nginx!\n')
}

const fillDebian = async (root: string) =>
  cp(await debian(), root, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })

const users = 'user-defined-in-image:x:1000:1000::/home/u:/bin/sh\n'
const groups = 'user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n'

const fillAgnhost = async (root: string) => {
  await fillDebian(root)
  await copyFile(await peer('agnhost'), join(root, 'agnhost'))
  await cp(join(root, 'agnhost'), join(root, 'agnhost-2'))
  await mkdir(join(root, 'uploads'))
  for (const file of ['localhost.crt', 'localhost.key'])
    await copyFile(await peerSource(`test/images/agnhost/porter/${file}`), join(root, file))
  await writeFile(join(root, 'etc/passwd'), users, { flag: 'a' })
  await writeFile(join(root, 'etc/group'), groups, { flag: 'a' })
}

const fillPicture = (name: string) => async (root: string) => {
  await copyFile(await peer('agnhost'), join(root, 'agnhost'))
  await put(root, 'data.json', `{\n  "image": "${name}.jpg"\n}\n`)
  await put(root, `${name}.jpg`, '')
}

const agnhost: Recipe = { entrypoint: ['/agnhost'], cmd: ['pause'], fill: fillAgnhost }
const webServer: Recipe = { cmd: ['httpd', '-f', '-h', '/usr/share/nginx/html'], fill: fillWeb }
const picture = (name: string): Recipe => ({ entrypoint: ['/agnhost'], cmd: ['test-webserver'], fill: fillPicture(name) })

const suite: Recipes = {
  [pauseImage]: recipes[pauseImage]!,
  'registry.k8s.io/pause:3.10.2': recipes[pauseImage]!,
  [`${registry}/agnhost:2.63.0`]: agnhost,
  [`${registry}/agnhost:2.55`]: agnhost,
  [`${registry}/glibc-dns-testing:2.0.0`]: { fill: fillDebian },
  [`${registry}/regression-issue-74839:1.4`]: {
    entrypoint: ['/regression-issue-74839'],
    fill: async root => copyFile(await peer('regression-issue-74839'), join(root, 'regression-issue-74839')),
  },
  [`${registry}/busybox:1.37.0-1`]: { cmd: ['sh'], fill: fillShell },
  [`${registry}/nginx:1.15-4`]: webServer,
  [`${registry}/nginx:1.27-0`]: webServer,
  [`${registry}/httpd:2.4.38-4`]: webServer,
  [`${registry}/httpd:2.4.39-4`]: webServer,
  [`${registry}/nonroot:1.5`]: { cmd: ['id'], user: '1234', fill: fillShell },
  [`${registry}/nonewprivs:1.4`]: {
    entrypoint: ['/nnp'],
    user: '1000',
    fill: async root => {
      await goProgram(effectiveUser, join(root, 'nnp'))
      await chmod(join(root, 'nnp'), 0o6755)
    },
  },
  [`${registry}/nautilus:1.8`]: picture('nautilus'),
  [`${registry}/kitten:1.8`]: picture('kitten'),
}

const builder = createImageBuilder(suite, [import.meta.filename])

/** Paths of archives with all of the suite's images, built where they are not in the cache yet. */
export const suiteArchives = (): Promise<readonly string[]> => builder.archives(Object.keys(suite))
