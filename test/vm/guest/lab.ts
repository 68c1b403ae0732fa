// The machines of the Vagrant lab, each by the scripts that Vagrant would run on it, and the walk through what Services do.
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { glob, writeFile } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import type { List } from '../../../agent/server/wire.ts'
import type { Pod } from '../../../api/types.ts'
import { systemExec } from '../../../host/exec.ts'
import { busyboxImage, importArchives } from '../../support/images.ts'
import { waitFor } from '../../support/wait.ts'
import { resetChecks } from './join.ts'
import { addCard, install, journal, provision } from './join-node.ts'
import { findRemains } from './remains.ts'
import { check, say } from './report.ts'

const { run } = systemExec
const KUBECONFIG = '/etc/kubernetes/admin.conf'
const walkMs = 500_000
const modes = ['iptables', 'ipvs', 'nftables']

const kubectl = async (...words: readonly string[]): Promise<string> =>
  (await run(['kubectl', ...words], { timeoutMs: 120_000, env: { KUBECONFIG } })).stdout.trim()

const show = (text: string) => say(text.trimEnd().replaceAll(/^/gm, '    '))

/** @returns whether the machine is fit to be one of the lab */
export const prepare = (name: string, address: string, gateway: string): Promise<boolean> =>
  check(`${name}: the provisioning of the lab finds nothing against the machine`, async () => {
    // as Vagrant names machines
    await run(['hostname', name])
    await writeFile('/etc/hostname', `${name}\n`)
    await writeFile('/etc/hosts', `127.0.0.1 localhost\n${address} ${name}\n`)
    await addCard(address, gateway)
    await install(address)
    await importArchives('/run/containerd/containerd.sock', await Array.fromAsync(glob('/opt/images/*.tar')))
  })

const readyNodes = async () => {
  const path = '{range .items[?(@.status.conditions[-1].status=="True")]}{.metadata.name} {end}'
  return (await kubectl('get', 'nodes', '-o', `jsonpath=${path}`)).split(' ').filter(it => it !== '')
}

const systemPods = async () => (JSON.parse(await kubectl('-n', 'kube-system', 'get', 'pods', '-o', 'json')) as List<Pod>).items

const isReady = ({ status }: Pod) => status?.conditions?.some(it => it.type === 'Ready' && it.status === 'True') === true

const staticPods = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler']
const dnsPods = 2

/** vagrant/try-services.sh, as the lab's user runs it on the control plane. */
const walk = () =>
  check('control-plane: vagrant/try-services.sh finds that Services do what they should, in every mode', async () => {
    const env = { KUBECONFIG, IMAGE: busyboxImage, MODES: modes.join(' ') }
    const { exitCode, stdout, stderr } = await systemExec.try(['/opt/nodelet/vagrant/try-services.sh'], {
      env,
      timeoutMs: walkMs,
    })
    show(`${stdout}${stderr}`)
    equal(exitCode, 0, `${stdout}${stderr}`)
    for (const mode of modes) match(stdout, new RegExp(`${mode} runs;`))
  })

/** What the lab's user does on the control plane. @param nodes names of the machines that join */
export const controlPlaneChecks = async (address: string, token: string, nodes: readonly string[]): Promise<void> => {
  const before = await findRemains()
  const isUp = await check('control-plane: `kubeadm init` ends well, with the daemon in the kubelet’s place', async () => {
    show(await provision('control-plane.sh', address, token))
    match(await kubectl('get', 'node', 'control-plane', '-o', 'jsonpath={.status.nodeInfo.kubeletVersion}'), /\+nodelet\./)
  })
  if (!isUp) throw new Error('there is no control plane')
  await check('control-plane: its programs are static pods that the apiserver shows, and cluster DNS runs', async () => {
    const areReady = (pods: readonly Pod[]) => pods.length === staticPods.length + dnsPods && pods.every(isReady)
    await waitFor('all pods to be ready', async () => areReady(await systemPods()), 20_000).catch(async error => {
      throw new Error(`${error.message}\n${await kubectl('-n', 'kube-system', 'describe', 'pods')}`)
    })
    const names = (await systemPods()).map(it => it.metadata.name)
    for (const name of staticPods) ok(names.includes(`${name}-control-plane`), `${name} in ${names.join(' ')}`)
    equal(names.filter(it => it.startsWith('coredns-')).length, dnsPods)
  })
  await check('control-plane: provisioning it once more changes nothing', async () => {
    const uids = async () => (await systemPods()).map(it => it.metadata.uid).toSorted()
    const before = await uids()
    await provision('machine.sh', address)
    await provision('control-plane.sh', address, token)
    deepEqual(await uids(), before)
  })
  await check('control-plane: the nodes of the lab are Ready', async () => {
    const wanted = ['control-plane', ...nodes]
    await waitFor(`${wanted.join(', ')} to be Ready`, async () => (await readyNodes()).length === wanted.length, 30_000)
    deepEqual((await readyNodes()).toSorted(), wanted)
  })
  if (nodes.length > 0) await walk()
  await resetChecks(before)
}

const curl = ['curl', '--silent', '--insecure', '--fail', '--output', '/dev/null', '--max-time', '60']
const [isServed, isRefused] = [0, 7]

/** Asks every few seconds: programs that are started all the time would take, on emulated machines, what the control plane needs. */
const untilCurlEnds = async (url: string, wanted: number): Promise<void> => {
  while ((await systemExec.try([...curl, url], { timeoutMs: 70_000 })).exitCode !== wanted) await setTimeout(3000)
}

/** What happens to a machine that joins; it stays a node until its control plane is gone. */
export const nodeChecks = async (name: string, server: string, token: string): Promise<void> => {
  const health = `https://${server}:6443/healthz`
  await untilCurlEnds(health, isServed)
  const words = [`${server}:6443`, '--token', token, '--discovery-token-unsafe-skip-ca-verification']
  const hasJoined = await check(`${name}: the lab's provisioning joins the machine`, async () => {
    const said = await provision('node.sh', ...words)
    show(said)
    match(said, /This node has joined the cluster/)
  })
  if (!hasJoined) throw new Error(`${name} has not joined`)
  await untilCurlEnds(health, isRefused)
  show(await journal('kubelet', 10))
}
