// A node joins: from the start of the agent's process until a client that watches the apiserver sees the Node Ready. The Node is taken
// away before, so that each start registers it anew; credentials, containerd and images are there. Then its agent is stopped in order and
// started again at once: how long nobody answers at the kubelet's API. Turn by turn on a node of ours and on one of the Go kubelet and
// kube-proxy. Prints figures; needs what cluster-pods.bench.ts needs.
import { systemClock as clock } from '../host/clock.ts'
import type { ClusterNode } from '../test/support/cluster-node.ts'
import type { ControlPlane } from '../test/support/control-plane.ts'
import { pauseImage } from '../test/support/images.ts'
import { inCluster, pause, peer, rounds, tell } from './cluster.ts'
import { median, percentile, print } from './figure.ts'
import { createDialer } from './proxy-scale.ts'
import { createWatch, isReady, type Watch, type WithConditions } from './watch.ts'

// Controllers take notice of a Node that is gone.
const settleMs = 1000

const startNode = async (controlPlane: ControlPlane, watch: Watch<WithConditions>, node: ClusterNode): Promise<number> => {
  const { name } = node
  await node.stop()
  const gone = watch.when(`node ${name} to be gone`, ({ type, object }) => type === 'DELETED' && object.metadata.name === name)
  await controlPlane.send('DELETE', `/api/v1/nodes/${name}`)
  await gone
  await pause(settleMs)
  const ready = watch.when(`node ${name} to be Ready`, ({ object }) => object.metadata.name === name && isReady(object))
  const began = clock.monotonic()
  await node.start()
  return (await ready) - began
}

const apiPort = 10250

/** How long nobody answers at the kubelet's API when the agent is started anew. */
const restartNode = async (node: ClusterNode): Promise<number> => {
  const dialer = await createDialer(node)
  try {
    const to = { host: node.address, port: apiPort }
    await dialer.ask<number>({ do: 'until', ...to })
    const gap = dialer.ask<number>({ do: 'gap', ...to })
    await node.stop()
    await node.start()
    return await gap
  } finally {
    dialer.close()
  }
}

await inCluster({ images: [pauseImage] }, async ({ controlPlane, nodes }) => {
  const watch = await createWatch<WithConditions>(controlPlane, '/api/v1/nodes')
  const times: readonly [number[], number[]] = [[], []]
  const gaps: readonly [number[], number[]] = [[], []]
  for (let index = 0; index <= rounds; index++) {
    for (const [at, node] of nodes.entries()) {
      const took = await startNode(controlPlane, watch, node)
      const gap = await restartNode(node)
      tell(node, { took, gap })
      // The first reads from disk what later comes from memory, and ours compiles itself.
      if (index === 0) continue
      times[at]?.push(took)
      gaps[at]?.push(gap)
    }
  }
  const report = (
    figure: string,
    [ours, theirs]: typeof times,
    must: { readonly atMost: number } | { readonly under: number },
  ) => {
    const note = `p95 ${Math.round(percentile(ours, 0.95))} and ${Math.round(percentile(theirs, 0.95))} ms`
    print({ figure, unit: 'ms', ours: median(ours), peer, theirs: median(theirs), of: rounds, note, ...must })
  }
  report('agent started to node Ready', times, { atMost: 0.7 })
  report('restart: the kubelet API does not answer', gaps, { under: 2000 })
  await watch.close()
})
