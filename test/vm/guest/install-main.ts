// What runs in the VM of test/vm/install.itest.ts, as root, once per boot; it restarts the machine itself. The argument names the parts, with commas between.
import { mkdir, writeFile } from 'node:fs/promises'
import { describe } from '../../../host/fault.ts'
import { busyboxImage, importImages, pauseImage, webImage } from '../../support/images.ts'
import { doctorChecks, installChecks, reboot, rebootChecks, refusalChecks, uninstallChecks } from './install.ts'
import { addNetwork } from './node.ts'
import { findRemains } from './remains.ts'
import { say } from './report.ts'

const parts = (process.argv[2] ?? '').split(',')

const firstBoot = async (): Promise<number> => {
  await addNetwork()
  // Code that is written while it runs is what emulation is worst at.
  await mkdir('/etc/systemd/system/nodelet.service.d', { recursive: true })
  await writeFile('/etc/systemd/system/nodelet.service.d/vm.conf', '[Service]\nEnvironment=NODE_OPTIONS=--jitless\n')
  await importImages('/run/containerd/containerd.sock', [pauseImage, busyboxImage, webImage])
  const before = await findRemains()
  await doctorChecks()
  if (parts.includes('refusals')) await refusalChecks(before)
  if (parts.includes('node') && !(await installChecks())) return 1
  if (parts.includes('reboot')) return reboot()
  if (parts.includes('uninstall')) await uninstallChecks()
  return 0
}

const secondBoot = async (): Promise<number> => {
  await rebootChecks()
  if (parts.includes('uninstall')) await uninstallChecks()
  return 0
}

process.exitCode = await (process.env['BOOT'] === '1' ? firstBoot() : secondBoot()).catch(error => {
  say(describe(error))
  return 1
})
