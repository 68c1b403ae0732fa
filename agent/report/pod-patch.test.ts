import t from 'tap'
import { applyPatch } from '../../api/kube/patch.fake.ts'
import type { PodCondition, PodStatus } from '../../api/pod-status.ts'
import type { Pod } from '../../api/types.ts'
import { namedPod } from '../agent.fake.ts'
import { container } from '../seen.fake.ts'
import { statusPatch } from './pod-patch.ts'

const condition = (type: string, status: 'True' | 'False', more: Partial<PodCondition> = {}): PodCondition => ({
  type,
  status,
  lastProbeTime: null,
  lastTransitionTime: '2026-01-01T00:00:00Z',
  ...more,
})

const held: PodStatus = {
  phase: 'Running',
  conditions: [
    condition('example.com/lb', 'True'),
    condition('Ready', 'False', { reason: 'ContainersNotReady', message: 'containers with unready status: [a]' }),
  ],
  podIP: '10.0.0.2',
  podIPs: [{ ip: '10.0.0.2' }],
  startTime: '2026-01-01T00:00:00Z',
  containerStatuses: [
    { name: 'a', ready: false, restartCount: 0, image: 'i', imageID: '', state: { running: { startedAt: 'x' } } },
  ],
}

const pod = namedPod('web')
const after = (status: PodStatus, given: Pod = pod, from: PodStatus | undefined = held): PodStatus => {
  const patch = statusPatch(given, from, status)
  const object = { ...given, ...(from && { status: from }) }
  return ((patch === undefined ? object : applyPatch(object, patch, 'strategic')) as unknown as Pod).status!
}

for (const [name, status] of [
  ['the same status', held],
  ['fields that say nothing', { ...held, containerStatuses: held.containerStatuses!.map(it => ({ ...it, lastState: {} })) }],
  ['another order of fields', { ...held, podIPs: held.podIPs!, phase: held.phase }],
  ['conditions of others that are not known here', { ...held, conditions: held.conditions!.slice(1) }],
  ['only a newer time of a condition', { ...held, conditions: [{ ...held.conditions![1]!, lastTransitionTime: 'later' }] }],
  ['another start time than the one that was told', { ...held, startTime: '2026-02-02T00:00:00Z' }],
] as const)
  t.test(`${name}: nothing is sent`, async t => t.equal(statusPatch(pod, held, status), undefined))

t.test('only what differs is sent, with the uid as the condition', async t => {
  const ready = condition('Ready', 'True')
  t.same(statusPatch(pod, held, { ...held, conditions: [ready] }), {
    metadata: { uid: 'uid-of-web' },
    status: { conditions: [{ ...ready, reason: null, message: null }] },
  })
})

t.test('a condition that is true no longer says why it was not', async t => {
  const status = after({ ...held, conditions: [condition('Ready', 'True')] })
  const [, ready] = status.conditions ?? []
  t.same([ready?.status, ready?.reason, ready?.message], ['True', undefined, undefined])
})

t.test('addresses are replaced, not added', async t =>
  t.same(after({ ...held, podIP: '10.0.0.3', podIPs: [{ ip: '10.0.0.3' }] }).podIPs, [{ ip: '10.0.0.3' }]),
)

t.test('what explains a phase stays with it, also when somebody else wrote it', async t =>
  t.equal(statusPatch(pod, { ...held, message: 'patched by hand' }, held), undefined),
)

t.test('what explained another phase is taken back', async t => {
  const { reason, message } = after(held, pod, { ...held, phase: 'Pending', reason: 'Odd', message: 'no' })
  t.same([reason, message], [undefined, undefined])
})

t.test('a pod that has ended stays ended, with its reason', async t => {
  const failed = { ...held, phase: 'Failed', reason: 'DeadlineExceeded', message: 'late' } as const
  t.match(after(held, pod, failed), { phase: 'Failed', reason: 'DeadlineExceeded', message: 'late' })
  t.equal(statusPatch(pod, failed, held), undefined)
})

t.test('an older generation than the one that was told is no news', async t =>
  t.equal(statusPatch(pod, { ...held, observedGeneration: 3 }, { ...held, observedGeneration: 2 }), undefined),
)

t.test('a resize that is over takes its condition with it', async t => {
  const resizing = { ...held, conditions: [...held.conditions!, condition('PodResizeInProgress', 'True')] }
  t.same(
    after(held, pod, resizing).conditions?.map(it => it.type),
    ['example.com/lb', 'Ready'],
  )
})

t.test('why a pod was disrupted is told with its end', async t => {
  const target = condition('DisruptionTarget', 'True', { reason: 'TerminationByKubelet' })
  const status: PodStatus = { ...held, conditions: [...held.conditions!, target] }
  t.equal(statusPatch(pod, held, status), undefined)
  t.match(after({ ...status, phase: 'Failed' }).conditions?.at(-1), { type: 'DisruptionTarget' })
})

t.test('termination messages of all containers share twelve kilobytes', async t => {
  const containers = Array.from({ length: 6 }, (_, index) => container(`c${index}`))
  const ended = { exitCode: 1, message: 'x'.repeat(4096) }
  const containerStatuses = containers.map(it => ({
    ...held.containerStatuses![0]!,
    name: it.name,
    state: { terminated: ended },
  }))
  const status = after({ ...held, containerStatuses }, namedPod('web', { containers }))
  t.same(
    status.containerStatuses?.map(it => it.state?.terminated?.message?.length),
    containers.map(() => 2048),
  )
})
