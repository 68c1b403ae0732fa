// Two hundred manifests at once: as many pods as the node has places for run, the others say why not. A node with more places takes
// those too, and touches none that run.
import { readFile, writeFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import type { Pod } from '../../api/types.ts'
import { pauseImage } from '../support/images.ts'
import { podOf } from '../support/manifests.ts'
import { createNode, isReady, statusOf } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

t.setTimeout(0)
const node = await createNode({ containerd: { images: [] } })
t.teardown(() => node.close())

const names = Array.from({ length: 200 }, (_, index) => `pod-${index}`)
const list = () => node.list<Pod>('/v1/pods')
/** All pods, as soon as so many are ready. */
const whenReady = async (count: number, t: Test) => {
  const started = performance.now()
  const check = async () => {
    const now = await list()
    return now.filter(isReady).length === count ? now : undefined
  }
  const pods = await waitFor(`${count} pods to run`, check, 120_000)
  t.comment(`${count} pods run after ${((performance.now() - started) / 1000).toFixed(1)} s`)
  return pods
}
const addressesOf = (pods: readonly Pod[]) => new Set(pods.filter(isReady).map(it => it.status?.podIP))
const idsOf = (pods: readonly Pod[]) => new Map(pods.filter(isReady).map(it => [it.metadata.name, statusOf(it)?.containerID]))

await node.write(
  'pods.json',
  names.map(name => podOf(name, { name: 'c', image: pauseImage })),
)
let first: readonly Pod[] = []

t.test('with the default of 110 places, 110 run and 90 say OutOfpods', async t => {
  first = await whenReady(110, t)
  t.equal(first.length, 200)
  t.equal(addressesOf(first).size, 110, 'each has an address of its own')
  const refused = first.filter(it => it.status?.phase === 'Failed')
  t.equal(refused.length, 90)
  t.same(new Set(refused.map(it => it.status?.reason)), new Set(['OutOfpods']))
  t.same(
    new Set(refused.map(it => it.status?.message)),
    new Set(["Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 110, capacity: 110"]),
  )
})

t.test('with 250 places all 200 run; those that ran are the same', async t => {
  await node.stop()
  const config = JSON.parse(await readFile(`${node.dir}/kubelet.json`, 'utf8'))
  await writeFile(`${node.dir}/kubelet.json`, JSON.stringify({ ...config, maxPods: 250 }))
  await node.start()
  const all = await whenReady(200, t)
  t.equal(addressesOf(all).size, 200)
  const ids = idsOf(all)
  for (const [name, id] of idsOf(first)) t.equal(ids.get(name), id, name)
})

t.test('all go, and nothing of them stays', async t => {
  await node.remove('pods.json')
  await waitFor('all to go', async () => (await list()).length === 0, 120_000)
  await waitFor('the runtime to forget them', async () => (await node.containerd.cri.listPodSandbox()).length === 0, 60_000)
  const links = (await node.netns.run(['ip', '-br', 'link'])).stdout.split('\n')
  t.same(
    links.filter(it => it.startsWith('nlp')),
    [],
  )
})
