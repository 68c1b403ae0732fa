// A control plane with nodes and CoreDNS, ready to run pods: what a test or the upstream suite starts with. AGENT=kubelet makes it a cluster of the
// Go programs, so that a test can be proven against them.
import { join } from 'node:path'
import { applyClusterDns, dnsArchives } from './cluster-dns.ts'
import type { Agent } from './cluster-files.ts'
import { type ClusterNode, connectNodes, createClusterNode } from './cluster-node.ts'
import { type ControlPlane, createControlPlane } from './control-plane.ts'

/** Who runs the nodes. */
export const agent: Agent = process.env['AGENT'] === 'kubelet' ? 'kubelet' : 'nodelet'

export interface ClusterOptions {
  readonly nodes?: readonly string[]
  readonly images?: readonly string[]
  readonly archives?: readonly string[]
  readonly config?: Readonly<Record<string, unknown>>
  readonly prepare?: (dir: string) => Promise<void>
}

export interface Cluster {
  readonly controlPlane: ControlPlane
  readonly nodes: readonly ClusterNode[]
  /** By the nodes, in milliseconds: from the agent's start until the apiserver said Ready. */
  readonly readyAfterMs: readonly number[]
  close(): Promise<void>
}

const firstHost = 11
const rbac = join(import.meta.dirname, '../../deploy/rbac.yaml')

/** Starts a control plane and nodes of the same agent, and waits until they are Ready. */
export const createCluster = async (options: ClusterOptions = {}): Promise<Cluster> => {
  const { nodes: names = ['n1', 'n2'], archives = [], ...more } = options
  const withDns = [...archives, ...(await dnsArchives())]
  const controlPlane = await createControlPlane()
  const nodes: ClusterNode[] = []
  const close = async () => {
    for (const node of nodes) await node.close()
    await controlPlane.close()
  }
  try {
    for (const [index, name] of names.entries()) {
      nodes.push(await createClusterNode({ ...more, archives: withDns, controlPlane, name, host: firstHost + index, agent }))
    }
    await applyClusterDns(controlPlane)
    // What an administrator applies once: nodes may see Services, their endpoints and the other nodes.
    if (agent === 'nodelet') await controlPlane.kubectl(['apply', '-f', rbac])
    const readyAfterMs: number[] = []
    for (const node of nodes) {
      await node.start()
      if (agent === 'kubelet') await connectNodes(controlPlane, [node])
      readyAfterMs.push(await node.whenReady())
    }
    await connectNodes(controlPlane, nodes)
    return { controlPlane, nodes, readyAfterMs, close }
  } catch (error) {
    await close()
    throw error
  }
}
