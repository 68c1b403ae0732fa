import t from 'tap'
import type { ResourceRequirements } from '../api/meta.ts'
import type { Container, Pod } from '../api/types.ts'
import { isLimited, podLimits, podRequests, qosClass } from './qos.ts'

const container = (resources: ResourceRequirements = {}, more: Partial<Container> = {}): Container => ({
  name: 'c',
  image: 'i',
  resources,
  ...more,
})
const pod = (containers: readonly Container[], spec: Partial<Pod['spec']> = {}, status?: Pod['status']): Pod => ({
  metadata: { name: 'p', namespace: 'default', uid: 'u' },
  spec: { containers, ...spec },
  ...(status && { status }),
})
const both = (cpu: string, memory: string) => ({ requests: { cpu, memory }, limits: { cpu, memory } })
const sidecar = (requests: Record<string, string>) =>
  container({ requests, limits: requests }, { name: 's', restartPolicy: 'Always' })

for (const [name, given, expected] of [
  ['nothing named is BestEffort', pod([container()]), 'BestEffort'],
  ['cpu and memory limited and requested alike is Guaranteed', pod([container(both('1', '1Gi'))]), 'Guaranteed'],
  [
    'alike is by amount, not by spelling',
    pod([container({ requests: { cpu: '1000m', memory: '1Gi' }, limits: { cpu: 1, memory: '1024Mi' } })]),
    'Guaranteed',
  ],
  [
    'a limit above the request is Burstable',
    pod([container({ requests: { cpu: '1', memory: '1Gi' }, limits: { cpu: '2', memory: '1Gi' } })]),
    'Burstable',
  ],
  [
    'only memory, even alike, is Burstable',
    pod([container({ requests: { memory: '1Gi' }, limits: { memory: '1Gi' } })]),
    'Burstable',
  ],
  ['one container without makes all Burstable', pod([container(both('1', '1Gi')), container()]), 'Burstable'],
  ['an init container counts as well', pod([container(both('1', '1Gi'))], { initContainers: [container()] }), 'Burstable'],
  ['zero is as good as nothing', pod([container({ requests: { cpu: '0' } })]), 'BestEffort'],
  [
    'other resources do not count',
    pod([container({ requests: { 'vendor.example/gpu': '1' }, limits: { 'vendor.example/gpu': '1' } })]),
    'BestEffort',
  ],
  ['the pod level decides alone where it is given', pod([container()], { resources: both('1', '1Gi') }), 'Guaranteed'],
  [
    'pod-level requests without limits are Burstable',
    pod([container(both('1', '1Gi'))], { resources: { requests: { cpu: '1' } } }),
    'Burstable',
  ],
  ['what the status says stays', pod([container()], {}, { phase: 'Running', qosClass: 'Burstable' }), 'Burstable'],
] as const) {
  t.test(name, async t => t.equal(qosClass(given), expected))
}

for (const [name, given, expected] of [
  [
    'requests of containers add up',
    pod([container({ requests: { cpu: '100m' } }), container({ requests: { cpu: '150m', memory: '1Mi' } })]),
    { cpu: 250, memory: 1_048_576 },
  ],
  [
    'an init container counts where it is hungrier than all that runs later',
    pod([container({ requests: { cpu: '1' } })], { initContainers: [container({ requests: { cpu: '3' } })] }),
    { cpu: 3000 },
  ],
  [
    'init containers run one after the other',
    pod([container({ requests: { cpu: '1' } })], {
      initContainers: [container({ requests: { cpu: '2' } }), container({ requests: { cpu: '2' } })],
    }),
    { cpu: 2000 },
  ],
  [
    'a sidecar runs beside the containers',
    pod([container({ requests: { cpu: '1' } })], { initContainers: [sidecar({ cpu: '500m' })] }),
    { cpu: 1500 },
  ],
  [
    'and beside init containers that come after it',
    pod([container({ requests: { cpu: '1' } })], {
      initContainers: [sidecar({ cpu: '500m' }), container({ requests: { cpu: '2' } })],
    }),
    { cpu: 2500 },
  ],
  [
    'not beside those before it',
    pod([container({ requests: { cpu: '1' } })], {
      initContainers: [container({ requests: { cpu: '2' } }), sidecar({ cpu: '500m' })],
    }),
    { cpu: 2000 },
  ],
  [
    'the pod level takes the place of the sum',
    pod([container({ requests: { cpu: '1' } })], { resources: { requests: { cpu: '2' } } }),
    { cpu: 2000 },
  ],
  [
    'overhead is on top',
    pod([container({ requests: { cpu: '1' } })], { overhead: { cpu: '250m', memory: '120Mi' } }),
    { cpu: 1250, memory: 125_829_120 },
  ],
] as const) {
  t.test(name, async t => t.same(podRequests(given), expected))
}

t.test('overhead raises limits that are there and makes none', async t => {
  const given = pod([container({ limits: { cpu: '1' } })], { overhead: { cpu: '250m', memory: '120Mi' } })
  t.same(podLimits(given), { cpu: 1250 })
  t.same(podLimits(given, { overhead: false }), { cpu: 1000 })
})

for (const [name, given, expected] of [
  ['all containers limited', pod([container(both('1', '1Gi')), container(both('1', '1Gi'))]), true],
  ['one container without a limit', pod([container(both('1', '1Gi')), container()]), false],
  ['an init container without a limit', pod([container(both('1', '1Gi'))], { initContainers: [container()] }), false],
  [
    'an init container without one after a sidecar with one',
    pod([container(both('1', '1Gi'))], { initContainers: [sidecar({ cpu: '1', memory: '1Gi' }), container()] }),
    true,
  ],
  ['a limit of the pod as a whole', pod([container()], { resources: { limits: { cpu: '1' } } }), true],
] as const) {
  t.test(`a pod is limited to the sum only when everything in it is: ${name}`, async t =>
    t.equal(isLimited(given, 'cpu'), expected),
  )
}
