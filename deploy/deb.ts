// The package for Debian and Ubuntu: the executable, its names `kubelet` and `kube-proxy`, the units of kubeadm. It stands in for the
// kubelet's package; the programs that it runs are its dependencies. Configuring a node is `nodelet install`, or kubeadm.
// The same executable gives the same bytes: no time and no owner of this machine goes in.
import { chmod, copyFile, link, mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { systemExec } from '../host/exec.ts'
import { kubeletVersion, version } from '../host/version.ts'
import { places } from '../setup/places.ts'
import type { Architecture } from './executable.ts'

const root = join(import.meta.dirname, '..')

const debianNames: Readonly<Record<Architecture, string>> = { x64: 'amd64', arm64: 'arm64' }

/** Every program that is started, by the package it comes from; perl-base, which the plugin is written for, is essential. */
const depends = [
  ...['containerd | containerd.io', 'runc | containerd.io', 'nftables', 'iptables', 'iproute2', 'conntrack', 'kmod', 'mount'],
  ...['util-linux', 'procps', 'perl-base', 'libatomic1', 'libstdc++6', 'libc6 (>= 2.28)'],
]

// The package kubeadm wants a kubelet of some release.
const kubeletRelease = /^v([\d.]+)/.exec(kubeletVersion)?.[1] ?? ''

const control = (arch: Architecture): string => `Package: nodelet
Version: ${version}
Architecture: ${debianNames[arch]}
Maintainer: nodelet maintainers <maintainers@nodelet.dev>
Depends: ${depends.join(', ')}
Provides: kubelet (= ${kubeletRelease}), kube-proxy
Conflicts: kubelet, kube-proxy
Replaces: kubelet, kube-proxy
Section: admin
Priority: optional
Description: Kubernetes node agent: kubelet, kube-proxy and CNI plugin as one program
 Runs pods through containerd, routes Services with nftables and gives pods
 their network, as a node of a cluster (kubeadm join) or, without a control
 plane, from a folder of manifests (nodelet install).
`

// An upgrade restarts the daemon, which touches neither pods nor rules; the package does not wait for it. kubeadm expects the kubelet's
// unit to be enabled.
const postinst = `#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  systemctl --system daemon-reload
  [ -n "$2" ] || [ -e ${places.unit} ] || systemctl enable --quiet kubelet.service nodelet-reset.path
  systemctl --no-block try-restart kubelet.service
  [ ! -e ${places.unit} ] || systemctl --no-block try-restart nodelet.service
fi
`

// Files of a package that is removed; what was made by running it, `nodelet uninstall` takes away, which needs the program.
const prerm = `#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  [ ! -e ${places.unit} ] || nodelet uninstall --keep-data
  systemctl disable --quiet --now kubelet.service nodelet-reset.path || true
fi
`

// What an administrator wrote goes when the package is purged. Credentials of a node that `nodelet install` made go with it; those that
// kubeadm made are `kubeadm reset`'s, and a kubelet's that has taken the node over stay.
const postrm = `#!/bin/sh
set -e
if [ "$1" = purge ]; then
  [ ! -e ${places.kubelet} ] || rm -rf ${places.rootDir}/pki ${places.rootDir}/nodelet
  rm -rf ${places.folder} ${places.stateDir} ${places.defaults}
  rmdir ${places.rootDir} 2>/dev/null || true
fi
if [ -d /run/systemd/system ]; then systemctl --system daemon-reload; fi
`

const units = 'usr/lib/systemd/system'

const fill = async (folder: string, executable: string): Promise<void> => {
  const put = async (path: string, from: string) => {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await copyFile(from, join(folder, path))
    await chmod(join(folder, path), 0o644)
  }
  await mkdir(join(folder, 'usr/bin'), { recursive: true })
  await link(executable, join(folder, 'usr/bin/nodelet'))
  for (const name of ['kubelet', 'kube-proxy']) await symlink('nodelet', join(folder, 'usr/bin', name))
  for (const name of (await readdir(join(root, 'deploy/kubeadm'))).toSorted())
    await put(join(units, name.endsWith('.conf') ? 'kubelet.service.d' : '', name), join(root, 'deploy/kubeadm', name))
  await put('usr/share/doc/nodelet/copyright', join(root, 'LICENSE'))
}

/** Makes the package of an executable. @param folder where it is put, on the executable's file system @returns its name */
export const makeDeb = async (arch: Architecture, executable: string, folder: string): Promise<string> => {
  const name = `nodelet_${version}_${debianNames[arch]}.deb`
  const work = await mkdtemp(join(folder, '.deb-'))
  try {
    const tree = join(work, 'tree')
    await mkdir(join(tree, 'DEBIAN'), { recursive: true })
    await fill(tree, executable)
    await writeFile(join(tree, 'DEBIAN/control'), control(arch))
    await writeFile(join(tree, 'DEBIAN/postinst'), postinst, { mode: 0o755 })
    await writeFile(join(tree, 'DEBIAN/prerm'), prerm, { mode: 0o755 })
    await writeFile(join(tree, 'DEBIAN/postrm'), postrm, { mode: 0o755 })
    await systemExec.run(['chmod', '--recursive', 'u=rwX,go=rX', tree])
    const options = ['--root-owner-group', '-Zxz', '-z1', '--threads-max=1']
    await systemExec.run(['dpkg-deb', ...options, '--build', tree, join(work, name)], {
      timeoutMs: 300_000,
      // in seconds since the epoch: times of files that are newer are this one
      env: { SOURCE_DATE_EPOCH: '1735689600' },
    })
    await rename(join(work, name), join(folder, name))
    return name
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}
