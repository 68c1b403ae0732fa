// `nodelet install --join`: a machine, which has been a node of kubeadm's and is none any more, joins the cluster without kubeadm, and leaves
// it. What kubeadm prints for a machine that is to join is all that the administrator gives it.
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { readFile, stat } from 'node:fs/promises'
import { serviceAnswers, startWebs } from './join.ts'
import { journal, kubectl, nodeIsReady, nodeName } from './join-node.ts'
import { tryRelease } from './release.ts'
import { findRemains, newSince } from './remains.ts'
import { check } from './report.ts'
import { nothingIsLeft } from './uninstall.ts'

/** @param words the apiserver, and flags with token and hash */
export const installJoinChecks = async (address: string, [server = '', ...flags]: readonly string[]): Promise<void> => {
  const before = await findRemains()
  // the Node, and its pods, that the machine has left
  await kubectl('delete', 'node', nodeName)
  await kubectl('delete', 'pods', '--all', '--force', '--grace-period=0')
  await check('install --join: a token that the cluster does not know is refused, and the machine is as it was', async () => {
    const other = flags.map((flag, at) => (flags[at - 1] === '--token' ? 'zzzzzz.0123456789abcdef' : flag))
    const { exitCode, stdout, stderr } = await tryRelease('nodelet', 'install', '--join', server, ...other, '--node-ip', address)
    equal(exitCode, 2)
    match(`${stdout}${stderr}`, /--token: the cluster does not know it/)
    deepEqual(await newSince(before), [])
  })
  const isUp = await check('install --join: the words of `kubeadm token create` make a node of the cluster', async () => {
    const { exitCode, stdout } = await tryRelease('nodelet', 'install', '--join', server, ...flags, '--node-ip', address)
    equal(exitCode, 0, await journal('nodelet'))
    match(stdout, /This machine is a node of the cluster/)
    await nodeIsReady()
    ok(((await stat('/etc/nodelet/kubeconfig')).mode & 0o077) === 0, 'credentials are root’s')
    match(await readFile('/etc/nodelet/kubelet.yaml', 'utf8'), /clusterDNS: \["\d+\.\d+\.\d+\.\d+"\]/)
  })
  if (!isUp) return
  await check('install --join: pods run, and Services answer', async () => {
    await startWebs()
    await serviceAnswers()
  })
  await check('install --join: uninstall says what it removed, and the machine is as it was', async () => {
    const { exitCode, stdout } = await tryRelease('nodelet', 'uninstall')
    equal(exitCode, 0)
    match(stdout, /removed pod default\/web-1[\s\S]*this machine is clean$/)
    await nothingIsLeft(before)
  })
}
