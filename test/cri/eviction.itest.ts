// A node that runs short, as its user sees it: its conditions, images that nobody uses, pods of the folder that go on. The threshold is
// one that no disk meets.
import t from 'tap'
import type { KubeObject } from '../../agent/server/wire.ts'
import { createDaemon } from '../../cli/socket.ts'
import { busyboxImage, webImage } from '../support/images.ts'
import { idle, podOf } from '../support/manifests.ts'
import { createNode, isReady } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

interface ShownNode extends KubeObject {
  readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string }[] }
}

t.setTimeout(0)

const start = async (config: Readonly<Record<string, unknown>>, images: readonly string[] = []) => {
  const node = await createNode({ config, containerd: { images: [busyboxImage, ...images] } })
  t.teardown(() => node.close())
  return node
}

type Node = Awaited<ReturnType<typeof start>>

const conditions = async (node: Node): Promise<Readonly<Record<string, string>>> => {
  const { status } = await createDaemon(node.socket).json<ShownNode>('/v1/node')
  return Object.fromEntries(status.conditions.map(it => [it.type, `${it.status} ${it.reason}`]))
}

const pressed = (node: Node, type: string) =>
  waitFor(`${type} of the node`, async () => (await conditions(node))[type]?.startsWith('True'), 30_000)

t.test('a disk that is too full is the condition of the node, unused images go, and pods of the folder stay', async t => {
  const node = await start({ evictionHard: { 'nodefs.available': '99.9%' } }, [webImage])
  const has = async (image: string) => (await node.containerd.cri.imageStatus({ image })).image !== null
  t.ok(await has(webImage))
  await node.write('pods.json', podOf('web', idle()))
  const web = await node.until('web', isReady)
  await pressed(node, 'DiskPressure')
  t.match(await conditions(node), {
    DiskPressure: 'True KubeletHasDiskPressure',
    MemoryPressure: 'False KubeletHasSufficientMemory',
    PIDPressure: 'False KubeletHasSufficientPID',
  })
  await waitFor('the unused image to go', async () => !(await has(webImage)), 30_000)
  t.ok(await has(busyboxImage), 'one in use stays')
  await waitFor(
    'the node to find nobody who may go',
    async () => (await node.messages()).includes('the node runs short, and no pod may be evicted'),
    30_000,
  )
  t.equal((await node.pod('web'))?.metadata.uid, web.metadata.uid)
  t.ok(isReady((await node.pod('web'))!))

  t.comment('one more of the folder is taken all the same')
  await node.write('more.json', podOf('more', idle()))
  await node.until('more', isReady)
})

t.test('memory and process ids are told apart', async t => {
  const node = await start({ evictionHard: { 'memory.available': '8Ei', 'pid.available': '1' } })
  await pressed(node, 'MemoryPressure')
  t.match(await conditions(node), {
    MemoryPressure: 'True KubeletHasInsufficientMemory',
    DiskPressure: 'False KubeletHasNoDiskPressure',
    PIDPressure: 'False KubeletHasSufficientPID',
  })
})
