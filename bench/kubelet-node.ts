// A node run by the Go kubelet, standalone: no apiserver, static pods, Debian's bridge + host-local + portmap as pod network.
// It reports its pods on the read-only port.
import { writeFile } from 'node:fs/promises'
import type { Pod } from '../api/types.ts'
import { makeCgroupRoot } from '../test/support/kubelet.ts'
import { peer } from '../test/support/peers.ts'
import { createAsk, createMachine, type Node, whenAnswering } from './node.ts'

const address = '198.51.100.1'
const readOnlyPort = 10_255

const toConfiguration = (manifests: string, endpoint: string, dir: string, cgroupRoot: string) => ({
  ...{ apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration' },
  authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
  authorization: { mode: 'AlwaysAllow' },
  ...{ staticPodPath: manifests, containerRuntimeEndpoint: endpoint, podLogsDir: `${dir}/logs`, readOnlyPort },
  ...{ cgroupRoot, cgroupDriver: 'cgroupfs', maxPods: 250, failSwapOn: false, failCgroupV1: false },
  ...{ localStorageCapacityIsolation: false, evictionHard: { 'memory.available': '100Mi' } },
})

/** Starts the machine and the kubelet, and waits until it answers. */
export const createKubeletNode = async (): Promise<Node> => {
  const program = await peer('kubelet')
  const machine = await createMachine({ address, bridge: '10.244.0.0/24' })
  const { containerd, manifests } = machine
  const { dir } = containerd
  await makeCgroupRoot(containerd.cgroupParent)
  const configuration = toConfiguration(manifests, containerd.endpoint, dir, containerd.cgroupParent)
  await writeFile(`${dir}/kubelet.yaml`, JSON.stringify(configuration))
  const flags = ['--hostname-override=bench', `--node-ip=${address}`, `--root-dir=${dir}/kubelet`, `--cert-dir=${dir}/pki`]
  const pid = await machine.start('kubelet', [program, `--config=${dir}/kubelet.yaml`, ...flags])
  const ask = createAsk({ host: address, port: readOnlyPort })
  const node: Node = {
    ...machine,
    agent: 'kubelet',
    pids: [pid],
    pods: async () => (await ask<{ items: readonly Pod[] | null }>('/pods')).items ?? [],
  }
  await whenAnswering(node).catch(async error => {
    await machine.close()
    throw error
  })
  return node
}
