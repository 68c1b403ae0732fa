// What ends without warning: daemon and containerd by kill -9, then the whole machine by a power cut. Pods and Services come back, and
// no address stays taken that no pod has.
import { deepEqual, equal } from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import type { Service } from '../../../api/service-types.ts'
import type { Pod } from '../../../api/types.ts'
import { systemExec } from '../../../host/exec.ts'
import { isReady, statusOf } from '../../support/node.ts'
import { waitFor } from '../../support/wait.ts'
import { addNetwork, crash, fetchOutside, list, nodeIPs, startDaemon, until } from './node.ts'
import { check } from './report.ts'
import { bothAnswer, everyWayAnswers, nodePort, toUrl } from './services.ts'

const names = ['web-1-vm', 'web-2-vm', 'client-vm']

const factsOf = ({ metadata, status }: Pod) => ({
  uid: metadata.uid,
  ips: status?.podIPs,
  containers: status?.containerStatuses?.map(it => [it.containerID, it.restartCount]),
})

const allPods = () => Promise.all(names.map(name => until(name, isReady)))

/** Addresses that the plugin holds, by its files. */
const heldAddresses = async (): Promise<readonly string[]> => {
  const files = await readdir('/var/lib/nodelet/cni', { recursive: true })
  return files.map(it => it.split('/').at(-1) ?? '').filter(name => /^(10\.244\.|fd00)/.test(name))
}

const podAddresses = async (): Promise<readonly string[]> =>
  (await list<Pod>('/v1/pods')).flatMap(({ status }) => status?.podIPs?.map(it => it.ip) ?? [])

const addressesAreThoseOfPods = () =>
  waitFor('addresses to be those of pods', async () => {
    const [held, used] = [await heldAddresses(), await podAddresses()]
    deepEqual([...held].sort(), [...used].sort())
    return used.length === names.length * 2
  })

const clusterIPsOf = async () =>
  Object.fromEntries((await list<Service>('/v1/services')).map(({ metadata, spec }) => [metadata.name, spec.clusterIPs]))

/** @returns whether the node is as before */
export const crashChecks = async (): Promise<boolean> => {
  const isBack = await check(
    'crash: with daemon and containerd killed, Services go on, and their next start changes no container',
    async () => {
      const before = (await allPods()).map(factsOf)
      await crash('nodelet', 'containerd')
      await waitFor(
        'the daemon to be gone',
        async () => (await systemExec.try(['systemctl', 'is-active', 'nodelet'])).exitCode !== 0,
      )
      await bothAnswer(() => fetchOutside(toUrl(nodeIPs.IPv4, nodePort)))
      await systemExec.run(['systemctl', 'restart', 'containerd'])
      await startDaemon()
      deepEqual((await allPods()).map(factsOf), before)
      await bothAnswer(() => fetchOutside(toUrl(nodeIPs.IPv6, nodePort)))
    },
  )
  return isBack && check('crash: no address is leaked', addressesAreThoseOfPods)
}

/** What must be the same after the power cut. */
export const beforePowerCut = async () => ({ services: await clusterIPsOf(), pods: (await allPods()).map(it => it.metadata.uid) })

export const powerCutChecks = async (before: Awaited<ReturnType<typeof beforePowerCut>>): Promise<void> => {
  const isBack = await check('power cut: pods come back with new sandboxes, Services with their addresses', async () => {
    await addNetwork()
    await startDaemon()
    const pods = await allPods()
    deepEqual({ services: await clusterIPsOf(), pods: pods.map(it => it.metadata.uid) }, before)
    for (const pod of pods) equal(statusOf(pod)?.restartCount, 1, `restarts of ${pod.metadata.name}`)
  })
  if (!isBack) return
  await everyWayAnswers()
  await check('power cut: no address is leaked', addressesAreThoseOfPods)
  // As with a kubelet, the last ended attempt of a container stays for `logs --previous`, and with it the sandbox it was in.
  await check('power cut: of each pod one attempt of before is kept, and only the new one runs', async () => {
    const count = async (kind: string) =>
      (await systemExec.run(['ctr', '-n', 'k8s.io', kind, 'ls', '-q'])).stdout.trim().split('\n').length
    deepEqual(
      { containers: await count('containers'), tasks: await count('tasks') },
      { containers: names.length * 4, tasks: names.length * 2 },
    )
  })
}
