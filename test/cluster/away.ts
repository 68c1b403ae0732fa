// The apiserver goes and comes back: what runs goes on meanwhile, also through a restart of the agent and a reboot of the machine, and
// nothing is restarted on its return that need not be. AWAY_SECONDS is how long it stays away each time, 5 by default.
import type { Test } from 'tap'
import type { Pod } from '../../api/types.ts'
import type { Cluster } from '../support/cluster.ts'
import { createClusterPods } from '../support/cluster-pods.ts'
import { bareScript, podOf, web } from '../support/manifests.ts'
import { isReady } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const awayMs = Number(process.env['AWAY_SECONDS'] ?? 5) * 1000
/** After so long without a sign of a node the controller manager calls its pods not ready, whatever they are. */
const nodeGraceMs = 40_000
const stayAway = () => new Promise(resolve => setTimeout(resolve, awayMs))

const idsOf = ({ status }: Pod) => status?.containerStatuses?.map(it => it.containerID)
const restartsOf = ({ status }: Pod) => status?.containerStatuses?.[0]?.restartCount

export const away = async (t: Test, { controlPlane, nodes }: Cluster): Promise<void> => {
  const { apply, send, get, stopApiserver, startApiserver } = controlPlane
  const pods = createClusterPods(controlPlane)
  const node = nodes[0]!
  const service = { selector: { app: 'stays' }, ports: [{ port: 80, targetPort: 80 }] }
  await apply({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'stays' }, spec: service })
  const label = { labels: { app: 'stays' } }
  const readinessProbe = { httpGet: { path: '/healthz', port: 80 }, periodSeconds: 1 }
  await pods.create(podOf('stays', web({ readinessProbe }) as never, { nodeName: node.name }, label as never))
  await pods.create(podOf('crashes', bareScript('sleep 1; exit 1') as never, { nodeName: node.name }))
  const before = await pods.until('stays', isReady)
  await pods.until('crashes', it => it.status?.phase === 'Running')
  const { spec } = await get<{ spec: { clusterIP: string } }>('/api/v1/namespaces/default/services/stays')

  /** What the Service answers a caller on each node. */
  const answers = () =>
    Promise.all(
      nodes.map(async ({ netns }) => {
        const argv = ['curl', '-sS', '--fail', '--max-time', '3', '--noproxy', '*', `http://${spec.clusterIP}/`]
        return (await netns.run(argv)).stdout.trim()
      }),
    )
  const everywhere = nodes.map(() => 'stays')
  const attempts = async () => {
    const containers = await node.containerd.cri.listContainers()
    return Math.max(...containers.filter(it => it.labels['io.kubernetes.pod.name'] === 'crashes').map(it => it.metadata.attempt))
  }
  const runningOf = async (name: string) => {
    const containers = await node.containerd.cri.listContainers()
    return containers
      .filter(it => it.labels['io.kubernetes.pod.name'] === name && it.state === 'CONTAINER_RUNNING')
      .map(it => it.id)
  }
  /** The Ready condition of the pod as a watching client sees it change. */
  const transitionOf = (pod: Pod) => pod.status?.conditions?.find(it => it.type === 'Ready')?.lastTransitionTime
  // A test that fails must not take the apiserver from those that follow.
  t.afterEach(startApiserver)
  await waitFor('the Service', async () => `${await answers()}` === `${everywhere}`)

  await t.test('without the apiserver pods run, crashed ones start again and Services are routed', async t => {
    const first = await attempts()
    await stopApiserver()
    await stayAway()
    await waitFor('another attempt of the pod that crashes', async () => (await attempts()) > first, 60_000)
    t.same(await answers(), everywhere)
    await startApiserver()
    const after = await pods.until('crashes', it => (restartsOf(it) ?? 0) > first, 60_000)
    t.ok((restartsOf(after) ?? 0) > first, 'it is told when the apiserver is back')
    const stayed = await pods.until('stays', isReady)
    t.same(idsOf(stayed), idsOf(before))
    if (awayMs < nodeGraceMs) t.equal(transitionOf(stayed), transitionOf(before), 'it was never told to be not ready')
  })

  await t.test('an agent that starts without the apiserver takes over what runs', async t => {
    await stopApiserver()
    await node.kill9()
    t.same(await answers(), everywhere, 'Services are routed without an agent')
    await node.start()
    await stayAway()
    t.same(await runningOf('stays'), [idsOf(before)?.[0]?.replace('containerd://', '')])
    t.same(await answers(), everywhere)
    await startApiserver()
    await node.whenReady(60_000)
    const stayed = await pods.until('stays', isReady)
    t.same(idsOf(stayed), idsOf(before))
    t.equal(restartsOf(stayed), 0)
  })

  // The Go kubelet keeps no pods of the apiserver on disk: it has nothing to start.
  if (node.agent === 'nodelet') {
    await t.test(
      'a node that boots without the apiserver starts its pods from disk, and keeps them when the apiserver is back',
      async t => {
        await stopApiserver()
        await node.reboot()
        const [id] = await waitFor(
          'the pod to run',
          async () => ((await runningOf('stays')).length > 0 ? runningOf('stays') : undefined),
          60_000,
        )
        await stayAway()
        const { stdout } = await node.containerd.cri.execSync(id ?? '', ['wget', '-qO-', 'http://127.0.0.1/'], 10)
        t.equal(String(stdout).trim(), 'stays', 'it serves')
        await startApiserver()
        await node.whenReady(60_000)
        const after = await pods.until('stays', it => isReady(it) && idsOf(it)?.[0] !== idsOf(before)?.[0], 60_000)
        t.equal(after.metadata.uid, before.metadata.uid)
        t.same(idsOf(after), [`containerd://${id}`], 'what was started from disk is what runs')
        // The controller manager, which makes the EndpointSlices, comes back to the apiserver in its own time: up to half a minute.
        t.ok(await waitFor('its new address on both nodes', async () => `${await answers()}` === `${everywhere}`, 60_000))
      },
    )
  }

  await pods.remove('stays', 'crashes')
  await send('DELETE', '/api/v1/namespaces/default/services/stays')
}
