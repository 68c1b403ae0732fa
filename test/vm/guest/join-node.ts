// The machine on its way into a cluster: its card, Debian's containerd, and nodelet's package where kubeadm looks for a kubelet's.
// Programs of the Kubernetes release that it is tried with lie in /opt/bin.
import { readdir, symlink } from 'node:fs/promises'
import { systemExec } from '../../../host/exec.ts'
import { waitFor } from '../../support/wait.ts'
import { setUpContainerd } from './node.ts'
import { adjustServices, env, installPackage } from './release.ts'

const { run } = systemExec

export const nodeName = 'vm'
const checkout = '/opt/nodelet'

/** The machine's only card, an address on it, and a way out that ends at the fabric. */
export const addCard = async (address: string, gateway: string): Promise<void> => {
  const card = (await readdir('/sys/class/net')).find(it => it !== 'lo')
  if (card === undefined) throw new Error('the machine has no network card')
  const lines = [
    // addresses of the link's own would come some time later, and look like something left behind
    `link set ${card} addrgenmode none`,
    ...[`addr add ${address}/24 dev ${card}`, `link set ${card} up`, `route add default via ${gateway}`],
  ]
  await run(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` })
}

/** The package, and what the lab's provisioning does on each machine. */
export const install = async (address: string): Promise<void> => {
  await setUpContainerd()
  await adjustServices({ nodelet: [], kubelet: [], 'nodelet-reset': [] })
  await installPackage()
  // in place of a download
  for (const name of ['kubeadm', 'kubectl']) await symlink(`/opt/bin/${name}`, `/usr/local/bin/${name}`)
  await provision('machine.sh', address)
}

/** A script of the lab. @returns what it said */
export const provision = async (script: string, ...words: readonly string[]): Promise<string> => {
  const { exitCode, stdout, stderr } = await systemExec.try([`${checkout}/vagrant/provision/${script}`, ...words], {
    timeoutMs: 500_000,
    env,
  })
  if (exitCode !== 0) throw new Error(`exit code ${exitCode}\n${stdout}${stderr}\n${await journal('kubelet')}`)
  return `${stdout}${stderr}`
}

/** kubeadm as an administrator runs it. @returns what it said */
export const kubeadm = async (...words: readonly string[]): Promise<string> => {
  const { exitCode, stdout, stderr } = await systemExec.try(['kubeadm', ...words], { timeoutMs: 200_000, env })
  if (exitCode !== 0) throw new Error(`exit code ${exitCode}\n${stdout}${stderr}`)
  return `${stdout}${stderr}`
}

/** kubectl as the cluster's administrator. */
export const kubectl = async (...words: readonly string[]): Promise<string> =>
  (await run(['/opt/bin/kubectl', '--kubeconfig', '/opt/admin.conf', ...words], { timeoutMs: 120_000 })).stdout.trim()

/** The end of what a service has logged. */
export const journal = async (unit: string, lines = 25): Promise<string> =>
  (await systemExec.try(['journalctl', '--no-pager', '--output=cat', '--lines', String(lines), '--unit', unit])).stdout

const isReady = async (): Promise<boolean> => {
  const path = '{.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}'
  return (await kubectl('get', 'node', nodeName, '-o', `jsonpath=${path}`)).startsWith('True')
}

/** Waits until the apiserver says that the node is Ready. */
export const nodeIsReady = (): Promise<unknown> =>
  waitFor('the node to be Ready', isReady, 12_000).catch(async error => {
    throw new Error(`${error.message}\n${await kubectl('describe', 'node', nodeName)}\n${await journal('kubelet')}`)
  })

export const health = async (): Promise<string> =>
  (await run(['curl', '-sS', '--max-time', '5', 'http://127.0.0.1:10248/healthz'])).stdout
