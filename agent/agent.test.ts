import t from 'tap'
import { Fault } from '../host/fault.ts'
import { namedPod, setup } from './agent.fake.ts'
import { container } from './seen.fake.ts'

const methods = (calls: readonly { readonly method: string }[]) => calls.map(it => it.method)

t.test('a pod of one container costs eight calls to the runtime', async t => {
  const { wanted, cri, settle, state, status } = setup()
  await settle()
  const before = cri.calls.length
  wanted.put(namedPod('web'))
  await settle()
  t.equal(state('web'), 'running')
  t.equal(status('web')?.phase, 'Running')
  const asked = methods(cri.calls.slice(before))
  const start = asked.slice(0, asked.indexOf('startContainer') + 2)
  t.same(start, [
    'listPodSandbox',
    'listContainers',
    'runPodSandbox',
    'podSandboxStatus',
    'imageStatus',
    'createContainer',
    'startContainer',
    'containerStatus',
  ])
})

t.test('a container that dies is started again at once, the second time after ten seconds', async t => {
  const { wanted, cri, settle, state, status, clock } = setup()
  wanted.put(namedPod('web'))
  await settle()
  cri.exit(cri.container('a')!.id, 1)
  await settle()
  t.equal(state('web'), 'running')
  t.equal(status('web')?.containerStatuses?.[0]?.restartCount, 1)
  cri.exit(cri.container('a')!.id, 1)
  await settle()
  t.equal(state('web'), 'CrashLoopBackOff')
  t.match(
    status('web')?.containerStatuses?.[0]?.state?.waiting?.message,
    'back-off 10s restarting failed container=a pod=web_default(uid-of-web)',
  )
  await clock.advance(10_000)
  await settle()
  t.equal(state('web'), 'running')
  t.equal(status('web')?.containerStatuses?.[0]?.restartCount, 2)
})

t.test('a container killed for lack of memory says OOMKilled where the runtime says Error and the kernel knows', async t => {
  const kills = new Map<string, number>()
  const { wanted, cri, settle, status } = setup({ oomKills: uid => kills.get(uid) ?? 0 })
  const reasonOf = (name: string) => status(name)?.containerStatuses?.[0]?.lastState?.terminated?.reason
  wanted.put(namedPod('web'))
  await settle()
  kills.set('uid-of-web', 1)
  cri.exit(cri.container('a')!.id, 137)
  await settle()
  t.equal(reasonOf('web'), 'OOMKilled')
})

t.test('one that is killed otherwise says Error, also after another one that was not', async t => {
  const kills = new Map([['uid-of-web', 3]])
  const { wanted, cri, settle, status, clock } = setup({ oomKills: uid => kills.get(uid) ?? 0 })
  const reasonOf = (name: string) => status(name)?.containerStatuses?.[0]?.lastState?.terminated?.reason
  wanted.put(namedPod('web'))
  await settle()
  for (const [exitCode, more, reason] of [
    [137, 0, 'Error'],
    [1, 1, 'Error'],
    [137, 0, 'Error'],
  ] as const) {
    kills.set('uid-of-web', (kills.get('uid-of-web') ?? 0) + more)
    cri.exit(cri.container('a')!.id, exitCode)
    await clock.advance(60_000)
    await settle()
    t.equal(reasonOf('web'), reason)
  }
})

t.test('an unpullable image is ErrImagePull, then ImagePullBackOff, and the other container runs', async t => {
  const { wanted, cri, settle, status, clock } = setup()
  cri.fail('pullImage', new Fault('image-pull', 'no such image', { reason: 'ErrImagePull' }), 3)
  wanted.put(namedPod('web', { containers: [container('a'), container('missing')] }))
  await settle()
  const reasons = () => status('web')?.containerStatuses?.map(it => it.state?.waiting?.reason ?? 'running')
  t.same(reasons(), ['running', 'ErrImagePull'])
  await clock.advance(2000)
  await settle()
  t.same(reasons(), ['running', 'ImagePullBackOff'])
})

t.test('an image is pulled again as soon as its pause is over', async t => {
  const { wanted, cri, settle, state, clock } = setup()
  cri.fail('pullImage', new Fault('image-pull', 'no such image', { reason: 'ErrImagePull' }))
  wanted.put(namedPod('web', { containers: [container('missing')] }))
  await settle()
  await clock.advance(9900)
  await settle()
  t.equal(state('web'), 'ImagePullBackOff')
  await clock.advance(100)
  await settle()
  t.equal(state('web'), 'running')
})

t.test('a missing ConfigMap holds the container back, and it starts when the ConfigMap comes', async t => {
  const { wanted, configMaps, settle, state } = setup()
  const env = [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'settings', key: 'a' } } }]
  wanted.put(namedPod('web', { containers: [container('a', { env })] }))
  await settle()
  t.equal(state('web'), 'CreateContainerConfigError')
  configMaps.put({ metadata: { name: 'settings', namespace: 'default' }, data: { a: '1' } })
  await settle()
  t.equal(state('web'), 'running')
})

t.test('a removed pod ends in order and leaves nothing', async t => {
  const { wanted, cri, settle, calls, live } = setup()
  wanted.put(namedPod('web'))
  await settle()
  const before = cri.calls.length
  wanted.remove('default', 'web')
  await settle()
  t.equal(cri.sandboxes.size, 0)
  t.equal(cri.containers.size, 0)
  t.equal(live.list().length, 0)
  t.match(calls, ['volumes web', 'teardown uid-of-web', 'cgroup uid-of-web'])
  t.same(
    methods(cri.calls.slice(before)).filter(it => !it.startsWith('list') && !it.endsWith('Status')),
    ['stopContainer', 'stopPodSandbox', 'removeContainer', 'removePodSandbox'],
  )
})

t.test('a pod is gone when it holds nothing any more; what the runtime remembers of it gives way to pods that end', async t => {
  const { wanted, cri, settle, clock, live } = setup()
  cri.programs.set('a', { ignoresStop: true })
  wanted.put(namedPod('slow'))
  wanted.put(namedPod('quick', { containers: [{ name: 'b', image: 'busybox' }] }))
  await settle()
  const quick = () => [...cri.sandboxes.values()].filter(it => it.config.metadata.name === 'quick').length
  for (const name of ['slow', 'quick']) wanted.remove('default', name)
  await settle()
  t.same(
    live.list().map(it => it.metadata.name),
    ['slow'],
  )
  t.equal(quick(), 1)
  await clock.advance(3000)
  await settle()
  t.equal(quick(), 0, 'but not for long')
  await clock.advance(30_000)
  await settle()
  t.equal(cri.sandboxes.size, 0)
  t.same(live.list(), [])
})

t.test('a changed manifest is another pod, which starts when the old one is gone', async t => {
  const { wanted, cri, settle, clock, live } = setup()
  cri.programs.set('a', { ignoresStop: true })
  wanted.put(namedPod('web', {}, 'first'))
  await settle()
  wanted.put(namedPod('web', {}, 'second'))
  await settle()
  t.same(
    [...cri.sandboxes.values()].map(it => it.config.metadata.uid),
    ['first'],
  )
  t.ok(live.get('default', 'web')?.metadata.deletionTimestamp)
  wanted.put(namedPod('web', {}, 'third'))
  await settle()
  await clock.advance(5000)
  await settle()
  t.same(
    [...cri.sandboxes.values()].map(it => it.config.metadata.uid),
    ['third'],
  )
  t.equal(live.get('default', 'web')?.status?.phase, 'Running')
})

t.test('a pod that never restarts and has ended keeps its container for its logs', async t => {
  const { wanted, cri, settle, status, calls } = setup()
  wanted.put(namedPod('job', { restartPolicy: 'Never' }))
  await settle()
  cri.exit(cri.container('a')!.id, 0)
  await settle()
  t.equal(status('job')?.phase, 'Succeeded')
  t.equal(cri.containers.size, 1)
  t.equal(cri.container('a')?.state, 'CONTAINER_EXITED')
  t.ok(calls.includes('cgroup uid-of-job'))
  wanted.remove('default', 'job')
  await settle()
  t.equal(cri.containers.size, 0)
})

t.test('a new agent adopts what runs: nothing is restarted, and what nobody wants is ended', async t => {
  const first = setup()
  first.wanted.put(namedPod('web'))
  first.wanted.put(namedPod('old'))
  await first.settle()
  first.agent.stop()
  const ids = new Set(first.cri.containers.keys())
  const second = setup({ after: first })
  second.wanted.put(namedPod('web'))
  await second.settle()
  t.equal(second.state('web'), 'running')
  t.equal(second.status('web')?.containerStatuses?.[0]?.restartCount, 0)
  t.ok([...second.cri.containers.keys()].every(id => ids.has(id)))
  t.same(
    [...second.cri.sandboxes.values()].map(it => it.config.metadata.name),
    ['web'],
  )
})

t.test('crash back-off goes on where it was after a restart of the agent', async t => {
  const first = setup()
  first.wanted.put(namedPod('web'))
  await first.settle()
  for (let crash = 0; crash < 2; crash++) {
    first.cri.exit(first.cri.container('a')!.id, 1)
    await first.settle()
  }
  first.agent.stop()
  const second = setup({ after: first })
  second.wanted.put(namedPod('web'))
  await second.settle()
  t.equal(second.state('web'), 'CrashLoopBackOff')
})

t.test('pods beyond maxPods are rejected with the reason, and those that ran before keep their place', async t => {
  const first = setup({ maxPods: 1 })
  first.wanted.put(namedPod('b'))
  await first.settle()
  first.wanted.put(namedPod('a'))
  await first.settle()
  t.match(first.status('a'), { phase: 'Failed', reason: 'OutOfpods' })
  first.agent.stop()
  const second = setup({ after: first, maxPods: 1 })
  second.wanted.put(namedPod('a'))
  second.wanted.put(namedPod('b'))
  await second.settle()
  t.equal(second.state('b'), 'running')
  t.match(second.status('a'), { phase: 'Failed', reason: 'OutOfpods' })
})

t.test('a label that the node has not heard of yet is asked for before a pod is turned away', async t => {
  const labelled = {
    now: false,
    lookAgain: async () => {
      labelled.now = true
    },
  }
  const { wanted, settle, state } = setup({ labelled })
  wanted.put(namedPod('web'))
  await settle()
  t.equal(state('web'), 'running')
})

t.test('a label that the node does not have turns a pod away after one question', async t => {
  let questions = 0
  const { wanted, settle, status } = setup({
    labelled: {
      now: false,
      lookAgain: async () => {
        questions += 1
      },
    },
  })
  wanted.put(namedPod('web'))
  await settle()
  t.match(status('web'), { phase: 'Failed', reason: 'NodeAffinity' })
  t.equal(questions, 1)
})

t.test('a sandbox that dies takes its pod to a new one', async t => {
  const { wanted, cri, settle, state, status } = setup()
  wanted.put(namedPod('web'))
  await settle()
  cri.crashSandbox(cri.sandbox('web')!.id)
  await settle()
  t.equal(state('web'), 'running')
  t.equal(status('web')?.containerStatuses?.[0]?.restartCount, 1)
  t.equal(cri.sandbox('web')?.config.metadata.attempt, 1)
})

t.test('a runtime that is away is waited for', async t => {
  const { wanted, cri, settle, state, clock } = setup()
  await settle()
  cri.fail('runPodSandbox', new Fault('runtime-away', 'connection refused'))
  wanted.put(namedPod('web'))
  await settle()
  t.equal(state('web'), 'ContainerCreating')
  await clock.advance(1000)
  await settle()
  t.equal(state('web'), 'running')
})

t.test('a pod past its active deadline ends as Failed', async t => {
  const { wanted, cri, settle, status, clock, events } = setup()
  wanted.put(namedPod('job', { activeDeadlineSeconds: 60 }))
  await settle()
  await clock.advance(59_000)
  await settle()
  t.equal(status('job')?.phase, 'Running')
  await clock.advance(1000)
  await settle()
  t.match(status('job'), { phase: 'Failed', reason: 'DeadlineExceeded' })
  t.ok(events.includes('DeadlineExceeded: Pod was active on the node longer than the specified deadline'))
  t.equal(cri.container('a')?.state, 'CONTAINER_EXITED')
})

t.test('of a container that crashes again and again, the last ended attempt stays for its logs', async t => {
  const { wanted, cri, settle, clock } = setup()
  wanted.put(namedPod('web'))
  await settle()
  for (let crash = 0; crash < 3; crash++) {
    cri.exit(cri.container('a')!.id, 1)
    await settle()
    await clock.advance(300_000)
    await settle()
  }
  t.same(
    [...cri.containers.values()].map(it => it.state),
    ['CONTAINER_EXITED', 'CONTAINER_RUNNING'],
  )
})
