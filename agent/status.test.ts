import t from 'tap'
import { container, created, exited, pod, running, sandbox, seen } from './seen.fake.ts'
import { nothingSeen } from './seen.ts'
import { podStatus, type StatusInput } from './status.ts'

const status = (more: Partial<StatusInput> = {}) =>
  podStatus({
    pod: pod(),
    seen: nothingSeen,
    waiting: new Map(),
    isStarted: () => true,
    isReady: () => true,
    verdict: undefined,
    ending: false,
    before: undefined,
    hostIPs: ['192.0.2.1'],
    qosClass: 'BestEffort',
    startTime: 1_700_000_000_000,
    now: 1_700_000_005_000,
    ...more,
  })

const condition = (it: ReturnType<typeof status>, type: string) => it.conditions?.find(c => c.type === type)
const init = (spec = {}) => pod({ initContainers: [container('i')], ...spec })
const never = { restartPolicy: 'Never' } as const

for (const [name, given, expected] of [
  ['nothing there yet is Pending', {}, 'Pending'],
  ['a running container makes it Running', { seen: seen([running('a')]) }, 'Running'],
  [
    'one of two containers not yet there keeps it Pending',
    { pod: pod({ containers: [container('a'), container('b')] }), seen: seen([running('a')]) },
    'Pending',
  ],
  ['a running init container keeps it Pending', { pod: init(), seen: seen([running('i')]) }, 'Pending'],
  ['a failed init container that is tried again keeps it Pending', { pod: init(), seen: seen([exited('i', 1)]) }, 'Pending'],
  [
    'a failed init container of a pod that never restarts makes it Failed',
    { pod: init(never), seen: seen([exited('i', 1)]) },
    'Failed',
  ],
  ['a crashed container that comes back keeps it Running', { seen: seen([exited('a', 1)]) }, 'Running'],
  [
    'crash back-off keeps it Running',
    { seen: seen([exited('a', 1)]), waiting: new Map([['a', { reason: 'CrashLoopBackOff', message: 'back-off' }]]) },
    'Running',
  ],
  ['all ended well and for good is Succeeded', { pod: pod(never), seen: seen([exited('a', 0)]) }, 'Succeeded'],
  [
    'one that failed for good makes it Failed',
    { pod: pod({ ...never, containers: [container('a'), container('b')] }), seen: seen([exited('a', 0), exited('b', 2)]) },
    'Failed',
  ],
  [
    'while another one runs it is Running',
    { pod: pod({ ...never, containers: [container('a'), container('b')] }), seen: seen([exited('a', 2), running('b')]) },
    'Running',
  ],
  [
    'a sidecar does not count once the apps have ended',
    {
      pod: pod({ ...never, initContainers: [container('s', { restartPolicy: 'Always' })] }),
      seen: seen([running('s'), exited('a', 0)]),
    },
    'Succeeded',
  ],
  ['a pod that ends takes no container back', { ending: true, seen: seen([exited('a', 137)]) }, 'Failed'],
  ['a pod that has ended stays ended', { before: { phase: 'Failed' }, seen: seen([running('a')]) }, 'Failed'],
  ['a rejected pod is Failed', { verdict: { phase: 'Failed', reason: 'OutOfpods', message: 'full' } }, 'Failed'],
] as const)
  t.test(`phase: ${name}`, async t => void t.equal(status(given).phase, expected))

t.test('a container that runs', async t => {
  const it = status({ seen: seen([running('a')]) })
  t.match(it.containerStatuses?.[0], {
    name: 'a',
    ready: true,
    started: true,
    restartCount: 0,
    containerID: 'containerd://a-0',
    imageID: 'sha256:a',
    state: { running: { startedAt: '1970-01-01T00:00:02Z' } },
  })
  t.match(it, { podIP: '10.0.0.2', podIPs: [{ ip: '10.0.0.2' }], hostIP: '192.0.2.1', startTime: '2023-11-14T22:13:20Z' })
  t.equal(condition(it, 'Ready')?.status, 'True')
})

t.test('a container that crashed again shows what it waits for and how it ended', async t => {
  const it = status({
    seen: seen([exited('a', 3, { id: 'a-1', restartCount: 1 }), exited('a', 2)]),
    waiting: new Map([['a', { reason: 'CrashLoopBackOff', message: 'back-off 10s' }]]),
  })
  t.match(it.containerStatuses?.[0], {
    restartCount: 1,
    ready: false,
    state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 10s' } },
    lastState: { terminated: { exitCode: 3, reason: 'Error', containerID: 'containerd://a-1' } },
  })
})

t.test('a restarted container keeps how the one before it ended', async t => {
  const it = status({ seen: seen([running('a', { id: 'a-1', restartCount: 1 }), exited('a', 137, { reason: 'OOMKilled' })]) })
  t.match(it.containerStatuses?.[0]?.lastState, { terminated: { exitCode: 137, reason: 'OOMKilled' } })
})

t.test('a container that is not there says why', async t => {
  t.match(status().containerStatuses?.[0]?.state, { waiting: { reason: 'ContainerCreating' } })
  t.match(status({ pod: init() }).containerStatuses?.[0]?.state, { waiting: { reason: 'PodInitializing' } })
  const pulling = status({ waiting: new Map([['a', { reason: 'ErrImagePull', message: 'no such image' }]]) })
  t.match(pulling.containerStatuses?.[0]?.state, { waiting: { reason: 'ErrImagePull', message: 'no such image' } })
  t.match(status({ seen: seen([created('a')]) }).containerStatuses?.[0]?.state, { waiting: {} })
})

t.test('an unready container makes the pod unready by name, and the time of the change stays', async t => {
  const first = status({ seen: seen([running('a')]), isReady: () => false })
  t.match(condition(first, 'Ready'), {
    status: 'False',
    reason: 'ContainersNotReady',
    message: 'containers with unready status: [a]',
  })
  const later = status({ seen: seen([running('a')]), isReady: () => false, before: first, now: 1_700_000_100_000 })
  t.equal(condition(later, 'Ready')?.lastTransitionTime, condition(first, 'Ready')?.lastTransitionTime)
  const ready = status({ seen: seen([running('a')]), before: later, now: 1_700_000_100_000 })
  t.equal(condition(ready, 'Ready')?.lastTransitionTime, '2023-11-14T22:15:00Z')
})

t.test('conditions of other owners are kept, and a readiness gate waits for its own', async t => {
  const gated = pod({ readinessGates: [{ conditionType: 'example.com/lb' }] })
  const waits = status({ pod: gated, seen: seen([running('a')]) })
  t.match(condition(waits, 'Ready'), { status: 'False', reason: 'ReadinessGatesNotReady' })
  const given = { ...waits, conditions: [...(waits.conditions ?? []), { type: 'example.com/lb', status: 'True' as const }] }
  const passed = status({ pod: gated, seen: seen([running('a')]), before: given })
  t.equal(condition(passed, 'Ready')?.status, 'True')
  t.equal(condition(passed, 'example.com/lb')?.status, 'True')
})

t.test('PodReadyToStartContainers follows the sandbox', async t => {
  t.equal(condition(status(), 'PodReadyToStartContainers')?.status, 'False')
  t.equal(condition(status({ seen: seen() }), 'PodReadyToStartContainers')?.status, 'True')
  t.equal(condition(status({ seen: seen([], [sandbox({ ready: false })]) }), 'PodReadyToStartContainers')?.status, 'False')
})
