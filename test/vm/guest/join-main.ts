// What runs in the VM of test/vm/join.itest.ts, as root: parts, the machine's address, its way out, and the words of kubeadm.
import { describe } from '../../../host/fault.ts'
import { joinChecks, resetChecks, restartChecks, switchChecks, takeoverChecks } from './join.ts'
import { installJoinChecks } from './join-install.ts'
import { addCard, install, journal } from './join-node.ts'
import { findRemains } from './remains.ts'
import { check, say } from './report.ts'

// The first of the words of kubeadm is `join`.
const [parts = '', address = '', gateway = '', ...words] = process.argv.slice(2)
const isAsked = (part: string) => parts.split(',').includes(part)

const life = async (): Promise<number> => {
  const isReady = await check('install: the provisioning of the lab finds nothing against the machine', async () => {
    await addCard(address, gateway)
    await install(address)
  })
  if (!isReady) return 1
  const before = await findRemains()
  if (!(await joinChecks(words.slice(1)))) return 1
  if (isAsked('restart')) await restartChecks()
  if (isAsked('switch')) await switchChecks()
  if (isAsked('takeover')) await takeoverChecks(address)
  if (isAsked('reset')) await resetChecks(before)
  if (isAsked('install')) await installJoinChecks(address, words.slice(1))
  return 0
}

process.exitCode = await life().catch(error => {
  say(describe(error))
  return 1
})
if (process.exitCode === 1) say(await journal('kubelet', 40))
