import t from 'tap'
import type { Pod } from '../api/types.ts'
import { namedPod } from './agent.fake.ts'
import { victimsFor } from './preempt.ts'
import { container } from './seen.fake.ts'

const pod = (name: string, requests: Readonly<Record<string, string>> = {}, more: Partial<Pod['spec']> = {}): Pod =>
  namedPod(name, { containers: [container('a', { resources: { requests } })], ...more })

const guaranteed = (name: string, cpu: string): Pod => {
  const both = { cpu, memory: '64Mi' }
  return namedPod(name, { containers: [container('a', { resources: { requests: both, limits: both } })] })
}

const critical = pod('critical', { cpu: '500m' }, { priority: 2_000_001_000 })

for (const [name, active, short, expected] of [
  [
    'the one pod that covers what is short',
    [pod('small', { cpu: '100m' }), pod('large', { cpu: '600m' })],
    { cpu: 500 },
    ['large'],
  ],
  [
    'as few as can be',
    [pod('a', { cpu: '300m' }), pod('b', { cpu: '300m' }), pod('c', { cpu: '50m' })],
    { cpu: 500 },
    ['a', 'b'],
  ],
  ['burstable pods before guaranteed ones', [guaranteed('g', '500m'), pod('b', { cpu: '500m' })], { cpu: 500 }, ['b']],
  ['guaranteed ones where nothing else does', [guaranteed('g', '500m'), pod('b', { cpu: '100m' })], { cpu: 500 }, ['g']],
  ['a pod without requests for a place', [pod('b', { cpu: '1' }), pod('best-effort')], { pods: 1 }, ['best-effort']],
  ['nobody when all of them would not do', [pod('b', { cpu: '100m' })], { cpu: 500 }, undefined],
  [
    'no other critical pod of the same priority',
    [pod('other', { cpu: '1' }, { priority: 2_000_001_000 })],
    { cpu: 500 },
    undefined,
  ],
  ['a critical pod of lower priority', [pod('lower', { cpu: '1' }, { priority: 2_000_000_000 })], { cpu: 500 }, ['lower']],
] as const)
  t.test(`gives way: ${name}`, async t =>
    t.same(
      victimsFor(critical, active, short)?.map(it => it.metadata.name),
      expected,
    ),
  )

t.test('an ordinary pod preempts nobody', async t =>
  t.equal(victimsFor(pod('web', { cpu: '500m' }), [pod('b', { cpu: '1' })], { cpu: 500 }), undefined),
)
