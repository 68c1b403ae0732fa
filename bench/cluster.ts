// A cluster under measurement: a real control plane, one node that nodelet runs and one that the Go kubelet and kube-proxy run, side by
// side on one network with the same images and the same certificates. Says nothing of what is measured.
import { join } from 'node:path'
import { type ClusterNode, connectNodes, createClusterNode } from '../test/support/cluster-node.ts'
import { type ControlPlane, createControlPlane } from '../test/support/control-plane.ts'
import { createRelease } from './release.ts'

export interface BenchCluster {
  readonly controlPlane: ControlPlane
  /** Ours, then theirs. */
  readonly nodes: readonly [ClusterNode, ClusterNode]
  close(): Promise<void>
}

export interface BenchClusterOptions {
  readonly images: readonly string[]
  /** More flags of the apiserver. */
  readonly apiserverFlags?: readonly string[]
  /** The mode of Services on both nodes; nftables when it is not given. */
  readonly serviceMode?: string
}

// What an administrator applies once: nodes may see Services, their endpoints and the other nodes.
const rbac = join(import.meta.dirname, '../deploy/rbac.yaml')

/** Who the other side is. */
export const peer = 'kubelet + kube-proxy'

/** How often a latency is measured on each side; BENCH_ROUNDS makes a trial shorter. */
export const rounds = Number(process.env['BENCH_ROUNDS'] ?? 12)

/** Tells somebody who watches what each round measured. */
export const tell = (node: ClusterNode, measured: object): void => {
  if (process.env['BENCH_VERBOSE']) process.stderr.write(`${node.agent} ${JSON.stringify(measured)}\n`)
}

export const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))

/** Starts all of it; both nodes are Ready and their pods reach each other. NODELET names another program than a release of this tree. */
export const createBenchCluster = async ({
  images,
  apiserverFlags = [],
  serviceMode,
}: BenchClusterOptions): Promise<BenchCluster> => {
  const undo: (() => Promise<void>)[] = []
  const close = async () => {
    for (const it of undo.reverse()) await it()
  }
  try {
    const given = process.env['NODELET']
    const release = given === undefined ? await createRelease() : undefined
    if (release !== undefined) undo.push(release.remove)
    const program = release?.program ?? given
    const controlPlane = await createControlPlane({ apiserverFlags })
    undo.push(controlPlane.close)
    await controlPlane.kubectl(['apply', '-f', rbac])
    const nodes: ClusterNode[] = []
    for (const agent of ['nodelet', 'kubelet'] as const) {
      const node = await createClusterNode({
        controlPlane,
        agent,
        name: agent,
        host: 11 + nodes.length,
        images,
        ...(program && { nodelet: program }),
        ...(serviceMode && { serviceMode }),
      })
      undo.push(node.close)
      nodes.push(node)
      await node.start()
      // Debian's plugins wait for the range of the pods, which the kubelet does not write into their configuration.
      if (agent === 'kubelet') await connectNodes(controlPlane, [node])
      await node.whenReady()
    }
    await connectNodes(controlPlane, nodes)
    return { controlPlane, nodes: nodes as [ClusterNode, ClusterNode], close }
  } catch (error) {
    await close()
    throw error
  }
}

/** Measures in a cluster of its own, which goes away whatever comes. */
export const inCluster = async (options: BenchClusterOptions, measure: (cluster: BenchCluster) => Promise<void>) => {
  const cluster = await createBenchCluster(options)
  try {
    await measure(cluster)
  } finally {
    await cluster.close()
  }
  // A connection that is kept to the control plane is no reason to stay.
  process.exit()
}
