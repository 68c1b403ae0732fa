// The folder source against a real folder and real inotify. Time is a fake clock's: it moves only while a test waits for a change, so
// that a busy machine cannot come between the two writes of one save. test/kernel/manifests.itest.ts measures real time.
import { mkdir, mkdtemp, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { KubeObject } from '../../api/meta.ts'
import type { Source } from '../../api/source.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { systemClock } from '../../host/clock.ts'
import { silentLog } from '../../host/log.ts'
import { describeManifestProblem } from './desired.ts'
import { inotify, type WatchFolder } from './folder.ts'
import { createManifestSources, type ManifestSources } from './manifests.ts'

const pod = (name: string, image = 'web:1') =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec: {containers: [{name: main, image: '${image}'}]}\n`
const configMap = (value: string) => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '${value}'}\n`

interface Change {
  readonly kind: string
  readonly what: string
}

/** Records changes. */
const record = (sources: ManifestSources): readonly Change[] => {
  const changes: Change[] = []
  const follow = <T extends KubeObject>(kind: string, source: Source<T>) =>
    source.subscribe({
      changed: (before, after) => {
        const [verb, object] = before === undefined ? ['+', after] : after === undefined ? ['-', before] : ['*', after]
        changes.push({ kind, what: `${verb}${object?.metadata.name}` })
      },
    })
  follow('Pod', sources.pods)
  follow('ConfigMap', sources.configMaps)
  return changes
}

// Only what fails takes this long.
const deadlineMs = 20_000

/** Waits in real time until something is so. */
const eventually = async (what: () => unknown, isSo: () => boolean, turn: () => Promise<unknown>) => {
  for (const end = performance.now() + deadlineMs; !isSo(); await turn()) {
    if (performance.now() > end) throw new Error(`only ${JSON.stringify(what())}`)
  }
}

const setUp = async (t: { teardown(run: () => unknown): void }) => {
  const root = await mkdtemp(join(tmpdir(), 'nodelet-sources-'))
  const folder = join(root, 'manifests')
  const clock = fakeClock(Date.now())
  const start = (path = folder, watch: WatchFolder = inotify, fileCheckMs = 3_600_000) => {
    let events = 0
    const counting: WatchFolder = (at, changed, ended) =>
      watch(
        at,
        name => {
          events += 1
          changed(name)
        },
        ended,
      )
    const sources = createManifestSources({ path, nodeName: 'n', clock, log: silentLog, fileCheckMs, watch: counting })
    t.teardown(() => sources.stop())
    const changes = record(sources)
    const tick = () => systemClock.sleep(1)
    /** Waits for so many changes in all while the clock stands. */
    const arrived = async (count: number) => {
      await eventually(
        () => changes,
        () => changes.length >= count,
        tick,
      )
      return changes.map(({ what }) => what)
    }
    return {
      sources,
      changes,
      arrived,
      /** Waits for so many changes in all, time going on. */
      until: async (count: number) => {
        await eventually(
          () => changes,
          () => changes.length >= count,
          async () => {
            await tick()
            await clock.advance(1)
          },
        )
        return changes.map(({ what }) => what)
      },
      /** Waits for an event of the folder, then for so many changes in all, for which the clock goes on by no more than `ms`. */
      within: async (ms: number, count: number, act: () => Promise<unknown>) => {
        const before = events
        await act()
        await eventually(
          () => events,
          () => events > before,
          tick,
        )
        await clock.advance(ms)
        return (await arrived(count)).at(-1)
      },
    }
  }
  // timers of the clock do not keep the process alive, and neither does a folder that is not there yet
  const alive = setInterval(() => {}, 1000)
  t.teardown(async () => {
    clearInterval(alive)
    await rm(root, { recursive: true, force: true })
  })
  return { root, folder, clock, start, file: (name: string) => join(folder, name) }
}

t.test('files that come, change and go take effect within 100 ms', async t => {
  const { folder, start, file } = await setUp(t)
  await mkdir(folder)
  await writeFile(file('a.yaml'), pod('a'))
  const { until, within } = start()
  t.same(await until(1), ['+a-n'])
  t.equal(await within(100, 2, () => writeFile(file('b.yaml'), pod('b'))), '+b-n')
  t.equal(await within(100, 3, () => writeFile(file('b.yaml'), pod('b', 'web:2'))), '*b-n')
  t.equal(await within(100, 4, () => rm(file('b.yaml'))), '-b-n')
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

for (const [name, partial, settledMs] of [
  ['a file that is being rewritten in place does not lose its pods', pod('a', 'web:2'), 40],
  ['nor does one that its writer has emptied and not yet come to write', '', 1000],
] as const) {
  t.test(name, async t => {
    const { folder, clock, start, file } = await setUp(t)
    await mkdir(folder)
    await writeFile(file('a.yaml'), `${pod('a')}---\n${pod('b')}`)
    const { until, sources, changes } = start()
    await until(2)
    const lookAfter = async (ms: number) => {
      const writtenAt = new Date(clock.now() - ms)
      await utimes(file('a.yaml'), writtenAt, writtenAt)
      await sources.rescan()
      return changes.slice(2).map(({ what }) => what)
    }
    await writeFile(file('a.yaml'), partial)
    t.same(await lookAfter(0), [])
    t.same(await lookAfter(settledMs - 1), [])
    await writeFile(file('a.yaml'), `${pod('a', 'web:2')}---\n${pod('b', 'web:2')}`)
    t.same(await lookAfter(0), ['*a-n', '*b-n'])
    await writeFile(file('a.yaml'), partial)
    t.equal((await lookAfter(settledMs + 1)).at(-1), '-b-n', 'what stays so counts')
  })
}

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

t.test('a folder that another took the place of is followed, also under the same inode number and unseen', async t => {
  const { folder, start, file } = await setUp(t)
  await mkdir(folder)
  await writeFile(file('a.yaml'), pod('a'))
  const { until } = start()
  await until(1)
  const { ino } = await stat(folder)
  // Between two looks, since the clock stands. Not every file system gives the number again at once; the one in between takes others.
  for (let tries = 0; tries < 10; tries += 1) {
    await rm(folder, { recursive: true })
    await mkdir(folder)
    if ((await stat(folder)).ino === ino) break
  }
  t.same(await until(2), ['+a-n', '-a-n'])
  await writeFile(file('b.yaml'), pod('b'))
  t.same(await until(3), ['+a-n', '-a-n', '+b-n'])
})

t.test('a file that never rests is read all the same', async t => {
  const { folder, clock, start, file } = await setUp(t)
  await mkdir(folder)
  let tell = () => {}
  const { sources, arrived } = start(folder, (_, changed) => {
    tell = () => changed('busy.yaml')
    return { close() {} }
  })
  await sources.pods.synced
  await writeFile(file('busy.yaml'), pod('a'))
  for (let ms = 0; ms < 50; ms += 1) {
    tell()
    await clock.advance(1)
  }
  t.same(await arrived(1), ['+a-n'])
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
  const { folder, start, file } = await setUp(t)
  await mkdir(folder)
  await writeFile(file('a.yaml'), pod('a'))
  const { until } = start(folder, () => ({ close() {} }), 20)
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
