// 10,000 Services of 2 endpoints in a cluster, iptables mode: a node of ours beside one of the Go kubelet and kube-proxy, one after the
// other. First sync, one Service more, an endpoint gone; and kube-proxy's own rules by a bare iptables-restore, the floor of their shape.
// Prints figures; needs what cluster-pods.bench.ts needs. BENCH_SERVICES makes a trial smaller.
import { systemClock as clock } from '../host/clock.ts'
import type { ClusterNode } from '../test/support/cluster-node.ts'
import { pauseImage } from '../test/support/images.ts'
import { createNetns, type Netns } from '../test/support/netns.ts'
import { type BenchCluster, inCluster, peer, tell } from './cluster.ts'
import { median, print } from './figure.ts'
import { addBeacon, changeServices, compareRates, createDialer, fillCluster, moveBeacon, startAgent } from './proxy-scale.ts'

const count = Number(process.env['BENCH_SERVICES'] ?? 10_000)
const rounds = { nodelet: 9, kubelet: 3 } as const
const theirs = 'kube-proxy'
const of = `${count.toLocaleString('en')} Services, iptables`

/** How long the rules of a host take to restore where there are none. */
const restoreAlone = async ({ netns }: ClusterNode): Promise<{ readonly ms: number; readonly rules: number }> => {
  const { stdout } = await netns.run(['iptables-save'], { timeoutMs: 120_000 })
  // kube-proxy counts by objects of nfacct(8), which no rule set brings with it.
  const input = stdout.replaceAll(/ -m nfacct --nfacct-name\s+\S+/g, '')
  const empty: Netns = await createNetns()
  try {
    const began = clock.monotonic()
    await empty.run(['iptables-restore'], { input, timeoutMs: 300_000 })
    return { ms: clock.monotonic() - began, rules: input.match(/^-A /gm)?.length ?? 0 }
  } finally {
    await empty.remove()
  }
}

const measure = async ({ controlPlane }: BenchCluster, node: ClusterNode) => {
  await moveBeacon(controlPlane, node)
  const dialer = await createDialer(node)
  try {
    const started = await startAgent(node, dialer)
    const changes = await changeServices(controlPlane, node, dialer, rounds[node.agent])
    const rates = await compareRates(node, dialer, 2, 3)
    const alone = await restoreAlone(node)
    const measured = { ...started, ...changes, ...rates, alone }
    tell(node, measured)
    return measured
  } finally {
    dialer.close()
    await node.stop()
  }
}
type Measured = Awaited<ReturnType<typeof measure>>

const report = (ours: Measured, other: Measured) => {
  const versus = (figure: string, pick: (measured: Measured) => number, atMost?: number, note?: string) =>
    print({
      ...{ figure: `${of}: ${figure}`, unit: 'ms', ours: pick(ours), peer: theirs, theirs: pick(other) },
      ...(atMost !== undefined && { atMost }),
      ...(note !== undefined && { note }),
    })
  const rules = ({ alone }: Measured) => `${alone.rules} rules`
  versus('first sync, the rules alone', it => it.firstSyncMs, 0.5)
  versus('a bare iptables-restore of the rules', it => it.alone.ms, undefined, `${rules(ours)} against ${rules(other)}`)
  print({ figure: `${of}: agent started to first answer`, unit: 'ms', ours: ours.startMs, peer, theirs: other.startMs })
  versus('one more, EndpointSlice created to answered', it => median(it.more), 0.3)
  versus('an endpoint gone to no longer chosen', it => median(it.gone), 0.3)
  // Milliseconds of 1,000 connections, so that less is better as everywhere.
  versus('1,000 new connections through a ClusterIP', it => 1_000_000 / it.through)
}

await inCluster({ images: [pauseImage], serviceMode: 'iptables' }, async cluster => {
  const [ours] = cluster.nodes
  for (const node of cluster.nodes) await node.stop()
  await addBeacon(cluster.controlPlane, ours)
  await fillCluster(cluster.controlPlane, 0, count)
  const [first, second] = [await measure(cluster, ours), await measure(cluster, cluster.nodes[1])]
  report(first, second)
})
