// What runs in the VM of test/vm/debian.itest.ts, as root, once per boot. Ends with the code of a power cut after the first.
// Arguments name the parts that run; none: all.
import { readFile, rm, writeFile } from 'node:fs/promises'
import { describe } from '../../../host/fault.ts'
import { cleanupChecks } from './cleanup.ts'
import { kernelChecks } from './kernel.ts'
import { limitChecks } from './limits.ts'
import { addNetwork, logTail, setUp, startDaemon } from './node.ts'
import { quickstartChecks } from './quickstart.ts'
import { findRemains } from './remains.ts'
import { check, say } from './report.ts'
import { beforePowerCut, crashChecks, powerCutChecks } from './restart.ts'
import { serveWeb, serviceChecks } from './services.ts'

// The exit code by which test/support/vm.ts learns that the machine is to restart.
const powerCut = 100
const memory = '/opt/before-power-cut.json'

const parts = process.argv.slice(2)
// These need no daemon of the test's own.
const alone = ['quickstart', 'kernel', 'ipvs']
const isAsked = (part: string) => parts.length === 0 || parts.includes(part)

const firstBoot = async (): Promise<number> => {
  if (isAsked('quickstart')) await quickstartChecks()
  if (isAsked('kernel')) await kernelChecks('test/kernel/cgroup.itest.ts', 'test/kernel/services.itest.ts')
  if (isAsked('ipvs')) await kernelChecks('test/kernel/services-ipvs.itest.ts')
  if (parts.length > 0 && parts.every(part => alone.includes(part))) return 0
  const before = await findRemains()
  const isUp = await check('node: the daemon runs as a service, with the systemd driver and two address families', async () => {
    await addNetwork()
    await setUp()
    await startDaemon()
  })
  if (!isUp) return 1
  if (isAsked('limits')) await limitChecks()
  if (isAsked('services')) await serviceChecks()
  if (!isAsked('restart')) return 0
  await serveWeb()
  if (!(await crashChecks())) return 1
  await writeFile(memory, JSON.stringify({ remains: [...before], ...(await beforePowerCut()) }))
  return powerCut
}

const secondBoot = async (): Promise<number> => {
  const { remains, ...before } = JSON.parse(await readFile(memory, 'utf8'))
  await rm(memory)
  await powerCutChecks(before)
  await cleanupChecks(new Set(remains))
  return 0
}

process.exitCode = await (process.env['BOOT'] === '1' ? firstBoot() : secondBoot()).catch(error => {
  say(describe(error))
  return 1
})
if (process.exitCode === 1) say(await logTail(20))
