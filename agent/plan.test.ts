import t from 'tap'
import type { BackOff } from './backoff.ts'
import { type PlanInput, plan } from './plan.ts'
import { container, created, exited, pod, running, sandbox, seen } from './seen.fake.ts'
import { nothingSeen } from './seen.ts'

const probe = { exec: { command: ['true'] } }
const sidecar = (name: string, more = {}) => container(name, { restartPolicy: 'Always', ...more })
const start = (name: string, restartCount = 0) => ({ do: 'start', container: name, restartCount })
const create = (attempt = 0) => ({ do: 'create-sandbox', attempt })
const stop = { do: 'stop-sandbox' }
const kill = (name: string, reason: string) => ({ do: 'kill', container: name, reason })
const remove = (id: string) => ({ do: 'remove-container', id })
const twoInits = { initContainers: [container('i1'), container('i2')] }
const mixed = { initContainers: [container('i1'), sidecar('s1'), container('i2')] }
const dead = sandbox({ ready: false })

interface Case {
  readonly spec?: Parameters<typeof pod>[0]
  readonly sees?: PlanInput['seen']
  readonly failing?: readonly string[]
  readonly succeeding?: readonly string[]
  readonly backOffs?: Readonly<Record<string, BackOff>>
  readonly now?: number
}

const cases: readonly (readonly [string, Case, readonly object[]])[] = [
  [
    'a new pod gets its sandbox first, then its containers in order',
    { spec: { containers: [container('a'), container('b')] } },
    [create(), start('a'), start('b')],
  ],
  ['a new pod with init containers starts only the first of them', { spec: twoInits }, [create(), start('i1')]],
  ['a pod whose containers run needs nothing', { sees: seen([running('a')]) }, []],
  [
    'a missing container is started beside those that run',
    { spec: { containers: [container('a'), container('b')] }, sees: seen([running('a')]) },
    [start('b')],
  ],
  [
    'a container that was made but never started is made again under the same count',
    { sees: seen([created('a', { restartCount: 2 })]) },
    [remove('a-0'), start('a', 2)],
  ],
  [
    'a container of unknown state is killed before it is started again',
    { sees: seen([running('a', { state: 'unknown' })]) },
    [kill('a', 'Unknown'), start('a', 1)],
  ],

  [
    'a dead sandbox is replaced, under the next attempt',
    { sees: seen([exited('a', 137)], [dead]) },
    [stop, create(1), start('a', 1)],
  ],
  ['a sandbox without an address is replaced', { sees: seen([], [sandbox({ ips: [] })]) }, [stop, create(1), start('a')]],
  [
    'a sandbox on the pod network is replaced when the pod wants the host’s',
    { spec: { hostNetwork: true }, sees: seen() },
    [stop, create(1), start('a')],
  ],
  [
    'a host network pod needs no address',
    { spec: { hostNetwork: true }, sees: seen([running('a')], [sandbox({ hostNetwork: true, ips: [] })]) },
    [],
  ],
  [
    'two ready sandboxes are one too many',
    { sees: seen([running('a')], [sandbox({ id: 's1', attempt: 1 }), sandbox()]) },
    [stop, create(2), start('a', 1)],
  ],
  [
    'with a new sandbox, init containers run again from the first',
    { spec: twoInits, sees: seen([exited('a', 0), exited('i2', 0), exited('i1', 0)], [dead]) },
    [stop, remove('i2-0'), remove('i1-0'), create(1), start('i1', 1)],
  ],
  [
    'a pod that never restarts loses its sandbox for good once containers existed',
    { spec: { restartPolicy: 'Never' }, sees: seen([exited('a', 0)], [dead]) },
    [stop],
  ],
  [
    'a pod that never restarts gets another sandbox while no container existed',
    { spec: { restartPolicy: 'Never' }, sees: seen([], [dead]) },
    [stop, create(1), start('a')],
  ],
  [
    'with OnFailure, what succeeded is not run again in a new sandbox',
    {
      spec: { restartPolicy: 'OnFailure', containers: [container('a'), container('b')] },
      sees: seen([exited('a', 0), exited('b', 1)], [dead]),
    },
    [stop, create(1), start('b', 1)],
  ],
  [
    'with OnFailure and all succeeded, no new sandbox is made',
    { spec: { restartPolicy: 'OnFailure' }, sees: seen([exited('a', 0)], [dead]) },
    [stop],
  ],

  ['restartPolicy Always starts what ended well again', { sees: seen([exited('a', 0)]) }, [start('a', 1)]],
  [
    'restartPolicy OnFailure starts a failed container again',
    { spec: { restartPolicy: 'OnFailure' }, sees: seen([exited('a', 1)]) },
    [start('a', 1)],
  ],
  [
    'restartPolicy OnFailure does not start what ended well, and the pod is done',
    { spec: { restartPolicy: 'OnFailure' }, sees: seen([exited('a', 0)]) },
    [stop],
  ],
  [
    'restartPolicy Never leaves a failed container while another one runs',
    {
      spec: { restartPolicy: 'Never', containers: [container('a'), container('b')] },
      sees: seen([exited('a', 1), running('b')]),
    },
    [],
  ],
  [
    'a container’s own restart policy stands above the pod’s',
    { spec: { restartPolicy: 'Never', containers: [container('a', { restartPolicy: 'Always' })] }, sees: seen([exited('a', 0)]) },
    [start('a', 1)],
  ],
  [
    'a restart rule brings back a container by its exit code',
    {
      spec: {
        restartPolicy: 'Never',
        containers: [
          container('a', {
            restartPolicy: 'Never',
            restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }],
          }),
        ],
      },
      sees: seen([exited('a', 42)]),
    },
    [start('a', 1)],
  ],

  [
    'a second crash waits for its back-off',
    { sees: seen([exited('a', 1, { restartCount: 1 })]), backOffs: { a: { pauseMs: 10_000, updatedAt: 1000 } }, now: 12_000 },
    [{ do: 'wait', container: 'a', until: 19_000, pauseMs: 10_000 }],
  ],
  [
    'when the back-off is over it starts',
    { sees: seen([exited('a', 1, { restartCount: 1 })]), backOffs: { a: { pauseMs: 10_000, updatedAt: 1000 } }, now: 19_000 },
    [start('a', 2)],
  ],

  [
    'a failed liveness probe restarts only its container',
    {
      spec: { containers: [container('a', { livenessProbe: probe }), container('b')] },
      sees: seen([running('a'), running('b')]),
      failing: ['a-0/liveness'],
    },
    [kill('a', 'LivenessProbe'), start('a', 1)],
  ],
  [
    'a failed liveness probe of a pod that never restarts only kills',
    {
      spec: { restartPolicy: 'Never', containers: [container('a', { livenessProbe: probe })] },
      sees: seen([running('a')]),
      failing: ['a-0/liveness'],
    },
    [kill('a', 'LivenessProbe')],
  ],
  [
    'a failed startup probe restarts its container',
    { spec: { containers: [container('a', { startupProbe: probe })] }, sees: seen([running('a')]), failing: ['a-0/startup'] },
    [kill('a', 'StartupProbe'), start('a', 1)],
  ],
  [
    'a changed image restarts the container whatever the policy',
    { spec: { restartPolicy: 'Never' }, sees: seen([running('a', { hash: 'other' })]) },
    [kill('a', 'Changed'), start('a', 1)],
  ],
  ['a container without a hash is left alone', { sees: seen([running('a', { hash: undefined })]) }, []],

  [
    'the next init container starts when the one before ended well',
    { spec: twoInits, sees: seen([exited('i1', 0)]) },
    [start('i2')],
  ],
  ['while an init container runs, nothing else starts', { spec: twoInits, sees: seen([running('i1')]) }, []],
  [
    'app containers start after the last init container',
    { spec: twoInits, sees: seen([exited('i2', 0), exited('i1', 0)]) },
    [start('a')],
  ],
  [
    'completed init containers that were removed are not run again',
    { spec: twoInits, sees: seen([exited('i2', 0)]) },
    [start('a')],
  ],
  ['a running app container says that the pod was initialized', { spec: twoInits, sees: seen([running('a')]) }, []],
  ['a failed init container is tried again', { spec: twoInits, sees: seen([exited('i1', 1)]) }, [start('i1', 1)]],
  [
    'a failed init container ends a pod that never restarts',
    { spec: { ...twoInits, restartPolicy: 'Never' }, sees: seen([exited('i1', 1)]) },
    [stop],
  ],
  ['no init container was seen in a fresh sandbox: the first starts', { spec: twoInits, sees: seen() }, [start('i1')]],

  [
    'a started sidecar lets the next init container start',
    { spec: mixed, sees: seen([running('s1'), exited('i1', 0)]) },
    [start('i2')],
  ],
  [
    'a sidecar with a startup probe holds the next one until it succeeds',
    { spec: { initContainers: [sidecar('s1', { startupProbe: probe }), container('i2')] }, sees: seen([running('s1')]) },
    [],
  ],
  [
    'after the startup probe the next one starts',
    {
      spec: { initContainers: [sidecar('s1', { startupProbe: probe }), container('i2')] },
      sees: seen([running('s1')]),
      succeeding: ['s1-0/startup'],
    },
    [start('i2')],
  ],
  [
    'a sidecar that died while a later init container runs is started again',
    { spec: mixed, sees: seen([running('i2'), exited('s1', 1), exited('i1', 0)]) },
    [start('s1', 1)],
  ],
  [
    'a sidecar that died after initialization is started again',
    { spec: mixed, sees: seen([running('a'), exited('i2', 0), exited('s1', 0), exited('i1', 0)]) },
    [start('s1', 1)],
  ],
  [
    'a sidecar as the last init container lets the apps start with it',
    { spec: { initContainers: [sidecar('s1')] }, sees: seen([running('s1')]) },
    [start('a')],
  ],
  [
    'a sidecar that fails its liveness probe is restarted',
    {
      spec: { initContainers: [sidecar('s1', { livenessProbe: probe })] },
      sees: seen([running('s1'), running('a')]),
      failing: ['s1-0/liveness'],
    },
    [kill('s1', 'LivenessProbe'), start('s1', 1)],
  ],
  [
    'sidecars do not keep a pod alive whose apps are done',
    { spec: { restartPolicy: 'Never', initContainers: [sidecar('s1')] }, sees: seen([running('s1'), exited('a', 0)]) },
    [stop],
  ],

  [
    'an ephemeral container starts once, also before initialization',
    { spec: { ...twoInits, ephemeralContainers: [container('debug')] }, sees: seen([running('i1')]) },
    [start('debug')],
  ],
  [
    'an ephemeral container is never restarted',
    { spec: { ephemeralContainers: [container('debug')] }, sees: seen([running('a'), exited('debug', 1)]) },
    [],
  ],
]

for (const [name, given, expected] of cases)
  t.test(name, async t => {
    const { failing = [], succeeding = [], backOffs = {}, now = 10_000 } = given
    const steps = plan({
      pod: pod(given.spec),
      seen: given.sees ?? nothingSeen,
      probed: (id, kind) =>
        failing.includes(`${id}/${kind}`) ? 'failure' : succeeding.includes(`${id}/${kind}`) ? 'success' : 'unknown',
      backOffs: new Map(Object.entries(backOffs)),
      now,
    })
    t.match(steps, expected)
    t.equal(steps.length, expected.length, JSON.stringify(steps))
  })
