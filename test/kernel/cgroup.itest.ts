// Cgroups on this machine's own hierarchies, under a root of our own that is removed again: what the files hold, what
// happens to processes, what is left behind. Needs root. Where systemd is init (test/vm), its driver is tried as well.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createPodCgroups } from '../../agent/cgroups.ts'
import type { Pod } from '../../api/types.ts'
import { createCgroups } from '../../host/cgroup.ts'
import { toCpuWeight } from '../../host/cgroup-files.ts'
import { toCgroupLayout } from '../../host/cgroup-layout.ts'
import { type CgroupDriver, type CgroupName, cgroupPath } from '../../host/cgroup-name.ts'
import { systemClock } from '../../host/clock.ts'
import { systemExec } from '../../host/exec.ts'
import { isFault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'

const layout = toCgroupLayout(readFileSync('/proc/self/mountinfo', 'utf8'))
const hasSystemd = existsSync('/run/systemd/system')
const drivers: readonly CgroupDriver[] = hasSystemd ? ['cgroupfs', 'systemd'] : ['cgroupfs']
// the daemon's own timers keep no process alive, and nothing else does while a removal waits
const alive = setInterval(() => undefined, 1000)
t.teardown(() => clearInterval(alive))

const pod = (uid: string, resources: NonNullable<Pod['spec']['containers'][number]['resources']>): Pod => ({
  metadata: { name: 'web', namespace: 'default', uid },
  spec: { containers: [{ name: 'web', image: 'web', resources }] },
})
const some = { cpu: '250m', memory: '64Mi' }
const guaranteed = pod('11-aa', { requests: some, limits: some })
const burstable = pod('22-bb', { requests: { cpu: '100m' } })

const setup = async (driver: CgroupDriver) => {
  const cgroup = await createCgroups({ driver, exec: systemExec, clock: systemClock, layout })
  const root = `nlt${randomBytes(4).toString('hex')}`
  const dirs = (name: CgroupName) => layout.trees.map(tree => join(tree.mountPoint, cgroupPath(name, driver)))
  const dirOf = (controller: string, name: CgroupName): string => {
    const tree = layout.version === 2 ? layout.trees[0] : layout.trees.find(it => it.controllers.includes(controller))
    return join(tree?.mountPoint ?? '/nowhere', cgroupPath(name, driver))
  }
  const children: ChildProcess[] = []
  const processIn = async (dir: string): Promise<ChildProcess> => {
    const child = spawn('sleep', ['600'], { stdio: 'ignore' })
    children.push(child)
    await once(child, 'spawn')
    writeFileSync(join(dir, 'cgroup.procs'), String(child.pid))
    return child
  }
  const context = { cgroupVersion: layout.version, hugePageSizes: [], cpuCfsQuota: true, cpuCfsQuotaPeriodUs: 100_000 }
  return {
    cgroup,
    root,
    dirOf,
    processIn,
    isAnywhere: (name: CgroupName) => dirs(name).some(dir => existsSync(dir)),
    isEverywhere: (name: CgroupName) => dirs(name).every(dir => existsSync(dir)),
    podCgroups: (node: string) =>
      createPodCgroups({
        cgroup,
        cgroupRoot: `/${root}/${node}`,
        cgroupsPerQOS: true,
        context: { ...context, podPidsLimit: 100 },
        log: silentLog,
      }),
    removeAll: async () => {
      for (const child of children) child.kill('SIGKILL')
      await cgroup.kill([root])
      await cgroup.remove([root])
    },
  }
}

/** What weighs the same, in the scale of the version that is mounted. */
const weighs = (dir: string, shares: number): boolean =>
  layout.version === 1
    ? Number(readFileSync(join(dir, 'cpu.shares'), 'utf8')) === shares
    : Number(readFileSync(join(dir, 'cpu.weight'), 'utf8')) === toCpuWeight(shares)

for (const driver of drivers) {
  t.test(`driver ${driver}`, async t => {
    const { cgroup, root, dirOf, processIn, isAnywhere, isEverywhere, podCgroups, removeAll } = await setup(driver)
    t.teardown(removeAll)

    t.test('a cgroup is made with all above it in every hierarchy, takes its limits, and reads them back', async t => {
      const name = [root, 'a', 'b']
      await cgroup.ensure(name, { cpuShares: 512, cpuQuotaUs: 25_000, cpuPeriodUs: 100_000, memoryBytes: 2 ** 26, pidsMax: 10 })
      t.ok(isEverywhere(name))
      t.match(await cgroup.read(name), { cpuQuotaUs: 25_000, cpuPeriodUs: 100_000, memoryBytes: 2 ** 26, pidsMax: 10, pids: 0 })
      const limited = layout.version === 1 ? 'memory.limit_in_bytes' : 'memory.max'
      t.equal(readFileSync(join(dirOf('memory', name), limited), 'utf8').trim(), '67108864')
      await cgroup.set(name, { cpuQuotaUs: -1, memoryBytes: -1, pidsMax: -1 })
      t.match(await cgroup.read(name), { cpuQuotaUs: undefined, memoryBytes: undefined, pidsMax: undefined })
    })

    t.test('a process may enter it, and is seen from above', async t => {
      // a cpuset of version 1 that has no processors takes nobody
      const child = await processIn(dirOf('cpuset', [root, 'a', 'b']))
      t.same(await cgroup.pids([root, 'a']), [child.pid])
      t.same(await cgroup.kill([root, 'a']), 1)
    })

    t.test('a limit that the kernel refuses is a fault that names file and value', async t => {
      const error = await cgroup.set([root, 'a'], { cpuShares: 1024, cpuQuotaUs: 5, cpuPeriodUs: 5 }).catch(error => error)
      t.ok(isFault(error, 'kernel-refused'))
      t.match(error.message, driver === 'systemd' ? /./ : /5.*(cpu\.cfs_period_us|cpu\.max).*EINVAL/)
    })

    t.test('limits of a cgroup that is gone are not-found, its figures nothing', async t => {
      t.ok(isFault(await cgroup.set([root, 'no'], { cpuShares: 2 }).catch(error => error), 'not-found'))
      t.equal((await cgroup.read([root, 'no'])).cpuShares, undefined)
    })

    const kubepods = [root, 'n1', 'kubepods']
    t.test('pods get the tree that other node software knows, with their figures', async t => {
      const node = podCgroups('n1')
      await node.ensureRoots({ milliCpu: 2000, memoryBytes: 2 ** 30 })
      t.equal(await node.ensurePod(guaranteed), cgroupPath([...kubepods, 'pod11-aa'], driver))
      t.equal(await node.ensurePod(burstable), cgroupPath([...kubepods, 'burstable', 'pod22-bb'], driver))
      await node.updateQos([guaranteed, burstable])
      t.match(await cgroup.read([...kubepods, 'pod11-aa']), { cpuQuotaUs: 25_000, memoryBytes: 2 ** 26, pidsMax: 100 })
      t.match(await cgroup.read([...kubepods, 'burstable', 'pod22-bb']), { cpuQuotaUs: undefined, memoryBytes: undefined })
      t.match(await cgroup.read(kubepods), { memoryBytes: 2 ** 30 })
      t.ok(weighs(dirOf('cpu', [...kubepods, 'pod11-aa']), 256))
      t.ok(weighs(dirOf('cpu', [...kubepods, 'burstable']), 102), 'a class weighs what its pods asked for')
      t.ok(weighs(dirOf('cpu', [...kubepods, 'besteffort']), 2))
      t.ok(weighs(dirOf('cpu', kubepods), 2048))
      t.same([...(await node.pods())].sort(), ['11-aa', '22-bb'])
    })

    if (driver === 'systemd') {
      t.test('systemd knows the limits and keeps them when it reads its configuration anew', async t => {
        const unit =
          cgroupPath([...kubepods, 'pod11-aa'], driver)
            .split('/')
            .at(-1) ?? ''
        const { stdout } = await systemExec.run(['systemctl', 'show', unit, '-p', 'MemoryMax,TasksMax,ActiveState'])
        t.same(stdout.split('\n').sort(), ['ActiveState=active', 'MemoryMax=67108864', 'TasksMax=100'])
        await systemExec.run(['systemctl', 'daemon-reload'])
        t.match(await cgroup.read([...kubepods, 'pod11-aa']), { cpuQuotaUs: 25_000, memoryBytes: 2 ** 26, pidsMax: 100 })
      })
    }

    t.test('two nodes on one machine see their own pods only', async t => {
      const other = podCgroups('n2')
      await other.ensureRoots({ milliCpu: 1000, memoryBytes: 2 ** 30 })
      t.same(await other.pods(), [])
      await other.removePod('11-aa')
      t.ok(isAnywhere([...kubepods, 'pod11-aa']))
    })

    t.test("a pod's cgroup goes with what still runs in it, and with what the runtime made below", async t => {
      const node = podCgroups('n1')
      const container = join(dirOf('memory', [...kubepods, 'pod11-aa']), 'container')
      mkdirSync(container)
      const child = await processIn(container)
      const ended = once(child, 'exit')
      await node.removePod('11-aa')
      t.same(await ended, [null, 'SIGKILL'])
      t.notOk(isAnywhere([...kubepods, 'pod11-aa']))
      await node.removePod('11-aa')
      t.same(await node.pods(), ['22-bb'], 'and twice is fine')
    })

    t.test('all of a node goes at once', async t => {
      await podCgroups('n1').removeAll()
      await podCgroups('n2').removeAll()
      t.notOk(isAnywhere(kubepods))
      t.notOk(isAnywhere([root, 'n2', 'kubepods']))
    })
  })
}

if (!hasSystemd) {
  t.test('the systemd driver without systemd is unsupported', async t =>
    t.rejects(setup('systemd'), { code: 'unsupported', message: /set cgroupDriver to cgroupfs/ }),
  )
}
