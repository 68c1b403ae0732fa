// A node that runs short of memory, as its cluster sees it: a condition, pods that it does not take, and one pod after the other that ends
// for the others. The threshold is one that no machine meets; it is soft, so that the pods run before they have to pay.
import type { Test } from 'tap'
import type { Pod } from '../../api/types.ts'
import type { Cluster } from '../support/cluster.ts'
import { createClusterNode } from '../support/cluster-node.ts'
import { createClusterPods } from '../support/cluster-pods.ts'
import { busyboxImage } from '../support/images.ts'
import { bareScript, idle, podOf } from '../support/manifests.ts'
import { waitFor } from '../support/wait.ts'

interface ConditionsShown {
  readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string }[] }
}

interface EventsShown {
  readonly items: readonly {
    readonly reason: string
    readonly message: string
    readonly metadata: { readonly annotations?: Readonly<Record<string, string>> }
  }[]
}

const name = 'short'
const host = 21
const config = {
  evictionHard: {},
  evictionSoft: { 'memory.available': '1Ei' },
  evictionSoftGracePeriod: { 'memory.available': '30s' },
  evictionMaxPodGracePeriod: 2,
}
/** Some class above BestEffort, whose pods a node without memory still takes. */
const burstable = { resources: { requests: { cpu: '1m' } } }

const isRunning = ({ status }: Pod) => status?.phase === 'Running'
const hasFailed = ({ status }: Pod) => status?.phase === 'Failed'

export const evicted = async (t: Test, { controlPlane, nodes }: Cluster): Promise<void> => {
  const { get, kubectl } = controlPlane
  const pods = createClusterPods(controlPlane)
  const { agent } = nodes[0]!
  // The Go kubelet looks at no signal at all while cAdvisor does not find the runtime's file system, as in a test's container.
  if (agent === 'kubelet') return
  const node = await createClusterNode({ controlPlane, name, host, agent, images: [busyboxImage], config })
  t.teardown(async () => {
    await node.close()
    await kubectl(['delete', 'node', name, '--ignore-not-found'])
    await kubectl(['delete', 'pods', '--field-selector', `spec.nodeName=${name}`, '--force', '--grace-period=0'])
  })
  await node.start()
  await node.whenReady()
  const eventsAbout = async (object: string) =>
    (await get<EventsShown>(`/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=${object}`)).items
  const memory = 'x=$(head -c 40000000 /dev/zero | tr "\\0" x); sleep 600'
  const spec = { nodeName: name, terminationGracePeriodSeconds: 1 }
  await pods.create(podOf('modest', idle(burstable), spec), podOf('greedy', bareScript(memory, burstable), spec))

  await t.test('the Node has the condition at once', async t => {
    const isPressed = async () =>
      (await get<ConditionsShown>(`/api/v1/nodes/${name}`)).status.conditions.find(
        it => it.type === 'MemoryPressure' && it.status === 'True',
      )
    t.match(await waitFor('MemoryPressure', isPressed, 20_000), { reason: 'KubeletHasInsufficientMemory' })
  })

  await t.test('it takes pods that say what they need, and no others', async t => {
    await pods.create(podOf('any', idle(), spec))
    const { status } = await pods.until('any', hasFailed)
    t.match(status, { reason: 'Evicted', message: 'Pod was rejected: The node had condition: [MemoryPressure]. ' })
    for (const pod of ['modest', 'greedy']) await pods.until(pod, isRunning)
  })

  await t.test('the pod that takes most ends first, and says why', async t => {
    const { status } = await pods.until('greedy', hasFailed, 60_000)
    t.equal(status?.reason, 'Evicted')
    t.match(
      status?.message,
      /^The node was low on resource: memory\. Threshold quantity: 1Ei, available: \d+Ki\. Container c was using \d+\w*, request is 0, has larger consumption of memory\. $/,
    )
    const condition = status?.conditions?.find(it => it.type === 'DisruptionTarget')
    t.match(condition, { status: 'True', reason: 'TerminationByKubelet', message: status?.message })
    const found = await waitFor('the Event', async () => (await eventsAbout('greedy')).find(it => it.reason === 'Evicted'))
    t.equal(found.message, status?.message)
    t.match(found.metadata.annotations, { offending_containers: 'c', starved_resource: 'memory' })
    const about = await eventsAbout(name)
    t.ok(about.some(it => it.reason === 'EvictionThresholdMet' && it.message === 'Attempting to reclaim memory'))
  })

  await t.test('then the next one', async t => {
    t.match((await pods.until('modest', hasFailed, 60_000)).status, { reason: 'Evicted' })
  })
}
