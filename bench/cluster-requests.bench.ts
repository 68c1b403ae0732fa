// What a pod costs the apiserver: the requests that its node makes between create and gone, from the apiserver's audit log, which has a
// line for each request as it comes in. Leases and the Node's own status come by the clock and not by the pod: they are left out.
// On a node of ours and on one of the Go kubelet and kube-proxy. Prints figures; needs what cluster-pods.bench.ts needs.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import type { ClusterNode } from '../test/support/cluster-node.ts'
import { pauseImage } from '../test/support/images.ts'
import { inCluster, pause, peer, rounds } from './cluster.ts'
import { print } from './figure.ts'
import { createTimedPods, pausePod, type TimedPods } from './watch.ts'

// Events and the ends of watches come after the pod is gone.
const settleMs = 3000
const notOfPods = ['leases', 'nodes']

interface AuditEvent {
  readonly verb: string
  readonly sourceIPs: readonly string[]
  readonly objectRef?: { readonly resource: string; readonly subresource?: string }
  readonly requestURI: string
}

const policy = {
  ...{ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', omitStages: ['ResponseStarted', 'ResponseComplete', 'Panic'] },
  rules: [
    { level: 'Metadata', userGroups: ['system:nodes'] },
    { level: 'Metadata', users: ['system:kube-proxy'] },
  ],
}

/** Requests of the node by what they ask, such as `patch pods/status`. */
const countRequests = async (log: string, from: number, { address }: ClusterNode): Promise<Map<string, number>> => {
  const counts = new Map<string, number>()
  const lines = (await readFile(log, 'utf8')).slice(from).split('\n').filter(Boolean)
  for (const line of lines) {
    const { verb, sourceIPs, objectRef, requestURI } = JSON.parse(line) as AuditEvent
    if (!sourceIPs.includes(address) || notOfPods.includes(objectRef?.resource ?? '')) continue
    const what = objectRef === undefined ? requestURI : [objectRef.resource, objectRef.subresource].filter(Boolean).join('/')
    const key = `${verb} ${what}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}

const startAndEnd = async (pods: TimedPods, { name }: ClusterNode, index: number): Promise<void> => {
  const pod = `${name}-${index}`
  await pods.start(pausePod(pod, name, pauseImage))
  await pods.end(pod)
}

const perPod = async (log: string, pods: TimedPods, node: ClusterNode): Promise<number> => {
  // The first one brings what is asked once and kept.
  await startAndEnd(pods, node, 0)
  await pause(settleMs)
  const from = (await readFile(log, 'utf8')).length
  for (let index = 1; index <= rounds; index++) {
    await startAndEnd(pods, node, index)
    await pause(settleMs)
  }
  const counts = [...(await countRequests(log, from, node))].toSorted(([, a], [, b]) => b - a)
  for (const [what, count] of counts) process.stderr.write(`${node.agent}: ${(count / rounds).toFixed(1)} ${what}\n`)
  return counts.reduce((sum, [, count]) => sum + count, 0) / rounds
}

const dir = await mkdtemp(`${tmpdir()}/nlt-audit-`)
const log = `${dir}/audit.log`
await writeFile(`${dir}/policy.yaml`, JSON.stringify(policy))
const apiserverFlags = [`--audit-policy-file=${dir}/policy.yaml`, `--audit-log-path=${log}`]
await inCluster({ images: [pauseImage], apiserverFlags }, async ({ controlPlane, nodes }) => {
  const pods = await createTimedPods(controlPlane)
  const [ours, theirs] = [await perPod(log, pods, nodes[0]), await perPod(log, pods, nodes[1])]
  const figure = 'requests to the apiserver for a pod, from create to gone'
  print({ figure, unit: 'requests', ours, peer, theirs, of: rounds, atMost: 1 })
  await pods.close()
  await rm(dir, { recursive: true })
})
