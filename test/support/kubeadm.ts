// What kubeadm's own phases put into a control plane, so that `kubeadm join` of that release finds all that it looks for there.
// The control plane itself runs as programs (control-plane.ts), which no phase that writes static pods would do.
import { readFile, writeFile } from 'node:fs/promises'
import type { ControlPlane } from './control-plane.ts'
import { peer } from './peers.ts'

/** Lets machines join. @returns the words of the command that joins one, without the program */
export const openForJoin = async ({ netns, dir, kubeconfig, kubectl }: ControlPlane): Promise<readonly string[]> => {
  const program = await peer('kubeadm')
  // The certificates of this control plane lie where no joining machine has them; nodes keep theirs in /etc/kubernetes/pki.
  const config = `${dir}/kubeadm-join.yaml`
  const text = await readFile(`${dir}/kubeadm.yaml`, 'utf8')
  await writeFile(config, text.replace(`"certificatesDir":"${dir}/pki",`, ''))
  const flags = ['--config', config, '--kubeconfig', kubeconfig]
  const run = async (...argv: readonly string[]) => (await netns.run([program, ...argv, ...flags], { timeoutMs: 60_000 })).stdout
  await run('init', 'phase', 'upload-config', 'all')
  await run('init', 'phase', 'bootstrap-token', '--skip-token-print')
  await run('init', 'phase', 'addon', 'kube-proxy')
  // Its configuration stays, as with kubeadm init; its pods would have to pull an image, and nodelet routes Services.
  await kubectl(['--namespace', 'kube-system', 'delete', 'daemonset', 'kube-proxy'])
  const command = await run('token', 'create', '--print-join-command')
  return command.trim().split(/\s+/).slice(1)
}
