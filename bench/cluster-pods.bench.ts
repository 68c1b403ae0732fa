// Pods of a cluster: from create to Ready and from delete to gone, one by one and twenty at once, as a client that watches the apiserver
// sees them. Turn by turn on a node of ours and on one of the Go kubelet; the pods are bound to the node and their image is there.
// Prints figures; needs root, Debian's containerd, CNI plugins and etcd, and the Go programs (test/support/peers.ts).
import { pauseImage } from '../test/support/images.ts'
import { inCluster, pause, peer, rounds, tell } from './cluster.ts'
import { median, percentile, print } from './figure.ts'
import { createTimedPods, pausePod, type TimedPods } from './watch.ts'

const atOnce = 20
// What an agent does after a pod is gone is not part of what comes next.
const settleMs = 1000

interface Times {
  readonly start: number
  readonly end: number
  readonly burstStart: number
  readonly burstEnd: number
}

const round = async (pods: TimedPods, node: string, index: number): Promise<Times> => {
  const single = `${node}-${index}`
  const start = await pods.start(pausePod(single, node, pauseImage))
  const end = await pods.end(single)
  await pause(settleMs)
  const names = Array.from({ length: atOnce }, (_, at) => `${single}-${at}`)
  const starts = await Promise.all(names.map(it => pods.start(pausePod(it, node, pauseImage))))
  await pause(settleMs)
  const ends = await Promise.all(names.map(it => pods.end(it)))
  await pause(settleMs)
  return { start, end, burstStart: Math.max(...starts), burstEnd: Math.max(...ends) }
}

const figures = [
  ['start', 'pod of the apiserver: create to Ready', 0.5],
  ['end', 'delete to gone, grace 1 s', 0.3],
  ['burstStart', `${atOnce} pods at once: all Ready`, 0.9],
  ['burstEnd', `${atOnce} pods at once: all gone`, 0.8],
] as const

await inCluster({ images: [pauseImage] }, async ({ controlPlane, nodes }) => {
  const pods = await createTimedPods(controlPlane)
  const times: readonly [Times[], Times[]] = [[], []]
  for (let index = 0; index <= rounds; index++) {
    for (const [at, node] of nodes.entries()) {
      const measured = await round(pods, node.name, index)
      tell(node, measured)
      // The first makes bridges, and reads from disk what later comes from memory.
      if (index > 0) times[at]?.push(measured)
    }
  }
  for (const [key, figure, atMost] of figures) {
    const [ours, theirs] = times.map(of => of.map(it => it[key])) as [number[], number[]]
    const note = `p95 ${Math.round(percentile(ours, 0.95))} and ${Math.round(percentile(theirs, 0.95))} ms`
    print({ figure, unit: 'ms', ours: median(ours), peer, theirs: median(theirs), of: rounds, atMost, note })
  }
  await pods.close()
})
