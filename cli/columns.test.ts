import t from 'tap'
import type { ContainerStatus, EndpointSlice, Pod, Service } from '../agent/server/wire.ts'
import { byService, endpointColumns, nodeColumns, podColumns, serviceColumns, summarize, toAge, toTable } from './columns.ts'

const now = Date.parse('2026-01-02T00:00:00Z')
const ago = (seconds: number) => new Date(now - seconds * 1000).toISOString()

for (const [seconds, age] of [
  [0, '0s'],
  [119, '119s'],
  [120, '2m'],
  [190, '3m10s'],
  [600, '10m'],
  [3 * 3600, '3h'],
  [3 * 3600 + 120, '3h2m'],
  [47 * 3600, '47h'],
  [50 * 3600, '2d2h'],
  [12 * 86_400, '12d'],
  [800 * 86_400, '2y70d'],
  [3000 * 86_400, '8y'],
  [-5, '<invalid>'],
] as const) {
  t.test(`${seconds} seconds are ${age}`, async t => t.equal(toAge(ago(seconds), now), age))
}

const run: Partial<ContainerStatus> = { state: { running: { startedAt: '' } }, ready: true }
const unready: Partial<ContainerStatus> = { ...run, ready: false }
const wait = (reason: string): Partial<ContainerStatus> => ({ state: { waiting: { reason } } })
const ended = (exitCode: number, reason?: string, signal?: number): Partial<ContainerStatus> => ({
  state: { terminated: { exitCode, ...(reason && { reason }), ...(signal && { signal }) } },
})

interface Given {
  readonly phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed'
  readonly reason?: string
  readonly init?: readonly Partial<ContainerStatus>[]
  readonly app?: readonly Partial<ContainerStatus>[]
  readonly sidecars?: boolean
  readonly isReady?: boolean
  readonly initialized?: boolean
  readonly deleted?: boolean
}

const toPod = ({ phase = 'Running', reason, init = [], app = [], sidecars, isReady, initialized, deleted }: Given): Pod => {
  const fill = (prefix: string) => (it: Partial<ContainerStatus>, i: number) => ({
    name: `${prefix}${i}`,
    ready: false,
    restartCount: 0,
    image: '',
    imageID: '',
    ...it,
  })
  const always = sidecars ? ({ restartPolicy: 'Always' } as const) : {}
  return {
    metadata: { name: 'web', ...(deleted && { deletionTimestamp: ago(1) }) },
    spec: {
      containers: (app.length > 0 ? app : [{}]).map((_, i) => ({ name: `c${i}`, image: '' })),
      initContainers: init.map((_, i) => ({ name: `i${i}`, image: '', ...always })),
    },
    status: {
      phase,
      ...(reason && { reason }),
      initContainerStatuses: init.map(fill('i')),
      containerStatuses: app.map(fill('c')),
      conditions: [
        { type: 'Ready', status: isReady ? 'True' : 'False' },
        { type: 'Initialized', status: initialized ? 'True' : 'False' },
      ],
    },
  }
}

const cases: readonly (readonly [string, Given, string, string])[] = [
  ['a pod that nothing is known of is Pending', { phase: 'Pending' }, 'Pending', '0/1'],
  ['a pod whose containers run is Running', { app: [run, run], isReady: true }, 'Running', '2/2'],
  ['also while one is not ready', { app: [run, unready] }, 'Running', '1/2'],
  ['a waiting container gives its reason', { phase: 'Pending', app: [wait('ContainerCreating')] }, 'ContainerCreating', '0/1'],
  ['an unpullable image too', { phase: 'Pending', app: [run, wait('ErrImagePull')] }, 'ErrImagePull', '1/2'],
  ['the first of several counts', { app: [wait('CrashLoopBackOff'), wait('ImagePullBackOff')] }, 'CrashLoopBackOff', '0/2'],
  ['a pod that ended well is Completed', { phase: 'Succeeded', app: [ended(0, 'Completed')] }, 'Completed', '0/1'],
  ['one that failed says how', { phase: 'Failed', app: [ended(1, 'Error')] }, 'Error', '0/1'],
  ['an OOM kill is told', { phase: 'Failed', app: [ended(137, 'OOMKilled')] }, 'OOMKilled', '0/1'],
  ['an end without a reason is its exit code', { phase: 'Failed', app: [ended(3)] }, 'ExitCode:3', '0/1'],
  ['or its signal', { phase: 'Failed', app: [ended(137, undefined, 9)] }, 'Signal:9', '0/1'],
  ['a failure is told before a success', { phase: 'Failed', app: [ended(0, 'Completed'), ended(2, 'Error')] }, 'Error', '0/2'],
  [
    'one of two that completed leaves a ready pod Running',
    { app: [ended(0, 'Completed'), run], isReady: true },
    'Running',
    '1/2',
  ],
  ['and one that is not ready NotReady', { app: [ended(0, 'Completed'), run] }, 'NotReady', '1/2'],
  ['a refused pod gives the reason of its status', { phase: 'Failed', reason: 'OutOfpods' }, 'OutOfpods', '0/1'],
  [
    'init containers are counted',
    { phase: 'Pending', init: [ended(0), unready], app: [wait('PodInitializing')] },
    'Init:1/2',
    '0/1',
  ],
  ['one that has not begun too', { phase: 'Pending', init: [wait('PodInitializing')] }, 'Init:0/1', '0/1'],
  ['one that cannot start gives its reason', { phase: 'Pending', init: [wait('ErrImagePull')] }, 'Init:ErrImagePull', '0/1'],
  ['one that failed says how', { phase: 'Pending', init: [ended(1, 'Error')] }, 'Init:Error', '0/1'],
  ['or with which exit code', { phase: 'Pending', init: [ended(2)] }, 'Init:ExitCode:2', '0/1'],
  [
    'a sidecar that started counts as ready',
    { init: [{ ...run, started: true }], app: [run], sidecars: true, isReady: true },
    'Running',
    '2/2',
  ],
  [
    'one that has not started holds the rest up',
    { phase: 'Pending', init: [unready], app: [wait('PodInitializing')], sidecars: true },
    'Init:0/1',
    '0/2',
  ],
  [
    'a sidecar that crashes later is told, and the app containers still count',
    { init: [ended(1, 'Error')], app: [run], sidecars: true, initialized: true },
    'Init:Error',
    '1/2',
  ],
  ['a pod that goes away is Terminating', { app: [run], deleted: true }, 'Terminating', '1/1'],
  ['but not one that has ended', { phase: 'Succeeded', app: [ended(0, 'Completed')], deleted: true }, 'Completed', '0/1'],
]
for (const [name, given, status, ready] of cases) {
  t.test(name, async t => {
    const summary = summarize(toPod(given))
    t.equal(summary.status, status)
    t.equal(`${summary.ready}/${summary.total}`, ready)
  })
}

t.test('the row of a pod tells restarts and when the last one was', async t => {
  const lastState = { terminated: { exitCode: 1, finishedAt: ago(200) } }
  const pod = toPod({ app: [{ ...run, restartCount: 3, lastState }], isReady: true })
  const full: Pod = {
    ...pod,
    metadata: { ...pod.metadata, creationTimestamp: ago(7200) },
    spec: { ...pod.spec, nodeName: 'n1', readinessGates: [{ conditionType: 'Ready' }, { conditionType: 'other' }] },
    status: { phase: 'Running', ...pod.status, podIPs: [{ ip: '10.0.0.1' }] },
  }
  t.same(podColumns.row(full, now), {
    cells: ['web', '1/1', 'Running', '3 (3m20s ago)', '120m'],
    wide: ['10.0.0.1', 'n1', '1/2'],
  })
})

const service = (spec: Service['spec']) => serviceColumns.row({ metadata: { name: 's', creationTimestamp: ago(60) }, spec }, now)
t.test('the row of a Service tells its addresses and ports', async t => {
  const ports = [
    { port: 80, nodePort: 30080 },
    { port: 53, protocol: 'UDP' as const },
  ]
  t.same(service({ type: 'NodePort', clusterIP: '10.96.0.1', ports, selector: { b: '2', a: '1' } }), {
    cells: ['s', 'NodePort', '10.96.0.1', '<none>', '80:30080/TCP,53/UDP', '60s'],
    wide: ['a=1,b=2'],
  })
  t.same(service({ type: 'LoadBalancer', clusterIP: '10.96.0.1' }).cells.slice(1, 5), [
    'LoadBalancer',
    '10.96.0.1',
    '<pending>',
    '<none>',
  ])
  t.same(service({ clusterIP: 'None', externalIPs: ['1.2.3.4'] }).cells.slice(1, 4), ['ClusterIP', 'None', '1.2.3.4'])
  t.same(service({ type: 'ExternalName', externalName: 'a.b' }).cells.slice(1, 4), ['ExternalName', '<none>', 'a.b'])
})

t.test('endpoints are put together by Service', async t => {
  const slice = (name: string, addresses: readonly string[], ready = true): EndpointSlice => ({
    metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: addresses[0]?.includes(':') ? 'IPv6' : 'IPv4',
    endpoints: addresses.map(it => ({ addresses: [it], conditions: { ready } })),
    ports: [{ port: 80 }],
  })
  const slices = [slice('a', ['10.0.0.1', '10.0.0.2']), slice('b', ['fd00::1', 'fd00::2']), slice('c', ['10.0.0.9'], false)]
  t.same(
    byService(slices).map(it => endpointColumns.row(it, now)),
    [{ cells: ['web', '10.0.0.1:80,10.0.0.2:80,[fd00::1]:80 + 1 more...', '<unknown>'], wide: ['10.0.0.9:80'] }],
  )
})

t.test('the row of a node tells whether it is ready, and its roles', async t => {
  const node = {
    metadata: { name: 'n1', labels: { 'node-role.kubernetes.io/edge': '' } },
    spec: { unschedulable: true },
    status: { conditions: [{ type: 'Ready', status: 'True' }], nodeInfo: { kubeletVersion: 'v1' } },
  }
  t.same(nodeColumns.row(node, now).cells, ['n1', 'Ready,SchedulingDisabled', 'edge', '<unknown>', 'v1'])
})

t.test('columns are three blanks apart, lines end with their text', async t => {
  t.equal(
    toTable([
      ['NAME', 'AGE'],
      ['longer', '1s'],
      ['x', ''],
    ]),
    'NAME     AGE\nlonger   1s\nx\n',
  )
})
