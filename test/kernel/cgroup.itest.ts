// Cgroups on this machine's own hierarchies, under a root of our own that is removed again: what the files hold, what
// happens to processes, what is left behind. Needs root.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createPodCgroups } from '../../agent/cgroups.ts'
import type { Pod } from '../../api/types.ts'
import { createCgroups } from '../../host/cgroup.ts'
import { toCgroupLayout } from '../../host/cgroup-layout.ts'
import { systemClock } from '../../host/clock.ts'
import { systemExec } from '../../host/exec.ts'
import { isFault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'

const layout = toCgroupLayout(readFileSync('/proc/self/mountinfo', 'utf8'))
const cgroup = await createCgroups({ driver: 'cgroupfs', exec: systemExec, clock: systemClock, layout })
const ourRoot = `nlt-${randomBytes(4).toString('hex')}`
const limited = layout.version === 1 ? 'memory.limit_in_bytes' : 'memory.max'

const dirOf = (controller: string, path: string): string => {
  const tree = layout.version === 2 ? layout.trees[0] : layout.trees.find(it => it.controllers.includes(controller))
  return join(tree?.mountPoint ?? '/nowhere', path)
}
const read = (controller: string, path: string, file: string): string =>
  readFileSync(join(dirOf(controller, path), file), 'utf8').trim()
const isAnywhere = (path: string): boolean => layout.trees.some(tree => existsSync(join(tree.mountPoint, path)))

const children: ChildProcess[] = []
const processIn = async (controller: string, path: string): Promise<ChildProcess> => {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' })
  children.push(child)
  await once(child, 'spawn')
  writeFileSync(join(dirOf(controller, path), 'cgroup.procs'), String(child.pid))
  return child
}

t.teardown(async () => {
  for (const child of children) child.kill('SIGKILL')
  await cgroup.kill([ourRoot])
  await cgroup.remove([ourRoot])
})

const pod = (uid: string, resources: NonNullable<Pod['spec']['containers'][number]['resources']>): Pod => ({
  metadata: { name: 'web', namespace: 'default', uid },
  spec: { containers: [{ name: 'web', image: 'web', resources }] },
})

const podCgroups = (root: string) =>
  createPodCgroups({
    cgroup,
    cgroupRoot: `/${ourRoot}/${root}`,
    cgroupsPerQOS: true,
    context: {
      cgroupVersion: layout.version,
      hugePageSizes: [],
      cpuCfsQuota: true,
      cpuCfsQuotaPeriodUs: 100_000,
      podPidsLimit: 100,
    },
    log: silentLog,
  })

const some = { cpu: '250m', memory: '64Mi' }
const guaranteed = pod('11-aa', { requests: some, limits: some })
const burstable = pod('22-bb', { requests: { cpu: '100m' } })

t.test('a cgroup is made with all above it in every hierarchy, takes its limits, and reads them back', async t => {
  const name = [ourRoot, 'a', 'b']
  await cgroup.ensure(name, { cpuShares: 512, cpuQuotaUs: 25_000, cpuPeriodUs: 100_000, memoryBytes: 64 * 2 ** 20, pidsMax: 10 })
  t.ok(await cgroup.exists(name))
  for (const tree of layout.trees) t.ok(existsSync(join(tree.mountPoint, ourRoot, 'a', 'b')), tree.mountPoint)
  const figures = await cgroup.read(name)
  t.match(figures, { cpuQuotaUs: 25_000, cpuPeriodUs: 100_000, memoryBytes: 67_108_864, pidsMax: 10, pids: 0, oomKills: 0 })
  t.equal(read('memory', `${ourRoot}/a/b`, limited), '67108864')
  await cgroup.set(name, { cpuQuotaUs: -1, memoryBytes: -1, pidsMax: -1 })
  t.match(await cgroup.read(name), { cpuQuotaUs: undefined, memoryBytes: undefined, pidsMax: undefined })
})

t.test('a new cpuset has the processors of the one above it, so that a process may enter', async t => {
  if (layout.version === 2) return t.pass('version 2 inherits by itself')
  t.equal(read('cpuset', `${ourRoot}/a/b`, 'cpuset.cpus'), read('cpuset', '', 'cpuset.cpus'))
  const child = await processIn('cpuset', `${ourRoot}/a/b`)
  t.same(await cgroup.pids([ourRoot, 'a']), [child.pid], 'and is seen from above')
})

t.test('a limit that the kernel refuses is a fault that names file and value', async t => {
  const error = await cgroup.set([ourRoot, 'a'], { cpuShares: 1024, cpuPeriodUs: 5 }).catch(error => error)
  t.ok(isFault(error, 'kernel-refused'))
  t.match(error.message, /5.*(cpu\.cfs_period_us|cpu\.max).*EINVAL/)
})

t.test('limits of a cgroup that is gone are not-found', async t => {
  t.ok(isFault(await cgroup.set([ourRoot, 'no'], { cpuShares: 2 }).catch(error => error), 'not-found'))
  t.same((await cgroup.read([ourRoot, 'no'])).cpuShares, undefined)
})

t.test('pods get the tree that other node software knows, with their figures', async t => {
  const node = podCgroups('n1')
  await node.ensureRoots({ milliCpu: 2000, memoryBytes: 2 ** 30 })
  t.equal(await node.ensurePod(guaranteed), `/${ourRoot}/n1/kubepods/pod11-aa`)
  t.equal(await node.ensurePod(burstable), `/${ourRoot}/n1/kubepods/burstable/pod22-bb`)
  await node.updateQos([guaranteed, burstable])
  const base = [ourRoot, 'n1', 'kubepods']
  t.match(await cgroup.read([...base, 'pod11-aa']), { cpuQuotaUs: 25_000, memoryBytes: 67_108_864, pidsMax: 100 })
  t.match(await cgroup.read([...base, 'burstable', 'pod22-bb']), { cpuQuotaUs: undefined, memoryBytes: undefined })
  t.match(await cgroup.read(base), { memoryBytes: 2 ** 30 })
  if (layout.version === 1) {
    t.equal(read('cpu', `${ourRoot}/n1/kubepods/pod11-aa`, 'cpu.shares'), '256')
    t.equal(read('cpu', `${ourRoot}/n1/kubepods/burstable`, 'cpu.shares'), '102', 'the class weighs what its pods asked for')
    t.equal(read('cpu', `${ourRoot}/n1/kubepods/besteffort`, 'cpu.shares'), '2')
    t.equal(read('cpu', `${ourRoot}/n1/kubepods`, 'cpu.shares'), '2048')
  }
  t.same([...(await node.pods())].sort(), ['11-aa', '22-bb'])
})

t.test('two nodes on one machine see their own pods only', async t => {
  const other = podCgroups('n2')
  await other.ensureRoots({ milliCpu: 1000, memoryBytes: 2 ** 30 })
  t.same(await other.pods(), [])
  await other.removePod('11-aa')
  t.ok(isAnywhere(`${ourRoot}/n1/kubepods/pod11-aa`))
})

t.test("a pod's cgroup goes with what still runs in it, and in what it made below", async t => {
  const node = podCgroups('n1')
  await cgroup.ensure([ourRoot, 'n1', 'kubepods', 'pod11-aa', 'container'])
  const child = await processIn('memory', `${ourRoot}/n1/kubepods/pod11-aa/container`)
  const ended = once(child, 'exit')
  await node.removePod('11-aa')
  t.same(await ended, [null, 'SIGKILL'])
  t.notOk(isAnywhere(`${ourRoot}/n1/kubepods/pod11-aa`))
  await node.removePod('11-aa')
  t.same(await node.pods(), ['22-bb'], 'and twice is fine')
})

t.test('all of a node goes at once', async t => {
  await podCgroups('n1').removeAll()
  await podCgroups('n2').removeAll()
  t.notOk(isAnywhere(`${ourRoot}/n1/kubepods`))
  t.notOk(isAnywhere(`${ourRoot}/n2/kubepods`))
})
