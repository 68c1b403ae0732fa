// The folder source against a real folder and real inotify; the slow rescan is switched off where it is not the point.
import { mkdir, mkdtemp, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Source } from '../../api/source.ts'
import type { KubeObject } from '../../api/types.ts'
import { systemClock } from '../../host/clock.ts'
import { silentLog } from '../../host/log.ts'
import { describeManifestProblem } from './desired.ts'
import { createManifestSources, type ManifestSources } from './manifests.ts'

const pod = (name: string, image = 'web:1') =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec: {containers: [{name: main, image: '${image}'}]}\n`
const configMap = (value: string) => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '${value}'}\n`

interface Change {
  readonly kind: string
  readonly what: string
}

/** Records changes and lets a test await the next one. */
const record = (sources: ManifestSources) => {
  const changes: Change[] = []
  let wake = () => {}
  const follow = <T extends KubeObject>(kind: string, source: Source<T>) =>
    source.subscribe({
      changed: (before, after) => {
        const [verb, object] = before === undefined ? ['+', after] : after === undefined ? ['-', before] : ['*', after]
        changes.push({ kind, what: `${verb}${object?.metadata.name}` })
        wake()
      },
    })
  follow('Pod', sources.pods)
  follow('ConfigMap', sources.configMaps)
  return {
    changes,
    /** Waits for so many changes in all; an event must bring them within the deadline. */
    until: async (count: number, deadlineMs = 2000) => {
      const end = performance.now() + deadlineMs
      while (changes.length < count) {
        const left = end - performance.now()
        if (left <= 0) throw new Error(`only ${JSON.stringify(changes)}`)
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = resolve
        await Promise.race([promise, systemClock.sleep(left)])
      }
      return changes.map(({ what }) => what)
    },
  }
}

const setUp = async (t: { teardown(run: () => unknown): void }, sub = 'manifests') => {
  const root = await mkdtemp(join(tmpdir(), 'nodelet-sources-'))
  // timers of the clock do not keep the process alive, and neither does a folder that is not there yet
  const alive = setInterval(() => {}, 1000)
  const folder = join(root, sub)
  const start = (path = folder, fileCheckMs = 3_600_000) => {
    const sources = createManifestSources({ path, nodeName: 'n', clock: systemClock, log: silentLog, fileCheckMs })
    t.teardown(() => sources.stop())
    return { sources, ...record(sources) }
  }
  t.teardown(async () => {
    clearInterval(alive)
    await rm(root, { recursive: true, force: true })
  })
  return { root, folder, start, file: (name: string) => join(folder, name) }
}

t.test('files that come, change and go take effect within 100 ms', async t => {
  const { folder, start, file } = await setUp(t)
  await mkdir(folder)
  await writeFile(file('a.yaml'), pod('a'))
  const { sources, until } = start()
  await sources.pods.synced
  t.same(await until(1), ['+a-n'])
  const timed = async (count: number, act: () => Promise<unknown>) => {
    await act()
    const from = performance.now()
    const changes = await until(count)
    const took = performance.now() - from
    t.ok(took < 100, `${took.toFixed(0)} ms`)
    return changes.at(-1)
  }
  t.equal(await timed(2, () => writeFile(file('b.yaml'), pod('b'))), '+b-n')
  t.equal(await timed(3, () => writeFile(file('b.yaml'), pod('b', 'web:2'))), '*b-n')
  t.equal(await timed(4, () => rm(file('b.yaml'))), '-b-n')
})

t.test('an editor that writes by rename changes the pod once and never removes it', async t => {
  const { folder, start, file } = await setUp(t)
  await mkdir(folder)
  await writeFile(file('a.yaml'), pod('a'))
  const { until } = start()
  await until(1)
  await writeFile(file('.a.yaml.swp'), 'x')
  await writeFile(file('.a.yaml.tmp'), pod('a', 'web:2'))
  await rename(file('.a.yaml.tmp'), file('a.yaml'))
  t.same(await until(2), ['+a-n', '*a-n'])
  await rename(file('a.yaml'), file('a.yaml~'))
  await writeFile(file('a.yaml'), pod('a', 'web:3'))
  t.same(await until(3), ['+a-n', '*a-n', '*a-n'])
})

t.test('a file that is being rewritten in place does not lose its pods', async t => {
  const { folder, start, file } = await setUp(t)
  await mkdir(folder)
  await writeFile(file('a.yaml'), `${pod('a')}---\n${pod('b')}`)
  const { until, sources } = start()
  await until(2)
  await writeFile(file('a.yaml'), pod('a', 'web:2'))
  await sources.rescan()
  await writeFile(file('a.yaml'), `${pod('a', 'web:2')}---\n${pod('b', 'web:2')}`)
  t.same(await until(4), ['+a-n', '+b-n', '*a-n', '*b-n'])
})

t.test('a changed ConfigMap leaves the pod of its file alone, and so do comments', async t => {
  const { folder, start, file } = await setUp(t)
  await mkdir(folder)
  await writeFile(file('a.yaml'), `${configMap('1')}---\n${pod('a')}`)
  const { until, changes } = start()
  t.same(await until(2), ['+c', '+a-n'])
  await writeFile(file('a.yaml'), `# words\n${configMap('2')}---\n${pod('a')}`)
  t.same(await until(3), ['+c', '+a-n', '*c'])
  t.equal(changes.filter(({ kind }) => kind === 'Pod').length, 1)
})

t.test('a folder that comes later, goes and comes back is followed', async t => {
  const { folder, start, file } = await setUp(t)
  const { sources, until } = start()
  await sources.pods.synced
  t.ok(sources.services.isSynced, 'an absent folder is an empty one')
  await mkdir(folder)
  await writeFile(file('a.yaml'), pod('a'))
  t.same(await until(1), ['+a-n'])
  await rm(folder, { recursive: true })
  t.same(await until(2), ['+a-n', '-a-n'])
  await mkdir(folder)
  await writeFile(file('b.yaml'), pod('b'))
  t.same(await until(3), ['+a-n', '-a-n', '+b-n'])
})

t.test('dot files, backups and subfolders are not read', async t => {
  const { folder, start, file } = await setUp(t)
  await mkdir(join(folder, 'sub.yaml'), { recursive: true })
  await writeFile(file('.hidden.yaml'), pod('hidden'))
  await writeFile(file('old.yaml~'), pod('old'))
  await writeFile(file('a'), pod('a'))
  const { sources, until } = start()
  await sources.pods.synced
  t.same(await until(1), ['+a-n'])
  t.same(sources.problems(), [])
})

t.test('a mounted volume that is swapped by a link is followed', async t => {
  const { start, file } = await setUp(t)
  for (const [version, image] of [
    ['..1', 'web:1'],
    ['..2', 'web:2'],
  ] as const) {
    await mkdir(file(version), { recursive: true })
    await writeFile(join(file(version), 'a.yaml'), pod('a', image))
  }
  await symlink('..1', file('..data'))
  await symlink('..data/a.yaml', file('a.yaml'))
  const { until } = start()
  await until(1)
  await symlink('..2', file('..new'))
  await rename(file('..new'), file('..data'))
  t.same(await until(2), ['+a-n', '*a-n'])
})

t.test('one file may take the place of the folder', async t => {
  const { root, start } = await setUp(t)
  const path = join(root, 'only.yaml')
  await writeFile(path, pod('a'))
  await writeFile(join(root, 'other.yaml'), pod('other'))
  const { until } = start(path)
  t.same(await until(1), ['+a-n'])
  await writeFile(path, pod('a', 'web:2'))
  t.same(await until(2), ['+a-n', '*a-n'])
})

t.test('a change that made no event is found by the slow rescan', async t => {
  const { folder, file } = await setUp(t)
  await mkdir(folder)
  await writeFile(file('a.yaml'), pod('a'))
  const blind = createManifestSources({
    path: folder,
    nodeName: 'n',
    clock: systemClock,
    log: silentLog,
    fileCheckMs: 20,
    watch: () => ({ close() {} }),
  })
  t.teardown(() => blind.stop())
  const { until } = record(blind)
  await until(1)
  await writeFile(file('b.yaml'), pod('b'))
  t.same(await until(2), ['+a-n', '+b-n'])
})

t.test('problems are told until they are gone, and a broken file keeps its pod', async t => {
  const { folder, start, file } = await setUp(t)
  await mkdir(folder)
  await writeFile(file('a.yaml'), pod('a'))
  const { sources, until, changes } = start()
  await until(1)
  await writeFile(file('a.yaml'), 'kind: [\n')
  // older than the moment in which a file may still be in the middle of being written
  await utimes(file('a.yaml'), 1, 1)
  await sources.rescan()
  t.match(sources.problems().map(describeManifestProblem), [
    /^a.yaml: document 1, line \d+: .* \(what was there before keeps running\)$/,
  ])
  t.same(changes.length, 1)
  await writeFile(file('a.yaml'), pod('a', 'web:2'))
  await until(2)
  t.same(sources.problems(), [])
})
