// Init containers and sidecars: the order in which containers start and end, and what a failure of one does to the others.
// Containers write what happens to them into a file of the host; its lines are the order.
import { mkdir, readFile } from 'node:fs/promises'
import t from 'tap'
import { bareScript, idle, podOf, script } from '../support/manifests.ts'
import { createNode, isReady, statusOf, waitingReason } from '../support/node.ts'

const node = await createNode()
t.setTimeout(0)
// Most of their time is waiting.
t.jobs = 4
t.teardown(() => node.close())

/** A folder of the host that every container of a pod has at /told; `lines` is what was written into its file. */
const chronicle = async (name: string) => {
  const path = `${node.dir}/told-${name}`
  await mkdir(path)
  const volumes = [{ name: 'told', hostPath: { path, type: 'Directory' } }]
  const told = { volumeMounts: [{ name: 'told', mountPath: '/told' }] }
  return { volumes, told, lines: async () => (await readFile(`${path}/lines`, 'utf8')).trim().split('\n') }
}
const tell = (what: string) => `echo ${what} >> /told/lines`

t.test('init containers run one after the other, each to its end, before the others', async t => {
  const { volumes, told, lines } = await chronicle('init')
  const step = (name: string) => bareScript(`${tell(`${name} begins`)}; sleep 0.2; ${tell(`${name} ends`)}`, { name, ...told })
  const spec = { volumes, initContainers: [step('one'), step('two')] }
  await node.write('init.json', podOf('init', script(`${tell('app')}; exec sleep infinity`, told), spec))
  const early = await node.until('init', it => statusOf(it, 'one')?.state?.running)
  t.equal(early.status?.phase, 'Pending')
  t.equal(waitingReason(early), 'PodInitializing')
  t.match(
    early.status?.conditions?.find(it => it.type === 'Initialized'),
    { status: 'False', reason: 'ContainersNotInitialized' },
  )
  t.match((await node.cli(['get', 'pods', 'init'])).stdout, /0\/1 +Init:[01]\/2 /)
  const pod = await node.until('init', isReady)
  t.same(await lines(), ['one begins', 'one ends', 'two begins', 'two ends', 'app'])
  for (const name of ['one', 'two']) {
    t.match(statusOf(pod, name), { ready: true, state: { terminated: { exitCode: 0, reason: 'Completed' } } })
  }
  t.match((await node.cli(['get', 'pods', 'init'])).stdout, /1\/1 +Running +0 /)
  await node.remove('init.json')
  await node.gone('init')
})

t.test('an init container that fails for good fails its pod, and no other container ever runs', async t => {
  const { volumes, told, lines } = await chronicle('failing')
  const init = bareScript(`${tell('init')}; exit 4`, { name: 'init', ...told })
  const spec = { volumes, restartPolicy: 'Never', initContainers: [init] }
  await node.write('failing.json', podOf('failing', script(tell('app'), told), spec))
  const pod = await node.until('failing', it => it.status?.phase === 'Failed')
  t.match(statusOf(pod, 'init'), { ready: false, state: { terminated: { exitCode: 4, reason: 'Error' } } })
  t.equal(waitingReason(pod), 'PodInitializing')
  t.match((await node.cli(['get', 'pods', 'failing'])).stdout, /0\/1 +Init:Error +0 /)
  t.same(await lines(), ['init'])
  await node.remove('failing.json')
  await node.gone('failing')
})

t.test('one that may be tried again is, with growing pauses', async t => {
  const init = bareScript('exit 1', { name: 'init' })
  await node.write('again.json', podOf('again', idle(), { initContainers: [init] }))
  const pod = await node.until('again', it => waitingReason(it, 'init') === 'CrashLoopBackOff')
  t.equal(pod.status?.phase, 'Pending')
  t.equal(statusOf(pod, 'init')?.restartCount, 1)
  t.match((await node.cli(['get', 'pods', 'again'])).stdout, /0\/1 +Init:CrashLoopBackOff +1 /)
  await node.remove('again.json')
  await node.gone('again')
})

t.test('sidecars start in order, each when the one before has started; they end after the app, last started first', async t => {
  const { volumes, told, lines } = await chronicle('order')
  const ending = (name: string) => `trap '${tell(`${name} ends`)}; exit 0' TERM; ${tell(`${name} runs`)}`
  const sidecar = (name: string, more: object = {}) =>
    bareScript(`${ending(name)}; sleep 0.3; touch /tmp/up; while :; do sleep 0.05; done`, {
      ...{ name, restartPolicy: 'Always', ...told },
      ...more,
    })
  const startupProbe = { exec: { command: ['test', '-e', '/tmp/up'] }, periodSeconds: 1, failureThreshold: 20 }
  const between = bareScript(tell('init'), { name: 'init', ...told })
  const app = bareScript(`${ending('app')}; while :; do sleep 0.05; done`, { name: 'app', ...told })
  const initContainers = [sidecar('first', { startupProbe }), between, sidecar('second')]
  await node.write('order.json', podOf('order', app, { volumes, initContainers, terminationGracePeriodSeconds: 10 }))
  const early = await node.until('order', it => statusOf(it, 'first')?.state?.running)
  t.equal(statusOf(early, 'first')?.started, false)
  t.equal(statusOf(early, 'init')?.state?.terminated, undefined, 'waits until the sidecar before it has started')
  const pod = await node.until('order', isReady)
  t.match((await node.cli(['get', 'pods', 'order'])).stdout, /3\/3 +Running /)
  t.equal(statusOf(pod, 'first')?.started, true)
  await node.remove('order.json')
  await node.gone('order')
  t.same(await lines(), ['first runs', 'init', 'second runs', 'app runs', 'app ends', 'second ends', 'first ends'])
})

t.test('a sidecar that ends comes back and disturbs nobody; it does not keep a finished pod', async t => {
  const sidecar = script('sleep 0.3; exit 0', { name: 'side', restartPolicy: 'Always' })
  const app = script('sleep 2; exit 0', { name: 'app' })
  await node.write('side.json', podOf('side', app, { restartPolicy: 'Never', initContainers: [sidecar] }))
  const back = await node.until('side', it => statusOf(it, 'side')?.restartCount === 1)
  t.match(statusOf(back, 'app'), { restartCount: 0 })
  const pod = await node.until('side', it => it.status?.phase === 'Succeeded')
  t.match(statusOf(pod, 'app'), { restartCount: 0, state: { terminated: { exitCode: 0 } } })
  t.ok(statusOf(pod, 'side')?.state?.terminated ?? statusOf(pod, 'side')?.lastState?.terminated, 'the sidecar has ended too')
  await node.remove('side.json')
  await node.gone('side')
})

t.test('a sidecar of a pod that has finished is ended', async t => {
  const pod = podOf('done', script('sleep 0.5', { name: 'app' }), {
    restartPolicy: 'OnFailure',
    initContainers: [idle({ name: 'side', restartPolicy: 'Always' })],
  })
  await node.write('done.json', pod)
  const ended = await node.until('done', it => it.status?.phase === 'Succeeded')
  t.match(statusOf(ended, 'side')?.state, { terminated: {} })
  await node.remove('done.json')
  await node.gone('done')
})
