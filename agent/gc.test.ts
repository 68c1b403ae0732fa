import t from 'tap'
import type { Image } from '../api/cri/types.ts'
import { type ImageGcFacts, observeImages, planImageGc } from './gc.ts'

const hour = 3_600_000
const image = (id: string, size: number, more: Partial<Image> = {}): Image => ({
  id,
  repoTags: [`docker.io/library/${id}:latest`],
  repoDigests: [],
  size,
  uid: null,
  username: '',
  spec: null,
  pinned: false,
  ...more,
})
const settings = { highPercent: 85, lowPercent: 80, minAgeMs: 120_000, maxAgeMs: 0 }
const now = 100 * hour
const facts = (images: readonly Image[], more: Partial<ImageGcFacts> = {}): ImageGcFacts => ({
  images,
  records: new Map(images.map(({ id }, index) => [id, { firstSeen: index * hour, lastUsed: index * hour }])),
  inUse: new Set(),
  named: [],
  disk: { bytes: 1000, availableBytes: 100 },
  since: 0,
  now,
  ...more,
})
const three = [image('a', 60), image('b', 60), image('c', 60)]
const removed = (given: ImageGcFacts, more: Partial<typeof settings> = {}) =>
  planImageGc(given, { ...settings, ...more }).remove.map(({ id, why }) => `${id} ${why}`)

for (const [name, given, expected] of [
  ['below the high threshold nothing goes', facts(three, { disk: { bytes: 1000, availableBytes: 160 } }), []],
  ['at it, down to the low one, from the one unused the longest', facts(three), ['a disk', 'b disk']],
  ['one in use stays', facts(three, { inUse: new Set(['a']) }), ['b disk', 'c disk']],
  ['a pinned one stays', facts([image('a', 60, { pinned: true }), ...three.slice(1)]), ['b disk', 'c disk']],
  ['one that a pod names stays, however it is spelled', facts(three, { named: ['a', 'docker.io/library/b:latest'] }), ['c disk']],
  [
    'one that came just now stays',
    facts(three, { records: new Map(three.map(({ id }) => [id, { firstSeen: now - 1000, lastUsed: 0 }])) }),
    [],
  ],
  [
    'one that nobody used yet goes first',
    facts(three, {
      records: new Map([
        ['a', { firstSeen: 1, lastUsed: 5 }],
        ['b', { firstSeen: 2, lastUsed: 4 }],
        ['c', { firstSeen: 3, lastUsed: 0 }],
      ]),
    }),
    ['c disk', 'b disk'],
  ],
] as const) {
  t.test(name, async t => t.same(removed(given), expected))
}

t.test('a node that runs short gives up every image that may go, whatever the disk of images', async t => {
  const roomy = facts(three, { disk: { bytes: 1000, availableBytes: 900 }, inUse: new Set(['b']) })
  t.same(
    planImageGc(roomy, settings, 'all').remove.map(({ id }) => id),
    ['a', 'c'],
  )
})

t.test('unused for too long, an image goes whatever the disk', async t => {
  const roomy = { disk: { bytes: 1000, availableBytes: 900 } }
  t.same(removed(facts(three, roomy), { maxAgeMs: 98.5 * hour }), ['a age', 'b age'])
  t.same(
    removed(facts(three, { ...roomy, since: now - hour }), { maxAgeMs: 98.5 * hour }),
    [],
    'but not before we know for so long',
  )
})

t.test('what cannot be freed is said, with the reasons', async t => {
  const plan = planImageGc(facts(three, { inUse: new Set(['a', 'b']) }), settings)
  t.match(plan, { usedPercent: 90, wantedBytes: 100, missingBytes: 40 })
  t.same(
    plan.keep.map(({ id, why }) => [id, why]),
    [
      ['a', 'in use'],
      ['b', 'in use'],
    ],
  )
})

t.test('records follow what is seen', async t => {
  const first = observeImages(new Map(), three.slice(0, 2), new Set(['a']), 1)
  const second = observeImages(first, three.slice(1), new Set(['c']), 2)
  t.same(
    [...second],
    [
      ['b', { firstSeen: 1, lastUsed: 0 }],
      ['c', { firstSeen: 2, lastUsed: 2 }],
    ],
  )
})
