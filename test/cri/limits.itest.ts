// Limits as the kernel holds them: the cgroups of QoS classes, pods and containers, memory that runs out, scores for the OOM killer.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { bareScript, idle, podOf } from '../support/manifests.ts'
import { createNode, isReady, statusOf } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const node = await createNode({ config: { podPidsLimit: 200 } })
t.setTimeout(0)
t.teardown(() => node.close())

/** A file of the cgroup at this path below the node's own root. */
const limit = async (controller: string, path: string, file: string) =>
  (await readFile(join('/sys/fs/cgroup', controller, node.containerd.cgroupParent, 'kubepods', path, file), 'utf8')).trim()

/** The cgroup of a container's first process, below kubepods. */
const cgroupOf = async (pod: string, controller: string, container = 'c') => {
  const id = statusOf((await node.pod(pod))!, container)?.containerID?.replace('containerd://', '') ?? ''
  const { info } = await node.containerd.cri.containerStatus(id, true)
  const { pid } = JSON.parse(info['info'] ?? '{}') as { pid: number }
  const line = (await readFile(`/proc/${pid}/cgroup`, 'utf8'))
    .split('\n')
    .find(it => it.split(':')[1]?.split(',').includes(controller))
  return { pid, path: (line?.split(':')[2] ?? '').split('/kubepods/')[1] ?? '' }
}
const clear = async (...names: readonly string[]) => {
  await node.remove('pods.json')
  await Promise.all(names.map(it => node.gone(it)))
}

const small = { cpu: '100m', memory: '32Mi' }

t.test('each QoS class has its place, and each pod and container its figures', async t => {
  await node.write('pods.json', [
    podOf('guaranteed', idle({ resources: { limits: small } })),
    podOf('burstable', [idle({ resources: { requests: { cpu: '250m' }, limits: { memory: '64Mi' } } }), idle({ name: 'other' })]),
    podOf('best-effort', idle()),
  ])
  const names = ['guaranteed', 'burstable', 'best-effort']
  const pods = await Promise.all(names.map(it => node.until(it, isReady)))
  t.same(
    pods.map(it => it.status?.qosClass),
    ['Guaranteed', 'Burstable', 'BestEffort'],
  )
  const [guaranteed = '', burstable = '', bestEffort = ''] = pods.map(it => `pod${it.metadata.uid}`)

  t.equal((await cgroupOf('guaranteed', 'memory')).path.split('/')[0], guaranteed)
  t.equal(await limit('cpu', guaranteed, 'cpu.shares'), '102')
  t.equal(await limit('cpu', guaranteed, 'cpu.cfs_quota_us'), '10000')
  t.equal(await limit('memory', guaranteed, 'memory.limit_in_bytes'), String(32 * 2 ** 20))
  t.equal(await limit('pids', guaranteed, 'pids.max'), '200')
  const { path } = await cgroupOf('guaranteed', 'memory')
  t.equal(await limit('memory', path, 'memory.limit_in_bytes'), String(32 * 2 ** 20), 'the container')
  t.equal(await limit('cpu', path, 'cpu.shares'), '102')

  t.equal((await cgroupOf('burstable', 'cpu')).path.split('/').slice(0, 2).join('/'), `burstable/${burstable}`)
  t.equal(await limit('cpu', `burstable/${burstable}`, 'cpu.shares'), '256')
  t.equal(await limit('cpu', `burstable/${burstable}`, 'cpu.cfs_quota_us'), '-1')
  t.ok(
    Number(await limit('memory', `burstable/${burstable}`, 'memory.limit_in_bytes')) > 2 ** 40,
    'not all containers have a limit',
  )
  t.equal(await limit('memory', (await cgroupOf('burstable', 'memory')).path, 'memory.limit_in_bytes'), String(64 * 2 ** 20))

  t.equal(await limit('cpu', `besteffort/${bestEffort}`, 'cpu.shares'), '2')
  t.equal(await limit('cpu', 'besteffort', 'cpu.shares'), '2')
  await waitFor('the weight of the class', async () => (await limit('cpu', 'burstable', 'cpu.shares')) === '256')

  const scoreOf = async (pod: string) => Number(await readFile(`/proc/${(await cgroupOf(pod, 'cpu')).pid}/oom_score_adj`, 'utf8'))
  t.equal(await scoreOf('best-effort'), 1000)
  t.ok((await scoreOf('burstable')) > 900)
  await clear(...names)
  await waitFor('the weight of the class to go', async () => (await limit('cpu', 'burstable', 'cpu.shares')) === '2')
})

t.test('a container that takes more memory than it may is OOMKilled, alone', async t => {
  // tail keeps its input, which has no lines and no end.
  const greedy = bareScript('sleep 0.5; exec tail /dev/zero', { name: 'greedy', resources: { limits: { memory: '24Mi' } } })
  await node.write('pods.json', podOf('oom', [greedy, idle({ name: 'other' })]))
  const pod = await node.until('oom', it => statusOf(it, 'greedy')?.lastState?.terminated)
  t.match(statusOf(pod, 'greedy')?.lastState?.terminated, { reason: 'OOMKilled', exitCode: 137 })
  t.match(statusOf(pod, 'other'), { restartCount: 0, state: { running: {} } })
  t.match((await node.cli(['why', 'oom'])).stdout, /greedy: .*OOMKilled with exit code 137/)
  await clear('oom')
})

t.test('a pod that never restarts shows OOMKilled as its end', async t => {
  const greedy = bareScript('exec tail /dev/zero', { resources: { limits: { memory: '24Mi' } } })
  await node.write('pods.json', podOf('oom', greedy, { restartPolicy: 'Never' }))
  const pod = await node.until('oom', it => it.status?.phase === 'Failed')
  t.match(statusOf(pod)?.state?.terminated, { reason: 'OOMKilled' })
  t.match((await node.cli(['get', 'pods', 'oom'])).stdout, /0\/1 +OOMKilled +0 /)
  await clear('oom')
})

t.test('a pod cannot have more processes than podPidsLimit', async t => {
  await node.write('pods.json', podOf('forks', idle()))
  await node.until('forks', isReady)
  const { stdout, stderr } = await node.tryExec('forks', ['sh', '-c', 'for i in $(seq 300); do sleep 5 & done; echo all'])
  t.match(stdout + stderr, /can't fork|Resource temporarily unavailable/)
  await clear('forks')
})

t.test('what does not fit into the node is turned away with the figures', async t => {
  await node.write('pods.json', [
    podOf('fits', idle()),
    podOf('huge', idle({ resources: { requests: { memory: '1Ti' } } })),
    podOf('busy', idle({ resources: { requests: { cpu: '500' } } })),
  ])
  const huge = await node.until('huge', it => it.status?.phase === 'Failed')
  t.match(huge.status, {
    reason: 'OutOfmemory',
    message: /didn't have enough resource: memory, requested: 1099511627776, used: 0, capacity: \d+/,
  })
  const busy = await node.until('busy', it => it.status?.phase === 'Failed')
  t.match(busy.status, { reason: 'OutOfcpu', message: /requested: 500000/ })
  await node.until('fits', isReady)
  await clear('fits', 'huge', 'busy')
})
