import t from 'tap'
import type { Container, Pod, PodSpec } from '../api/types.ts'
import { exceeded, type LocalUsage, toMeasure } from './local-storage.ts'

const mib = 1024 ** 2
const containerOf = (limit?: string, name = 'main'): Container => ({
  name,
  image: 'i',
  ...(limit !== undefined && { resources: { limits: { 'ephemeral-storage': limit } } }),
})
const podOf = (spec: Partial<PodSpec>, annotations: Record<string, string> = {}): Pod => ({
  metadata: { name: 'web', uid: 'u', annotations },
  spec: { containers: [containerOf()], ...spec },
})
const usage = (emptyDirs: Record<string, number>, containers: Record<string, number> = {}, otherBytes = 0): LocalUsage => ({
  emptyDirs: new Map(Object.entries(emptyDirs)),
  containers: new Map(Object.entries(containers)),
  otherBytes,
})
const scratch = { name: 'scratch', emptyDir: { sizeLimit: '1024Mi' } }

for (const [name, pod, given, expected] of [
  [
    'an emptyDir over its limit, which is shown as the API shows it',
    podOf({ volumes: [scratch] }),
    usage({ scratch: 1024 * mib + 1 }),
    'Usage of EmptyDir volume "scratch" exceeds the limit "1Gi". ',
  ],
  ['one that is just full', podOf({ volumes: [scratch] }), usage({ scratch: 1024 * mib }), undefined],
  ['a limit of 0 is none', podOf({ volumes: [{ name: 'v', emptyDir: { sizeLimit: 0 } }] }), usage({ v: 1 }), undefined],
  ['an emptyDir without a limit', podOf({ volumes: [{ name: 'v', emptyDir: {} }] }), usage({ v: 1e12 }), undefined],
  [
    'the pod over the sum of its containers, with all that is its own on the disk',
    podOf({ containers: [containerOf('1Mi'), containerOf('1Mi', 'other')], volumes: [{ name: 'v', emptyDir: {} }] }),
    usage({ v: mib }, { main: mib / 2, other: mib / 2 }, 1),
    'Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ',
  ],
  [
    'what is in memory does not count for it',
    podOf({ containers: [containerOf('1Mi')], volumes: [{ name: 'v', emptyDir: { medium: 'Memory' } }] }),
    usage({ v: 2 * mib }),
    undefined,
  ],
  [
    'a container over its own limit while the pod is not',
    podOf({ containers: [containerOf('1Mi'), containerOf('10Mi', 'other')] }),
    usage({}, { main: 2 * mib, other: 0 }),
    'Container main exceeded its local ephemeral storage limit "1Mi". ',
  ],
  [
    'an emptyDir is named before the pod',
    podOf({ containers: [containerOf('1Mi')], volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Mi' } }] }),
    usage({ v: 2 * mib }),
    'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
  ],
] as const) {
  t.test(name, async t => t.equal(exceeded(pod, given)?.message, expected))
}

for (const [signal, pod, given] of [
  ['emptydirfs.limit', podOf({ volumes: [scratch] }), usage({ scratch: 1025 * mib })],
  ['ephemeralpodfs.limit', podOf({ containers: [containerOf('1Mi')] }), usage({}, { main: 2 * mib })],
  [
    'ephemeralcontainerfs.limit',
    podOf({ containers: [containerOf('1Mi'), containerOf('10Mi', 'other')] }),
    usage({}, { main: 2 * mib }),
  ],
] as const) {
  t.test(`it is counted as ${signal}`, async t => t.equal(exceeded(pod, given)?.signal, signal))
}

for (const [name, pod, expected] of [
  ['a pod without limits is left alone', podOf({ volumes: [{ name: 'v', emptyDir: {} }] }), { emptyDirs: [], whole: false }],
  [
    'an emptyDir with a limit alone',
    podOf({ volumes: [scratch, { name: 'v', emptyDir: {} }] }),
    { emptyDirs: ['scratch'], whole: false },
  ],
  [
    'everything where a container has a limit',
    podOf({ containers: [containerOf('1Mi')], volumes: [{ name: 'v', emptyDir: {} }] }),
    { emptyDirs: ['v'], whole: true },
  ],
  [
    'a static pod is never evicted',
    podOf({ containers: [containerOf('1Mi')], volumes: [scratch] }, { 'kubernetes.io/config.source': 'file' }),
    { emptyDirs: [], whole: false },
  ],
] as const) {
  t.test(name, async t => t.same(toMeasure(pod), expected))
}
