import t from 'tap'
import type { Pod } from '../api/types.ts'
import { silentLog } from '../host/log.ts'
import type { Admission } from './admit.ts'
import { createRoom } from './room.ts'

const pod = (cpu: string, generation: number): Pod => ({
  metadata: { name: 'web', namespace: 'default', uid: 'u', generation },
  spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu } } }] },
})

const resize = (admit: (pod: Pod, active: readonly Pod[]) => Admission) => {
  const events: string[] = []
  const onEvent = (_pod: Pod, _type: string, reason: string) => void events.push(reason)
  const room = createRoom({ admit, active: () => [pod('1', 1)], onEvent, log: silentLog })
  const { state } = room.resize(pod('1', 1), {}, pod('2', 2))
  return [state.inProgress === undefined ? (state.pending?.reason ?? 'none') : 'InProgress', ...events]
}

const outOfCpu: Admission = { ok: false, reason: 'OutOfcpu', message: 'too little', short: { cpu: 1 } }
const pressed: Admission = { ok: false, reason: 'Evicted', message: 'The node had condition: [DiskPressure]. ' }

for (const [name, admit, expected] of [
  ['a resize that fits begins', () => ({ ok: true }), ['InProgress', 'ResizeStarted']],
  [
    'one that would fit without the others waits',
    (_: Pod, active: readonly Pod[]) => (active.length === 0 ? { ok: true } : outOfCpu),
    ['Deferred', 'ResizeDeferred'],
  ],
  ['one that is larger than the node does not', () => outOfCpu, ['Infeasible', 'ResizeInfeasible']],
  ['one on a node that runs short waits', () => pressed, ['Deferred', 'ResizeDeferred']],
] as const satisfies readonly (readonly [string, (pod: Pod, active: readonly Pod[]) => Admission, readonly string[]])[]) {
  t.test(name, async t => t.same(resize(admit), expected))
}
