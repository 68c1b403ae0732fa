import t from 'tap'
import type { Pod } from '../../api/types.ts'
import { type EvictionCase, evictionWords } from './message.ts'

const mib = 2 ** 20
const pod: Pod = {
  metadata: { name: 'web', uid: 'u' },
  spec: {
    containers: [
      { name: 'a', image: 'i', resources: { requests: { memory: '64Mi' } } },
      { name: 'b', image: 'i' },
    ],
    initContainers: [{ name: 'side', image: 'i', restartPolicy: 'Always' }],
  },
}
const memory: EvictionCase = {
  pod,
  starved: 'memory',
  due: [{ signal: 'memory.available', value: '100Mi', graceMs: 0 }],
  observations: new Map([['memory.available', { available: 50 * mib + 4096, capacity: 8192 * mib }]]),
  use: {
    memoryBytes: 90 * mib,
    containers: new Map([
      ['a', { memoryBytes: 65 * mib }],
      ['b', { memoryBytes: 1 }],
      ['side', { memoryBytes: 0 }],
    ]),
  },
}
const low = 'The node was low on resource: memory. Threshold quantity: 100Mi, available: 51204Ki. '

for (const [name, given, message] of [
  [
    'containers above their requests are named, in the order of the spec',
    memory,
    `${low}Container a was using 65Mi, request is 64Mi, has larger consumption of memory. ` +
      'Container b was using 1, request is 0, has larger consumption of memory. ',
  ],
  ['of a pod that nobody measured there is no more to say', { ...memory, use: undefined }, low],
  [
    'a share is shown as what it comes to',
    { ...memory, use: undefined, due: [{ signal: 'memory.available', value: '10%', graceMs: 0 }] },
    `The node was low on resource: memory. Threshold quantity: ${Math.trunc(8192 * mib * Math.fround(0.1))}, available: 51204Ki. `,
  ],
  [
    'what the pod as a whole asked for is told before its containers',
    { ...memory, pod: { ...pod, spec: { ...pod.spec, resources: { requests: { memory: '80Mi' } } } } },
    `${low}Pod web was using 90Mi, request is 80Mi, has larger consumption of memory. ` +
      'Container a was using 65Mi, request is 64Mi, has larger consumption of memory. ' +
      'Container b was using 1, request is 0, has larger consumption of memory. ',
  ],
  [
    'inodes are counted, and no container is blamed for them',
    {
      ...memory,
      starved: 'inodes',
      due: [
        { signal: 'memory.available', value: '100Mi', graceMs: 0 },
        { signal: 'nodefs.inodesFree', value: '5k', graceMs: 0 },
      ],
      observations: new Map([
        ['memory.available', { available: 1, capacity: 2 }],
        ['nodefs.inodesFree', { available: 3000, capacity: 100_000 }],
      ]),
    },
    'The node was low on resource: inodes. Threshold quantity: 5k, available: 3k. ',
  ],
] as const satisfies readonly (readonly [string, EvictionCase, string])[]) {
  t.test(name, async t => t.equal(evictionWords(given).message, message))
}

t.test('layers and logs count together, where both are known', async t => {
  const given: EvictionCase = {
    pod,
    starved: 'ephemeral-storage',
    due: [{ signal: 'nodefs.available', value: '10%', graceMs: 0 }],
    observations: new Map([['nodefs.available', { available: 1024, capacity: 100 * 1024 }]]),
    use: {
      containers: new Map([
        ['a', { layer: { bytes: 2048, inodes: 1 }, logs: { bytes: 1024, inodes: 1 } }],
        ['b', { layer: { bytes: 2048, inodes: 1 } }],
      ]),
    },
  }
  t.equal(
    evictionWords(given).message,
    'The node was low on resource: ephemeral-storage. Threshold quantity: 10Ki, available: 1Ki. ' +
      'Container a was using 3Ki, request is 0, has larger consumption of ephemeral-storage. ',
  )
})

t.test('the Event says the same for programs', async t =>
  t.same(evictionWords(memory).annotations, {
    offending_containers: 'a,b',
    offending_containers_usage: '65Mi,1',
    starved_resource: 'memory',
  }),
)
