// deploy/quickstart on a machine that has just booted: it ends with the Service answering, and `down` leaves the machine as it was.
// The VM has no network and finds Debian's packages and node_modules in place; images it builds itself.
import { deepEqual, match } from 'node:assert/strict'
import { systemExec } from '../../../host/exec.ts'
import { waitFor } from '../../support/wait.ts'
import { findRemains, newSince, type Remains } from './remains.ts'
import { check, say } from './report.ts'

const program = '/opt/nodelet/deploy/quickstart'
const limitMs = 300_000

/** Runs it and shows what it says. */
const quickstart = async (...args: string[]): Promise<string> => {
  const { exitCode, stdout, stderr } = await systemExec.try([program, ...args], { timeoutMs: limitMs })
  say(`${stdout}${stderr}`.replaceAll(/^/gm, '  '))
  if (exitCode !== 0) {
    const log = await systemExec.try(['tail', '-n', '15', '/var/lib/nodelet-quickstart/nodelet.log'])
    throw new Error(`exit code ${exitCode}\n${stderr}\n${log.stdout}`)
  }
  return stdout
}

const answersEverywhere = (printed: string) => {
  match(printed, /ClusterIP.*\n( +web-\d\S* +answered \d+ of 12\n)+/)
  match(printed, /NodePort.*\n( +web-\d\S* +answered \d+ of 12\n)+/)
  match(printed, /http:\/\/web from the pod.*\n( +web-\d\S* +answered \d+ of 12\n)+/)
}

const nothingIsLeft = (before: Remains) =>
  waitFor('the last process to end', async () => (await newSince(before)).length === 0, 1000).catch(async () =>
    deepEqual(await newSince(before), []),
  )

export const quickstartChecks = async (): Promise<void> => {
  const before = await findRemains()
  await check('quickstart: Services answer', async () => answersEverywhere(await quickstart()))
  await check('quickstart down: the machine is as it was', async () => {
    await quickstart('down')
    await nothingIsLeft(before)
  })
}
