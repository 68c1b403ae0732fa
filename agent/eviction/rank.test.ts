import t from 'tap'
import type { Pod } from '../../api/types.ts'
import { type Kept, keptOn, reclaimsFor } from './disks.ts'
import { type PodUse, rank } from './rank.ts'
import type { Starved } from './thresholds.ts'

interface Given {
  readonly name: string
  readonly use?: Partial<PodUse>
  readonly requests?: Readonly<Record<string, string>>
  readonly priority?: number
  readonly overhead?: Readonly<Record<string, string>>
}

const toPod = ({ name, requests = {}, priority, overhead }: Given): Pod => ({
  metadata: { name, uid: name },
  spec: {
    containers: [{ name: 'c', image: 'i', resources: { requests } }],
    ...(priority !== undefined && { priority }),
    ...(overhead && { overhead }),
  },
})

const order = (given: readonly Given[], starved: Starved, kept: readonly Kept[] = []) => {
  const uses = new Map(given.flatMap(({ name, use }) => (use ? [[name, { containers: new Map(), ...use }] as const] : [])))
  return rank(given.map(toPod), uses, { starved, kept }).map(it => it.metadata.name)
}

const files = (layer: number, logs: number, volumes: number): Partial<PodUse> => ({
  containers: new Map([['c', { layer: { bytes: layer, inodes: layer * 10 }, logs: { bytes: logs, inodes: logs * 10 } }]]),
  volumes: { bytes: volumes, inodes: volumes * 10 },
})

for (const [name, given, expected] of [
  [
    'those above their requests go before those within, whatever their priority',
    [
      { name: 'within', use: { memoryBytes: 900 }, requests: { memory: '1000' } },
      { name: 'above', use: { memoryBytes: 20 }, requests: { memory: '10' }, priority: 1000 },
    ],
    ['above', 'within'],
  ],
  [
    'then the lower priority goes first',
    [
      { name: 'high', use: { memoryBytes: 500 }, priority: 10 },
      { name: 'low', use: { memoryBytes: 5 }, priority: -1 },
      { name: 'none', use: { memoryBytes: 50 } },
    ],
    ['low', 'none', 'high'],
  ],
  [
    'then who is further above',
    [
      { name: 'burstable', use: { memoryBytes: 600 }, requests: { memory: '500' } },
      { name: 'best-effort', use: { memoryBytes: 200 } },
    ],
    ['best-effort', 'burstable'],
  ],
  [
    'overhead adds to a request and makes none',
    [
      { name: 'none', use: { memoryBytes: 50 }, overhead: { memory: '100' } },
      { name: 'some', use: { memoryBytes: 150 }, requests: { memory: '60' }, overhead: { memory: '100' } },
    ],
    ['none', 'some'],
  ],
  [
    'a pod of which nothing is known goes first',
    [
      { name: 'known', use: { memoryBytes: 1000 } },
      { name: 'unknown', priority: 5 },
    ],
    ['unknown', 'known'],
  ],
] as const) {
  t.test(`memory: ${name}`, async t => t.same(order(given, 'memory'), expected))
}

t.test('process ids: priority decides, then the number', async t =>
  t.same(
    order(
      [
        { name: 'few', use: { processes: 2 } },
        { name: 'many', use: { processes: 200 } },
        { name: 'dear', use: { processes: 1000 }, priority: 1 },
      ],
      'pids',
    ),
    ['many', 'few', 'dear'],
  ),
)

const writers = [
  { name: 'layer', use: files(70, 1, 1) },
  { name: 'logs', use: files(1, 60, 1) },
  { name: 'volumes', use: files(1, 1, 50) },
] as const
for (const [name, starved, kept, expected] of [
  ['everything counts on one disk', 'ephemeral-storage', keptOn('nodefs.available', 'one'), ['layer', 'logs', 'volumes']],
  [
    'logs and volumes on the node, layers apart',
    'ephemeral-storage',
    keptOn('nodefs.available', 'runtime-apart'),
    ['logs', 'volumes', 'layer'],
  ],
  [
    'layers alone on the disk of the runtime',
    'ephemeral-storage',
    keptOn('imagefs.available', 'runtime-apart'),
    ['layer', 'logs', 'volumes'],
  ],
  ['inodes are counted as bytes are', 'inodes', keptOn('nodefs.inodesFree', 'runtime-apart'), ['logs', 'volumes', 'layer']],
] as const) {
  t.test(`disk: ${name}`, async t => t.same(order(writers, starved, kept), expected))
}

t.test('disk: who asked for it may use it', async t =>
  t.same(
    order([{ ...writers[0], requests: { 'ephemeral-storage': '1Ki' } }, writers[1]], 'ephemeral-storage', ['layers', 'logs']),
    ['logs', 'layer'],
  ),
)

for (const [signal, layout, expected] of [
  ['memory.available', 'one', []],
  ['pid.available', 'one', []],
  ['nodefs.available', 'one', ['containers', 'images']],
  ['nodefs.available', 'runtime-apart', []],
  ['imagefs.inodesFree', 'runtime-apart', ['containers', 'images']],
  ['imagefs.available', 'images-apart', ['images']],
  ['containerfs.available', 'images-apart', ['containers']],
] as const) {
  t.test(`against ${signal} on disks "${layout}" helps: ${expected.join(', ') || 'nothing'}`, async t =>
    t.same(reclaimsFor(signal, layout), expected),
  )
}
