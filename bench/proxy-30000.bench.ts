// One Service more and an endpoint gone among 30,000 Services of 2 endpoints, on a node of ours in a cluster, as a client on that node sees
// it. Prints figures; needs what cluster-pods.bench.ts needs. BENCH_SERVICES makes a trial smaller.
import { pauseImage } from '../test/support/images.ts'
import { inCluster, tell } from './cluster.ts'
import { median, percentile, print } from './figure.ts'
import { addBeacon, changeServices, createDialer, fillCluster, startAgent } from './proxy-scale.ts'

const count = Number(process.env['BENCH_SERVICES'] ?? 30_000)
const rounds = 20

await inCluster({ images: [pauseImage] }, async ({ controlPlane, nodes }) => {
  const [node] = nodes
  for (const each of nodes) await each.stop()
  await addBeacon(controlPlane, node)
  await fillCluster(controlPlane, 0, count)
  const dialer = await createDialer(node)
  try {
    tell(node, await startAgent(node, dialer))
    const { more, gone } = await changeServices(controlPlane, node, dialer, rounds)
    tell(node, { more, gone })
    const of = `${count.toLocaleString('en')} Services`
    print({
      ...{
        figure: `${of}: one more, EndpointSlice created to answered, p50`,
        unit: 'ms',
        ours: median(more),
        under: 60,
        of: rounds,
      },
      note: `p95 ${Math.round(percentile(more, 0.95))} ms`,
    })
    print({ figure: `${of}: an endpoint gone to no longer chosen, p50`, unit: 'ms', ours: median(gone), of: rounds })
  } finally {
    dialer.close()
  }
})
