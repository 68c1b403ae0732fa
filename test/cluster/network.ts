// Nodes that the scheduler uses: Ready soon, pods spread over them, every pod and every Service reached from everywhere.
import type { Test } from 'tap'
import type { Pod } from '../../api/types.ts'
import { agent, type Cluster } from '../support/cluster.ts'
import { createClusterPods } from '../support/cluster-pods.ts'
import { web } from '../support/manifests.ts'
import { waitFor } from '../support/wait.ts'

const nodePort = 30_080
const app = (name: string) => ({ matchLabels: { app: name } })

const deployment = (name: string, replicas: number, container: object, more: object = {}) => ({
  ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name } },
  spec: {
    ...{ replicas, selector: app(name), ...more },
    template: { metadata: { labels: { app: name } }, spec: { terminationGracePeriodSeconds: 10, containers: [container] } },
  },
})

const nodePortService = (name: string, port: number) => ({
  ...{ apiVersion: 'v1', kind: 'Service', metadata: { name } },
  spec: { type: 'NodePort', selector: { app: name }, ports: [{ port: 80, targetPort: 80, nodePort: port }] },
})

const probed = (more: object = {}) =>
  web({ readinessProbe: { httpGet: { path: '/healthz', port: 80 }, periodSeconds: 1 }, ...more })

const addressOf = ({ status }: Pod) => status?.podIP ?? ''

/** One connection for each request, so many a second, until they are all made. */
const requests = (url: string, count: number, perSecond: number): readonly string[] => [
  ...['curl', '--silent', '--show-error', '--fail', '--max-time', '5', '--header', 'Connection: close', '--noproxy', '*'],
  ...['--rate', `${perSecond}/s`, '--output', '/dev/null', '--write-out', '%{http_code}\n', `${url}/?[1-${count}]`],
]

export const network = async (t: Test, { controlPlane, nodes, readyAfterMs }: Cluster): Promise<void> => {
  const { kubectl, apply } = controlPlane
  const pods = createClusterPods(controlPlane)
  const clusterIPOf = async (name: string) =>
    (await controlPlane.get<{ spec: { clusterIP: string } }>(`/api/v1/namespaces/default/services/${name}`)).spec.clusterIP
  const nodeOf = ({ spec }: Pod) => nodes.find(it => it.name === spec.nodeName)!
  /** What a program in a pod prints, by way of the runtime: it costs less than kubectl, twenty times over. */
  const inPod = async (pod: Pod, argv: readonly string[]) => {
    const id = pod.status?.containerStatuses?.[0]?.containerID?.replace('containerd://', '') ?? ''
    return String((await nodeOf(pod).containerd.cri.execSync(id, argv, 30)).stdout)
  }

  await t.test('a node is Ready within three seconds of the start of its agent', async t => {
    for (const ms of readyAfterMs) t.ok(ms < 3000, `${Math.round(ms)} ms`)
  })

  await t.test('kubectl get nodes shows version, address and runtime', async t => {
    const lines = (await kubectl(['get', 'nodes', '-o', 'wide', '--no-headers'])).split('\n')
    t.equal(lines.length, nodes.length)
    for (const { name, address } of nodes) {
      const fields = lines.find(it => it.startsWith(`${name} `))?.split(/\s+/) ?? []
      t.match(fields, [name, 'Ready', /.*/, /.*/, /^v1\.36\./, address], fields.join(' '))
      t.match(fields.at(-1), /^containerd:\/\//)
    }
  })

  await t.test('a Deployment of 20 becomes available on both nodes', async t => {
    await apply(deployment('web', 20, probed()), nodePortService('web', nodePort))
    await kubectl(['rollout', 'status', 'deployment/web', '--timeout=90s'], { timeoutMs: 95_000 })
    const found = await pods.list('app=web')
    t.equal(new Set(found.map(addressOf)).size, 20, 'each pod has an address of its own')
    t.same([...new Set(found.map(it => it.spec.nodeName))].sort(), nodes.map(it => it.name).sort())
  })

  await t.test('every pod reaches every other by its address, on the same node and on the other', async t => {
    const found = await pods.list('app=web')
    const script = found.map(it => `timeout 5 wget -qO- http://${addressOf(it)}/`).join('; ')
    const expected = found.map(it => it.metadata.name).join('\n')
    for (const pod of found) t.equal((await inPod(pod, ['sh', '-c', script])).trim(), expected, `from ${pod.metadata.name}`)
  })

  await t.test('a ClusterIP is answered by pods of both nodes, for pods and for the nodes themselves', async t => {
    const url = `http://${await clusterIPOf('web')}/`
    const found = await pods.list('app=web')
    const clients = nodes.map(({ name }) => found.find(it => it.spec.nodeName === name)!)
    const script = `for i in $(seq 20); do timeout 5 wget -qO- ${url}; done`
    const nodesOf = (text: string) => {
      const names = text.trim().split('\n')
      return [...new Set(names.map(name => found.find(it => it.metadata.name === name)?.spec.nodeName))].sort()
    }
    for (const pod of clients)
      t.same(nodesOf(await inPod(pod, ['sh', '-c', script])), ['n1', 'n2'], `from a pod on ${pod.spec.nodeName}`)
    for (const { netns, name } of nodes) {
      const { stdout } = await netns.run(['curl', '-sS', '--fail', '--max-time', '5', '--noproxy', '*', url])
      t.ok(
        found.some(it => it.metadata.name === stdout.trim()),
        `from ${name} itself`,
      )
    }
  })

  await t.test('a node port is answered on each node for somebody outside', async t => {
    const found = await pods.list('app=web')
    for (const { address } of nodes) {
      const url = `http://${address}:${nodePort}/`
      const { stdout } = await controlPlane.netns.run(['curl', '-sS', '--fail', '--max-time', '5', '--noproxy', '*', url])
      t.ok(
        found.some(it => it.metadata.name === stdout.trim()),
        `${address}: ${stdout.trim()}`,
      )
    }
  })

  await t.test('a rolling update under constant load loses no request', async t => {
    const port = nodePort + 1
    const lifecycle = { preStop: { exec: { command: ['sleep', '2'] } } }
    const strategy = { strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 2 } } }
    await apply(deployment('rolling', 4, probed({ lifecycle }), strategy), nodePortService('rolling', port))
    await kubectl(['rollout', 'status', 'deployment/rolling', '--timeout=60s'])
    const clients = [
      ...nodes.map(({ address }) => ({ netns: controlPlane.netns, url: `http://${address}:${port}` })),
      { netns: nodes[0]!.netns, url: `http://${await clusterIPOf('rolling')}` },
    ]
    for (const { netns, url } of clients) await waitFor(url, () => netns.run(requests(url, 1, 1)))
    const before = (await pods.list('app=rolling')).map(it => it.metadata.uid)
    const count = 300
    let under = true
    const ask = ({ netns, url }: (typeof clients)[number]) => netns.exec.try(requests(url, count, 20), { timeoutMs: 60_000 })
    const load = Promise.all(clients.map(ask)).finally(() => {
      under = false
    })
    await kubectl(['rollout', 'restart', 'deployment/rolling'])
    await kubectl(['rollout', 'status', 'deployment/rolling', '--timeout=60s'])
    const isOver = async () => (await pods.list('app=rolling')).every(it => !before.includes(it.metadata.uid))
    await waitFor('the old pods to be gone', isOver, 30_000)
    t.ok(under, 'the load goes on until the last old pod is gone')
    const results = await load
    for (const [index, { stdout, stderr }] of results.entries()) {
      const codes = stdout.trim().split('\n')
      t.equal(codes.filter(it => it === '200').length, count, `${clients[index]!.url}: ${stderr.split('\n')[0]}`)
    }
  })

  await t.test('what is deleted is gone from nodes and Services', async t => {
    await kubectl(['delete', 'deployment/web', 'deployment/rolling', 'service/web', 'service/rolling', '--wait=false'])
    const left = async () => [...(await pods.list('app=web')), ...(await pods.list('app=rolling'))]
    await waitFor('all pods to be gone', async () => (await left()).length === 0, 40_000)
    for (const { containerd, name } of nodes) {
      const running = async () => (await containerd.cri.listContainers()).filter(it => it.state === 'CONTAINER_RUNNING')
      t.same(await running(), [], `nothing runs on ${name} (${agent})`)
    }
  })
}
