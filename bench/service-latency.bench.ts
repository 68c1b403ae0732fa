// From a ready pod to an answer through its ClusterIP: each pod has a Service of its own that waits for it. The clock starts when the
// daemon reports the pod Ready, and stops when a client on a host beside the node is answered by HTTP at the ClusterIP.
// Prints a figure; needs root and Debian's containerd.
import { once } from 'node:events'
import { rename, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Service } from '../api/service-types.ts'
import type { Pod } from '../api/types.ts'
import { systemClock as clock } from '../host/clock.ts'
import { systemExec } from '../host/exec.ts'
import { webImage } from '../test/support/images.ts'
import { waitFor } from '../test/support/wait.ts'
import { alone } from './alone.ts'
import { percentile, print } from './figure.ts'
import { createNodeletNode, type NodeletNode } from './nodelet-node.ts'

const rounds = 20
const pollMs = 1
const patienceMs = 60_000

const until = async (what: string, check: () => Promise<boolean>): Promise<void> => {
  const deadline = clock.monotonic() + patienceMs
  while (!(await check())) {
    if (clock.monotonic() > deadline) throw new Error(`waited too long for ${what}`)
    await sleep(pollMs)
  }
}

const documents = (name: string) => ({
  pod: {
    ...{ apiVersion: 'v1', kind: 'Pod' },
    metadata: { name, namespace: 'default', labels: { app: name } },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          ...{ name: 'web', image: webImage },
          readinessProbe: { httpGet: { path: '/healthz', port: 80 }, periodSeconds: 1 },
        },
      ],
    },
  },
  service: {
    ...{ apiVersion: 'v1', kind: 'Service' },
    metadata: { name, namespace: 'default' },
    spec: { selector: { app: name }, ports: [{ port: 80 }] },
  },
})

/** One request; whatever is not an answer of the server is none. */
const isAnswered = async (address: string): Promise<boolean> => {
  const socket = connect({ host: address, port: 80 })
  socket.setTimeout(1000, () => socket.destroy())
  try {
    socket.write('GET /healthz HTTP/1.0\r\n\r\n')
    const [bytes] = (await once(socket, 'data')) as [Buffer]
    return bytes.toString().includes(' 200 ')
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

const isReady = (pod: Pod | undefined) =>
  pod?.status?.conditions?.some(it => it.type === 'Ready' && it.status === 'True') ?? false

const measure = async (node: NodeletNode, name: string): Promise<number> => {
  const { pod, service } = documents(name)
  await writeFile(`${node.manifests}/${name}-service.json`, JSON.stringify(service))
  const clusterIP = await waitFor('the address of the Service', async () => {
    const { items } = await node.ask<{ items: readonly Service[] }>('/v1/services')
    return items.find(it => it.metadata.name === name)?.spec.clusterIP
  })
  await writeFile(`${node.manifests}/.${name}`, JSON.stringify(pod))
  await rename(`${node.manifests}/.${name}`, `${node.manifests}/${name}.json`)
  await until(`${name} to be ready`, async () => isReady((await node.pods()).find(it => it.metadata.labels?.['app'] === name)))
  const began = clock.monotonic()
  await until(`${clusterIP} to answer`, () => isAnswered(clusterIP))
  const took = clock.monotonic() - began
  for (const file of [`${name}.json`, `${name}-service.json`]) await rm(`${node.manifests}/${file}`)
  return took
}

await alone(async () => {
  const node = await createNodeletNode()
  try {
    // This namespace is another host of the node's network: the node routes the cluster's addresses.
    await systemExec.run(['ip', 'route', 'add', '10.96.0.0/16', 'via', node.address])
    const times: number[] = []
    for (let index = 0; index <= rounds; index++) {
      const took = await measure(node, `web-${index}`)
      if (index > 0) times.push(took)
    }
    print({
      figure: 'ready pod to answered through its ClusterIP, p50',
      ...{ unit: 'ms', ours: percentile(times, 0.5), under: 30, of: rounds },
      note: `p95 ${Math.round(percentile(times, 0.95))} ms`,
    })
  } finally {
    await node.close()
  }
})
