// Uninstalling by the program itself and by the package's removal: what is said, and that the machine is as it was.
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { readFile, rm } from 'node:fs/promises'
import { isReady } from '../../support/node.ts'
import { waitFor } from '../../support/wait.ts'
import { install, installed, isThere } from './install.ts'
import { until } from './node.ts'
import { installPackage, purgePackage, tryRelease } from './release.ts'
import { newSince, type Remains } from './remains.ts'
import { check } from './report.ts'

const places = [
  '/etc/nodelet',
  '/etc/default/nodelet',
  '/var/lib/nodelet',
  '/var/lib/kubelet',
  '/etc/systemd/system/nodelet.service',
]

/** Nothing is there that was not before the first installation. */
export const nothingIsLeft = async (before: Remains) => {
  // containerd keeps results of CNI there; the test's own is gone with the boot it was made in
  await rm('/var/lib/cni', { recursive: true, force: true })
  for (const path of places) ok(!(await isThere(path)), path)
  // Forwarding stays on until the next boot, nobody knows who else relies on it: with it the kernel has anycast routes of IPv6.
  const isForeign = (it: string) =>
    /^(setting net\/ipv4\/ip_forward 1|route anycast .* proto kernel .*|file .*\/dpkg\.log)$/.test(it)
  const left = async () => (await newSince(before)).filter(it => !isForeign(it))
  await waitFor('the last process to end', async () => (await left()).length === 0, 1000).catch(async () =>
    deepEqual(await left(), []),
  )
}

/** @param before what was there before the first installation */
export const uninstallChecks = async (before: Remains): Promise<void> => {
  await check('uninstall: with --keep-data configuration and state stay, and nothing else', async () => {
    const { exitCode, stdout } = await tryRelease(installed, 'uninstall', '--keep-data')
    equal(exitCode, 0)
    match(stdout, /removed pod default\/web-1-vm/)
    match(stdout, /this machine is clean$/)
    ok((await readFile('/etc/nodelet/kubelet.yaml', 'utf8')).includes('staticPodPath'))
    ok(!(await isThere(installed)))
  })
  await check('package: dpkg installs it, and `nodelet install` makes a node with the pods of before', async () => {
    await installPackage()
    equal((await install('/usr/bin/nodelet')).exitCode, 0)
    await until('web-1-vm', isReady)
    match(await readFile('/etc/systemd/system/nodelet.service', 'utf8'), /^ExecStart=\/usr\/bin\/nodelet agent/m)
    ok(!(await isThere(installed)), 'the program is there once')
  })
  await check('package: purged it takes the node along, and nothing is found of it', async () => {
    match(await purgePackage(), /removed pod default\/web-1-vm[\s\S]*this machine is clean\n/)
    for (const name of ['nodelet', 'kubelet', 'kube-proxy']) ok(!(await isThere(`/usr/bin/${name}`)), name)
    await nothingIsLeft(before)
  })
}
