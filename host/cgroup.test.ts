// What is read of cgroup v2, from folders with the kernel's files in them. That the kernel does what it is told is test/kernel's.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createCgroups } from './cgroup.ts'
import { fakeClock } from './clock.fake.ts'
import { systemExec } from './exec.ts'

t.test('kills for lack of memory are told apart by whether the cgroup is still there', async t => {
  const mountPoint = await mkdtemp(join(tmpdir(), 'nlt-cgroup-'))
  t.teardown(() => rm(mountPoint, { recursive: true }))
  const open = (version: 1 | 2) =>
    createCgroups({
      ...{ driver: 'cgroupfs', exec: systemExec, clock: fakeClock() },
      layout: { version, trees: [{ mountPoint, controllers: version === 1 ? ['memory'] : [] }] },
    })
  const put = async (path: string, kills: number) => {
    await mkdir(join(mountPoint, path), { recursive: true })
    await writeFile(join(mountPoint, path, 'memory.events'), `low 0\nhigh 0\nmax 5\noom 4\noom_kill ${kills}\noom_group_kill 0\n`)
  }
  const cgroups = await open(2)
  t.equal(await cgroups.oomKillsOfGone(['pod1']), 0, 'none in a cgroup that is not there')
  await put('pod1', 6)
  await put('pod1/cri-containerd-aa.scope', 2)
  await put('pod1/cri-containerd-bb.scope', 1)
  t.equal(await cgroups.oomKillsOfGone(['pod1']), 3)
  t.equal(await cgroups.oomKillsOfGone(['pod1'], 'aa'), 5, 'one that is going counts as gone')
  t.equal(await (await open(1)).oomKillsOfGone(['pod1']), undefined, 'version 1 does not tell')
})
