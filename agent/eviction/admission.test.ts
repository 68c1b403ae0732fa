import t from 'tap'
import type { Pod } from '../../api/types.ts'
import { refusedUnder } from './admission.ts'

const bestEffort: Pod = { metadata: { name: 'web' }, spec: { containers: [{ name: 'c', image: 'i' }] } }
const burstable: Pod = {
  ...bestEffort,
  spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { memory: '1Mi' } } }] },
}
const tolerating: Pod = {
  ...bestEffort,
  spec: {
    ...bestEffort.spec,
    tolerations: [{ key: 'node.kubernetes.io/memory-pressure', operator: 'Exists', effect: 'NoSchedule' }],
  },
}
const critical: Pod = { ...bestEffort, spec: { ...bestEffort.spec, priority: 2_000_000_000 } }
const fromFolder: Pod = { ...bestEffort, metadata: { name: 'web', annotations: { 'kubernetes.io/config.source': 'file' } } }

for (const [name, conditions, pod, message] of [
  ['a node that is well takes every pod', [], bestEffort, undefined],
  [
    'too little memory keeps out pods that do not say what they need',
    ['MemoryPressure'],
    bestEffort,
    'The node had condition: [MemoryPressure]. ',
  ],
  ['those that say so are taken', ['MemoryPressure'], burstable, undefined],
  ['and those that put up with it', ['MemoryPressure'], tolerating, undefined],
  ['a full disk keeps out all', ['DiskPressure'], burstable, 'The node had condition: [DiskPressure]. '],
  ['also those that put up with too little memory', ['DiskPressure'], tolerating, 'The node had condition: [DiskPressure]. '],
  [
    'too little memory is no excuse beside another shortage',
    ['MemoryPressure', 'PIDPressure'],
    burstable,
    'The node had condition: [MemoryPressure PIDPressure]. ',
  ],
  ['critical pods are always taken', ['MemoryPressure', 'DiskPressure', 'PIDPressure'], critical, undefined],
  ['and those of the folder', ['DiskPressure'], fromFolder, undefined],
] as const) {
  t.test(name, async t => {
    const expected = message === undefined ? undefined : { ok: false, reason: 'Evicted', message }
    t.same(refusedUnder(conditions, pod), expected)
  })
}
