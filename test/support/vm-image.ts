// The disk a test VM boots from: Debian 12 with systemd, its cloud kernel and the packages below, made once by mmdebstrap into
// .cache/vm under a key of all that goes into it. Runs never write to it, so one image serves them all.
import { createHash, randomBytes } from 'node:crypto'
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemExec } from '../../host/exec.ts'

const packages = [
  ...['systemd', 'systemd-sysv', 'udev', 'dbus', 'linux-image-cloud-amd64', 'kmod', 'procps', 'ca-certificates'],
  // what deploy/quickstart would install, since the VM has no network
  ...['containerd', 'runc', 'nftables', 'iptables', 'conntrack', 'iproute2', 'umoci', 'catatonit', 'busybox-static'],
  // what the IPVS mode of Services takes
  ...['ipvsadm', 'ipset'],
  // what Node and the tests need beside
  ...['curl', 'libatomic1', 'perl-base'],
]

const unpacked = ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*']

// The second disk brings what is to be run, see vm-payload.ts and vm.ts.
const fstab = '/dev/vda / ext4 defaults 0 0\n/dev/vdb /opt ext4 defaults 0 0\n'
const unit = `[Unit]
Description=What the test runs
After=multi-user.target containerd.service
RequiresMountsFor=/opt
[Service]
Type=idle
ExecStart=/opt/start
`

const sparseBytes = 6 * 1024 ** 3
const buildMs = 900_000

/** Files of a VM's system: the disk, and kernel and initrd, which QEMU loads itself. */
export interface VmImage {
  readonly disk: string
  readonly kernel: string
  readonly initrd: string
}

const cacheDir = new URL('../../.cache/vm/', import.meta.url).pathname

const keyOf = (): string =>
  createHash('sha256')
    .update(JSON.stringify([packages, unpacked, fstab, unit, sparseBytes]))
    .digest('hex')
    .slice(0, 16)

const filesIn = (dir: string): VmImage => ({
  disk: join(dir, 'disk.img'),
  kernel: join(dir, 'kernel'),
  initrd: join(dir, 'initrd'),
})

/** An ext4 file system with the content of a folder, sparse, in a new file. */
export const makeDisk = async (folder: string, disk: string, bytes: number): Promise<void> => {
  await writeFile(disk, '')
  await truncate(disk, bytes)
  await systemExec.run(['mkfs.ext4', '-q', '-F', '-d', folder, disk], { timeoutMs: 120_000 })
}

const configure = async (root: string) => {
  const units = join(root, 'etc/systemd/system')
  await writeFile(join(root, 'etc/hostname'), 'vm\n')
  await writeFile(join(root, 'etc/hosts'), '127.0.0.1 localhost vm\n::1 localhost\n')
  await writeFile(join(root, 'etc/fstab'), fstab)
  await writeFile(join(units, 'nlt-start.service'), unit)
  await mkdir(join(units, 'default.target.wants'), { recursive: true })
  await symlink('../nlt-start.service', join(units, 'default.target.wants/nlt-start.service'))
}

const build = async (target: string) => {
  const work = await mkdtemp(join(tmpdir(), 'nlt-vm-image-'))
  const done = `${target}.${randomBytes(4).toString('hex')}`
  try {
    const root = join(work, 'root')
    // everybody in the VM walks through its root folder, whatever umask made it
    await mkdir(root)
    await chmod(root, 0o755)
    const options = unpacked.map(path => `--dpkgopt=path-exclude=${path}`)
    await systemExec.run(
      ['mmdebstrap', '--quiet', '--variant=minbase', ...options, `--include=${packages.join(',')}`, 'bookworm', root],
      {
        timeoutMs: buildMs,
        // the group of folders of tests is not for the system that is built there
        env: { TMPDIR: work },
      },
    )
    await configure(root)
    const { disk, kernel, initrd } = filesIn(done)
    await mkdir(done, { recursive: true })
    const boot = await readdir(join(root, 'boot'))
    const find = (prefix: string) => join(root, 'boot', boot.find(name => name.startsWith(prefix)) ?? prefix)
    await copyFile(find('vmlinuz-'), kernel)
    await copyFile(find('initrd.img-'), initrd)
    await makeDisk(root, disk, sparseBytes)
    await rename(done, target)
  } finally {
    await rm(done, { recursive: true, force: true })
    await rm(work, { recursive: true, force: true })
  }
}

/** The image, built where it is not in the cache yet: a minute, and Debian's mirror must be reachable. */
export const vmImage = async (): Promise<VmImage> => {
  const dir = join(cacheDir, keyOf())
  const isThere = () =>
    stat(dir).then(
      () => true,
      () => false,
    )
  if (!(await isThere())) {
    await build(dir).catch(async error => {
      // somebody else who built at the same time was faster
      if (!(await isThere())) throw error
    })
  }
  return filesIn(dir)
}
