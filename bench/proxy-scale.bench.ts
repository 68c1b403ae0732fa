// 10,000 Services of 2 endpoints in a cluster, nftables mode, a node of ours beside one of the Go kubelet and kube-proxy, one after the
// other: first sync, one Service more, an endpoint gone, memory, new connections per second, and our daemon's restart under load.
// Prints figures; needs what cluster-pods.bench.ts needs. BENCH_SERVICES and BENCH_SECONDS (of
// rest before memory is read) make a trial smaller.
import { systemClock as clock } from '../host/clock.ts'
import type { ClusterNode } from '../test/support/cluster-node.ts'
import { pauseImage } from '../test/support/images.ts'
import { type BenchCluster, inCluster, pause, peer, tell } from './cluster.ts'
import { median, print } from './figure.ts'
import {
  addBeacon,
  changeServices,
  compareRates,
  createDialer,
  fillCluster,
  loadWhile,
  moveBeacon,
  startAgent,
} from './proxy-scale.ts'
import { type MemoryField, memoryOf, withChildren } from './usage.ts'

const count = Number(process.env['BENCH_SERVICES'] ?? 10_000)
const rounds = { nodelet: 15, kubelet: 3 } as const
const settleMs = Number(process.env['BENCH_SECONDS'] ?? 60) * 1000
const theirs = 'kube-proxy'
const of = `${count.toLocaleString('en')} Services`

const memory = async ({ pids }: ClusterNode, field: MemoryField): Promise<number> => {
  let sum = 0
  for (const pid of await withChildren(pids)) sum += await memoryOf(pid, field)
  return sum
}

const restartUnderLoad = async (node: ClusterNode, dialer: Awaited<ReturnType<typeof createDialer>>) => {
  const perSecond = 200
  const load = await loadWhile(dialer, perSecond, 15, async () => {
    await pause(2_000)
    await node.stop()
    await node.start()
  })
  const note = `${load.requests} at ${perSecond} per second, the slowest took ${Math.round(load.slowestMs)} ms`
  print({ figure: `${of}: failed requests while the daemon restarts`, unit: 'requests', ours: load.failed, under: 1, note })
}

const measure = async ({ controlPlane }: BenchCluster, node: ClusterNode) => {
  await moveBeacon(controlPlane, node)
  const dialer = await createDialer(node)
  try {
    const started = await startAgent(node, dialer)
    const ready = clock.monotonic()
    tell(node, started)
    const changes = await changeServices(controlPlane, node, dialer, rounds[node.agent])
    tell(node, changes)
    const rates = await compareRates(node, dialer, 8, 1)
    tell(node, rates)
    await pause(Math.max(0, settleMs - (clock.monotonic() - ready)))
    const taken = { rss: await memory(node, 'VmRSS'), peak: await memory(node, 'VmHWM') }
    tell(node, taken)
    if (node.agent === 'nodelet') await restartUnderLoad(node, dialer)
    return { ...started, ...changes, ...rates, ...taken }
  } finally {
    dialer.close()
    await node.stop()
  }
}

type Measured = Awaited<ReturnType<typeof measure>>

const report = (ours: Measured, other: Measured) => {
  const more = { unit: 'ms', peer: theirs, of: ours.more.length } as const
  print({
    ...{
      figure: `${of}: first sync, the rules alone`,
      unit: 'ms',
      ours: ours.firstSyncMs,
      peer: theirs,
      theirs: other.firstSyncMs,
    },
    atMost: 0.05,
  })
  print({ figure: `${of}: agent started to first answer`, unit: 'ms', ours: ours.startMs, peer, theirs: other.startMs })
  print({
    ...{
      figure: `${of}: one more, EndpointSlice created to answered`,
      ...more,
      ours: median(ours.more),
      theirs: median(other.more),
    },
    atMost: 0.02,
  })
  print({
    ...{ figure: `${of}: an endpoint gone to no longer chosen`, ...more, ours: median(ours.gone), theirs: median(other.gone) },
    atMost: 0.05,
  })
  print({ figure: `${of}: RSS a minute later`, unit: 'MB', ours: ours.rss, peer, theirs: other.rss, atMost: 0.6 })
  print({ figure: `${of}: peak RSS`, unit: 'MB', ours: ours.peak, peer, theirs: other.peak })
  // Milliseconds of 1,000 connections, so that less is better as everywhere.
  const cost = (perSecond: number) => 1_000_000 / perSecond
  print({
    ...{ figure: `${of}: 1,000 new connections through a ClusterIP`, unit: 'ms', ours: cost(ours.through) },
    ...{ peer: 'to the address directly', theirs: cost(ours.direct), atMost: 1 / 0.9 },
    note: `${Math.round(ours.through)} per second of ${Math.round(ours.direct)}; kube-proxy ${Math.round(other.through)} of ${Math.round(other.direct)}`,
  })
  print({
    ...{ figure: `${of}: 1,000 new connections through a ClusterIP, beside kube-proxy`, unit: 'ms', ours: cost(ours.through) },
    ...{ peer: theirs, theirs: cost(other.through), atMost: 1 },
  })
}

await inCluster({ images: [pauseImage] }, async cluster => {
  const [ours, other] = cluster.nodes
  for (const node of cluster.nodes) await node.stop()
  await addBeacon(cluster.controlPlane, ours)
  await fillCluster(cluster.controlPlane, 0, count)
  const first = await measure(cluster, ours)
  report(first, await measure(cluster, other))
})
