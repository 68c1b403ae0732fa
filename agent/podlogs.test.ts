// Logs and the links to them, on a real file system, also when the daemon ended between two steps of their removal.
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Pod } from '../api/types.ts'
import { podLogFolder } from './labels.ts'
import { createPodLogs } from './podlogs.ts'

const pod = (name: string): Pod => ({ metadata: { name, namespace: 'shop', uid: `uid-${name}` }, spec: { containers: [] } })
const web = pod('web')
const shop = pod('shop')

/** A node with two pods, each with one attempt of one container that has written a log. */
const setUp = async (t: Test) => {
  const dir = t.testdir({})
  const [podLogsDir, containersDir] = [join(dir, 'pods'), join(dir, 'containers')]
  const logs = createPodLogs({ podLogsDir, containersDir })
  for (const it of [web, shop]) await start(logs, it, 0)
  return { logs, podLogsDir, containersDir, links: async () => (await readdir(containersDir)).sort() }
}

const start = async (logs: ReturnType<typeof createPodLogs>, it: Pod, restartCount: number) => {
  await logs.prepare(it, 'app')
  await logs.link(it, 'app', `id-${it.metadata.name}-${restartCount}`, restartCount)
  const folder = join(logs.podLogsDir, podLogFolder(it), 'app')
  await writeFile(join(folder, `${restartCount}.log`), 'line')
  return folder
}

const linkOf = (it: Pod, restartCount: number) => `${it.metadata.name}_shop_app-id-${it.metadata.name}-${restartCount}.log`

t.test('a removed pod takes its folder and its links along, and nobody else’s', async t => {
  const { logs, podLogsDir, links } = await setUp(t)
  await logs.remove(web)
  t.same(await links(), [linkOf(shop, 0)])
  t.same(await readdir(podLogsDir), [podLogFolder(shop)])
})

t.test('a link whose folder went before it goes with the unknown', async t => {
  const { logs, podLogsDir, links } = await setUp(t)
  await rm(join(podLogsDir, podLogFolder(web)), { recursive: true })
  t.same(await logs.removeUnknown(new Set(['uid-shop'])), [])
  t.same(await links(), [linkOf(shop, 0)])
})

t.test('folders of pods that nobody knows go, with the links into them', async t => {
  const { logs, podLogsDir, links } = await setUp(t)
  await mkdir(join(podLogsDir, 'not ours'))
  t.same(await logs.removeUnknown(new Set(['uid-shop'])), [podLogFolder(web)])
  t.same(await links(), [linkOf(shop, 0)])
  t.same((await readdir(podLogsDir)).sort(), ['not ours', podLogFolder(shop)].sort())
})

t.test('an attempt that the runtime forgets takes its log, the rotated ones and its link along', async t => {
  const { logs, links } = await setUp(t)
  const folder = await start(logs, web, 1)
  await start(logs, web, 10)
  for (const name of ['1.log.20260101-000000', '1.log.20260101-000001.gz']) await writeFile(join(folder, name), 'old')
  await logs.removeContainer(web, { name: 'app', id: 'id-web-1', restartCount: 1 })
  t.same((await readdir(folder)).sort(), ['0.log', '10.log'])
  t.same(await links(), [linkOf(shop, 0), linkOf(web, 0), linkOf(web, 10)].sort())
})
