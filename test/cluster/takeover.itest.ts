// A live node changes hands: the Go kubelet and kube-proxy run it, nodelet takes it over, and gives it back. Nobody who uses its pods and
// Services is to notice: no container is restarted, no request fails. The pod network stays that of the node's own plugins.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Pod } from '../../api/types.ts'
import { connectNodes, createClusterNode } from '../support/cluster-node.ts'
import { createClusterPods } from '../support/cluster-pods.ts'
import { createControlPlane } from '../support/control-plane.ts'
import { busyboxImage, webImage } from '../support/images.ts'
import { configMap, idle, podOf, script, secret, web } from '../support/manifests.ts'
import { peer } from '../support/peers.ts'
import { waitFor } from '../support/wait.ts'

const nodePort = 30_090
const limitMs = 300_000
const root = join(import.meta.dirname, '../..')

t.setTimeout(limitMs)

const controlPlane = await createControlPlane()
t.teardown(controlPlane.close)
const { apply, get, kubectl } = controlPlane
const pods = createClusterPods(controlPlane)

/** A node that has its network already, which an agent is to leave as it is. */
const leaveNetwork = async (dir: string) => {
  const file = `${dir}/nodelet.yaml`
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), cni: { mode: 'auto' } }))
}
const images = [busyboxImage, webImage]
const node = await createClusterNode({ controlPlane, name: 'n1', host: 11, agent: 'kubelet', images, prepare: leaveNetwork })
t.teardown(node.close)
await kubectl(['apply', '-f', `${root}/deploy/rbac.yaml`])
await node.start()
await connectNodes(controlPlane, [node])
await node.whenReady()

const isRunning = ({ status }: Pod) => status?.phase === 'Running' && status.containerStatuses?.every(it => it.ready)

/** Pods of many shapes: what of them an agent keeps in the runtime, in cgroups and on the disk, the next one must find. */
const prepare = async () => {
  const resources = { requests: { cpu: '50m', memory: '16Mi' }, limits: { memory: '64Mi' } }
  const readinessProbe = { httpGet: { path: '/healthz', port: 80 }, periodSeconds: 1 }
  const livenessProbe = { httpGet: { path: '/healthz', port: 80 }, periodSeconds: 5 }
  const lifecycle = { preStop: { exec: { command: ['sleep', '2'] } } }
  const volumes = [
    { name: 'settings', configMap: { name: 'settings' } },
    { name: 'password', secret: { secretName: 'password' } },
    { name: 'scratch', emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } },
  ]
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/volumes/${name}` }))
  const env = [{ name: 'WORD', valueFrom: { configMapKeyRef: { name: 'settings', key: 'word' } } }]
  const sidecar = { ...idle(), name: 'sidecar', restartPolicy: 'Always' }
  const init = { ...script('echo ready >/volumes/scratch/init'), name: 'init', volumeMounts }
  const labels = { app: 'web' }
  const template = {
    metadata: { labels },
    spec: { terminationGracePeriodSeconds: 10, containers: [web({ resources, readinessProbe, livenessProbe, lifecycle })] },
  }
  await apply(
    configMap('settings', { word: 'hello' }),
    secret('password', { value: 'hush' }),
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web' },
      spec: { replicas: 3, selector: { matchLabels: labels }, template },
    },
    {
      ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' } },
      spec: { type: 'NodePort', selector: labels, ports: [{ port: 80, nodePort }] },
    },
    podOf('many', [idle({ volumeMounts, env, resources })], { volumes, initContainers: [sidecar, init] }),
    podOf('guaranteed', idle({ resources: { limits: { cpu: '100m', memory: '32Mi' } } })),
    podOf('done', script('exit 0'), { restartPolicy: 'Never' }),
  )
  await writeFile(`${node.manifests}/static.yaml`, JSON.stringify(podOf('static', idle())))
  await kubectl(['rollout', 'status', 'deployment/web', '--timeout=60s'], { timeoutMs: 65_000 })
  for (const name of ['many', 'guaranteed', 'static-n1']) await pods.until(name, isRunning, 40_000)
  await pods.until('done', it => it.status?.phase === 'Succeeded')
}

const all = async () => (await get<{ items: readonly Pod[] }>('/api/v1/namespaces/default/pods')).items

/**
 * What nobody may change: by pod, its identity, its address and every attempt of its containers. Not of static pods: their uid is a hash
 * that each agent makes of the manifest in its own way, the kubelet of how its memory is laid out.
 */
const factsOf = async () =>
  Object.fromEntries(
    (await all())
      .filter(it => it.metadata.name !== 'static-n1')
      .map(({ metadata, status }) => {
        const containers = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
        const attempts = containers.map(it => [it.name, it.containerID, it.restartCount, it.ready])
        return [
          metadata.name,
          { uid: metadata.uid, phase: status?.phase, ...(status?.phase === 'Running' && { ip: status.podIP }), attempts },
        ]
      }),
  )

const runBy = (version: RegExp) =>
  waitFor(
    `the node to be run by ${version}`,
    async () => {
      const { status } = await get<{ status: { nodeInfo: { kubeletVersion: string } } }>('/api/v1/nodes/n1')
      return version.test(status.nodeInfo.kubeletVersion)
    },
    30_000,
  ).catch(async error => {
    throw new Error(`${error.message}\n${(await node.log()).split('\n').slice(-30).join('\n')}`)
  })

const clusterIP = async () =>
  (await get<{ spec: { clusterIP: string } }>('/api/v1/namespaces/default/services/web')).spec.clusterIP

const tableOf = { nodelet: 'nodelet-proxy', kubelet: 'kube-proxy' } as const
/** Empty when there is no such table. */
const rulesOf = async (table: string) => (await node.netns.exec.try(['nft', 'list', 'table', 'ip', table])).stdout

/** One connection for each request, ten a second, at the node port and at the ClusterIP, while something is done. */
const underLoad = async (work: () => Promise<unknown>) => {
  const clients = [
    { netns: controlPlane.netns, url: `http://${node.address}:${nodePort}/` },
    { netns: node.netns, url: `http://${await clusterIP()}/` },
  ]
  let isOver = false
  const counts = clients.map(async ({ netns, url }) => {
    let made = 0
    const failed: string[] = []
    while (!isOver) {
      const argv = [
        'curl',
        '-sS',
        '--fail',
        '--max-time',
        '5',
        '--noproxy',
        '*',
        '--rate',
        '10/s',
        '--output',
        '/dev/null',
        `${url}?[1-10]`,
      ]
      const { exitCode, stderr } = await netns.exec.try(argv)
      if (exitCode !== 0) failed.push(stderr.trim())
      made += 10
    }
    return { made, failed }
  })
  try {
    await work()
  } finally {
    isOver = true
    await Promise.allSettled(counts)
  }
  return Promise.all(counts)
}

/** A pod made now is run and asked by the agent of now; the one that it replaces goes. @returns the name of that one */
const replaceOne = async (): Promise<string> => {
  const before = (await pods.list('app=web')).map(it => it.metadata.name ?? '')
  const [first = ''] = before
  await kubectl(['delete', 'pod', first, '--wait=false'])
  await pods.gone(first, 30_000)
  const isNew = ({ metadata }: Pod) => !before.includes(metadata.name ?? '')
  const fresh = await waitFor('the pod in its place', async () => (await pods.list('app=web')).find(isNew)?.metadata.name)
  await pods.until(fresh, it => it.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'), 30_000)
  const answers = async () =>
    (await controlPlane.netns.run(['curl', '-sS', '--noproxy', '*', `http://${node.address}:${nodePort}/`])).stdout
  await waitFor('the new pod to answer', async () => (await answers()).trim() === fresh)
  return first
}

const program = `${root}/bin/nodelet`

for (const [name, to, version, tidy] of [
  [
    'nodelet takes over from kubelet and kube-proxy',
    'nodelet',
    /\+nodelet\./,
    async () => [await peer('kube-proxy'), '--cleanup'],
  ],
  ['and gives the node back', 'kubelet', /^v1\.36\.3$/, async () => [program, 'proxy', '--cleanup']],
] as const)
  t.test(name, { timeout: limitMs }, async t => {
    if (to === 'nodelet') await prepare()
    const before = await factsOf()
    let replaced = ''
    const loads = await underLoad(async () => {
      await node.handOver(to)
      await runBy(version)
      // The rules of the proxy that is gone stand beside those of the new one until somebody takes them away.
      await waitFor('rules of the new proxy', async () => (await rulesOf(tableOf[to])).includes(await clusterIP()), 30_000)
      await node.netns.run(await tidy(), { timeoutMs: 60_000 })
      replaced = await replaceOne()
    })
    for (const { made, failed } of loads) t.same(failed, [], `${made} requests`)
    const { [replaced]: _, ...stayed } = before
    t.equal(Object.keys(stayed).length, 5)
    t.match(await factsOf(), stayed, 'no pod that stayed has changed in anything')
    await pods.until('static-n1', isRunning, 40_000).catch(async error => {
      throw new Error(`${error.message}\n${(await node.log()).split('\n').slice(-60).join('\n')}`)
    })
    t.equal(
      await pods.exec('many', ['cat', '/volumes/settings/word', '/volumes/password/value', '/volumes/scratch/init']),
      'hellohushready',
    )
    t.equal(await rulesOf(tableOf[to === 'nodelet' ? 'kubelet' : 'nodelet']), '', 'the rules of the other proxy are gone')
  })
