// What runs in the VM of test/vm/install.itest.ts, as root, once per boot; it restarts the machine itself. The argument names the parts, with commas between.
import { readFile, writeFile } from 'node:fs/promises'
import { describe } from '../../../host/fault.ts'
import { busyboxImage, importImages, pauseImage, webImage } from '../../support/images.ts'
import { doctorChecks, installChecks, reboot, rebootChecks, refusalChecks } from './install.ts'
import { addNetwork } from './node.ts'
import { adjustServices } from './release.ts'
import { findRemains, type Remains } from './remains.ts'
import { say } from './report.ts'
import { uninstallChecks } from './uninstall.ts'

const parts = (process.argv[2] ?? '').split(',')
const memory = '/opt/release/before-reboot.json'

const firstBoot = async (): Promise<number> => {
  await addNetwork()
  // Two minutes for a daemon that hangs are long for a test.
  await adjustServices({ nodelet: ['WatchdogSec=30'] })
  await importImages('/run/containerd/containerd.sock', [pauseImage, busyboxImage, webImage])
  const before = await findRemains()
  await doctorChecks()
  if (parts.includes('refusals')) await refusalChecks(before)
  if (parts.includes('node') && !(await installChecks())) return 1
  await writeFile(memory, JSON.stringify([...before]))
  return parts.includes('reboot') ? reboot() : lastPart(before)
}

const secondBoot = async (): Promise<number> => {
  await rebootChecks()
  return lastPart(new Set(JSON.parse(await readFile(memory, 'utf8'))))
}

const lastPart = async (before: Remains): Promise<number> => {
  if (parts.includes('uninstall')) await uninstallChecks(before)
  return 0
}

process.exitCode = await (process.env['BOOT'] === '1' ? firstBoot() : secondBoot()).catch(error => {
  say(describe(error))
  return 1
})
