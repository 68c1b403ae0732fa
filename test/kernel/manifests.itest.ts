// The folder of manifests in real time: what comes, changes and goes there takes effect within 100 ms. In this ring since its files run
// one at a time; agent/sources/manifests.test.ts has the rest, on a fake clock.
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createManifestSources } from '../../agent/sources/manifests.ts'
import { systemClock } from '../../host/clock.ts'
import { silentLog } from '../../host/log.ts'

const configMap = (value: string) => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '${value}'}\n`
const rounds = 9
const deadlineMs = 5000

const median = (all: readonly number[]): number => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)]!

t.test('a file that comes, changes or goes takes effect within 100 ms', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'nodelet-sources-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const sources = createManifestSources({
    path: folder,
    nodeName: 'n',
    clock: systemClock,
    log: silentLog,
    fileCheckMs: 3_600_000,
  })
  t.teardown(() => sources.stop())
  let seen = (_: string | undefined) => {}
  sources.configMaps.subscribe({ changed: (_, after) => seen(after?.data?.['a']) })
  await sources.configMaps.synced

  const file = join(folder, 'c.yaml')
  const measure = async (act: () => Promise<unknown>, expected: string | undefined) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    seen = value => {
      if (value === expected) resolve()
    }
    // the clock's timers keep no process alive
    const late = setTimeout(resolve, deadlineMs)
    const from = performance.now()
    await act()
    await promise
    clearTimeout(late)
    return performance.now() - from
  }
  const byRename = async (value: string) => {
    await writeFile(`${file}~`, configMap(value))
    await rename(`${file}~`, file)
  }
  const took = { comes: [] as number[], changes: [] as number[], replaced: [] as number[], goes: [] as number[] }
  for (let round = 0; round < rounds; round += 1) {
    took.comes.push(await measure(() => writeFile(file, configMap('1')), '1'))
    took.changes.push(await measure(() => writeFile(file, configMap('2')), '2'))
    took.replaced.push(await measure(() => byRename('3'), '3'))
    took.goes.push(await measure(() => rm(file), undefined))
  }
  for (const [what, all] of Object.entries(took)) t.ok(median(all) < 100, `${what}: ${median(all).toFixed(1)} ms`)
})
