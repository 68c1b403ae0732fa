// A node run by nodelet, as deploy/quickstart sets one up: the daemon's own network plugin, Services, no control plane.
import { rm, writeFile } from 'node:fs/promises'
import type { Pod } from '../api/types.ts'
import { createAsk, createMachine, type Node, whenAnswering } from './node.ts'
import { createRelease } from './release.ts'

const address = '192.0.2.1'

/** NODELET names another program than the release that is built from this checkout, such as bin/nodelet. */
export interface NodeletNode extends Node {
  /** The daemon's answer to a path of its socket. */
  ask<T>(path: string): Promise<T>
}

/** Starts the machine and the daemon, and waits until it answers. */
export const createNodeletNode = async (env: Readonly<Record<string, string>> = {}): Promise<NodeletNode> => {
  const given = process.env['NODELET']
  const release = given === undefined ? await createRelease() : { program: given, remove: async () => undefined }
  const machine = await createMachine({ address })
  const { containerd, manifests } = machine
  const { dir } = containerd
  // The plugin is ours for every call, also as loopback.
  await rm(`${containerd.cniBin}/loopback`)
  const kubelet = {
    ...{ apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration' },
    ...{ staticPodPath: manifests, containerRuntimeEndpoint: containerd.endpoint, podLogsDir: `${dir}/logs` },
    ...{ cgroupRoot: containerd.cgroupParent, cgroupDriver: 'cgroupfs', maxPods: 250 },
  }
  const nodelet = {
    ...{ apiVersion: 'nodelet.dev/v1alpha1', kind: 'NodeletConfiguration' },
    ...{ socket: `${dir}/nodelet.sock`, stateDir: `${dir}/nodelet` },
    cni: { mode: 'enabled', binDir: containerd.cniBin, confDir: containerd.cniConf },
  }
  await writeFile(`${dir}/kubelet.yaml`, JSON.stringify(kubelet))
  await writeFile(`${dir}/nodelet.yaml`, JSON.stringify(nodelet))
  const argv = [
    process.env['NODELET'] ?? release.program,
    'agent',
    '--config',
    `${dir}/kubelet.yaml`,
    '--nodelet-config',
    `${dir}/nodelet.yaml`,
  ]
  const flags = ['--hostname-override', 'bench', '--node-ip', address, '--root-dir', `${dir}/kubelet`]
  const pid = await machine.start('nodelet', [...argv, ...flags], env)
  const ask = createAsk({ socketPath: `${dir}/nodelet.sock` })
  const node: NodeletNode = {
    ...machine,
    close: async () => {
      await machine.close()
      await release.remove()
    },
    agent: 'nodelet',
    pids: [pid],
    ask,
    pods: async () => (await ask<{ items: readonly Pod[] }>('/v1/pods')).items,
  }
  await whenAnswering(node).catch(async error => {
    await node.close()
    throw error
  })
  return node
}
