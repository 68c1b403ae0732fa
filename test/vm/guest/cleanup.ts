// `nodelet agent --cleanup` on a machine that had it all: what is left is what was there before.
import { deepEqual, ok } from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { systemExec } from '../../../host/exec.ts'
import { waitFor } from '../../support/wait.ts'
import { cleanUp } from './node.ts'
import { newSince, type Remains } from './remains.ts'
import { check } from './report.ts'

export const cleanupChecks = async (before: Remains): Promise<void> => {
  await check('cleanup: says what it removes, and nothing is left', async () => {
    const said = await cleanUp()
    ok(said.includes('removed pod default/web-1-vm'), said.join('\n'))
    // what the test itself and containerd have made
    await systemExec.run(['ip', 'netns', 'del', 'outside'])
    await waitFor('eth0 to go', async () => (await systemExec.try(['ip', 'link', 'show', 'eth0'])).exitCode !== 0)
    for (const path of ['/etc/nodelet', '/var/log/nodelet.log', '/var/lib/cni']) await rm(path, { recursive: true, force: true })
    // forwarding stays on: nobody knows who else relies on it
    deepEqual(
      (await newSince(before)).filter(it => it !== 'setting net/ipv4/ip_forward 1'),
      [],
    )
  })
}
