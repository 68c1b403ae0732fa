import t from 'tap'
import type { Service } from '../api/service-types.ts'
import { createStore } from '../api/source.ts'
import type { ConfigMap, Container, Pod, Secret } from '../api/types.ts'
import { Fault } from '../host/fault.ts'
import { createParts, type PartsDeps } from './parts.ts'
import { nothingSeen } from './seen.ts'

const container: Container = {
  name: 'main',
  image: 'i',
  env: [{ name: 'COLOR', valueFrom: { configMapKeyRef: { name: 'conf', key: 'color' } } }],
}
const pod: Pod = { metadata: { name: 'web', namespace: 'shop', uid: 'u' }, spec: { containers: [container] } }

type Known = (maps: ReturnType<typeof createStore<ConfigMap>>) => Promise<void>
const blue: Known = async maps => maps.put({ metadata: { name: 'conf', namespace: 'shop' }, data: { color: 'blue' } })

const partsWith = (known: Known, services: PartsDeps['services'] = createStore<Service>()) => {
  const maps = createStore<ConfigMap>()
  return createParts({
    ...{
      podLogsDir: '/logs',
      clusterDomain: 'cluster.local',
      clusterDNS: [],
      nodeResolv: () => undefined,
      nodeIPs: () => ['10.0.0.1'],
    },
    allocatable: () => ({}),
    resources: {
      ...{ cgroupVersion: 2, memoryBytes: 2 ** 30, swapBytes: 0, hasSwapController: true, hugePageSizes: [] },
      ...{ cpuCfsQuota: true, cpuCfsQuotaPeriodUs: 100_000, singleProcessOomKill: false, swapBehavior: 'NoSwap' },
    },
    security: { seccompRoot: '/seccomp', seccompDefault: false },
    configMaps: { get: maps.get, known: () => known(maps) },
    secrets: createStore<Secret>(),
    services,
    volumes: { envFiles: async () => new Map(), mounts: async () => ({ mounts: [], devices: [] }), groups: () => [] },
    warn: () => undefined,
  })
}
const image = { imageRef: 'i', uid: 0, username: '' }

t.test('a container waits until what its variables come from was looked up', async t => {
  const parts = partsWith(blue)
  const { envs } = await parts.containerConfig(pod, container, 0, image, nothingSeen)
  t.same(
    (envs ?? []).map(({ key, value }) => `${key}=${value}`),
    ['COLOR=blue'],
  )
})

t.test('what cannot be looked up is the reason that it waits for', async t => {
  const parts = partsWith(async () => {
    throw new Fault('volume', 'failed to sync configmap "conf": nope')
  })
  await t.rejects(parts.containerConfig(pod, container, 0, image, nothingSeen), {
    code: 'container-config',
    reason: 'CreateContainerConfigError',
    message: 'failed to sync configmap "conf": nope',
  })
})

for (const [name, problem, expected] of [
  [
    'a container waits for the first list of Services',
    undefined,
    'services have not yet been read at least once, cannot construct envvars',
  ],
  ['not while the apiserver is away', new Fault('api-away', 'nobody home'), undefined],
  ['not where the node may not read them', new Fault('api-forbidden', 'no'), undefined],
] as const) {
  t.test(name, async t => {
    const parts = partsWith(blue, { list: () => [], isSynced: false, problem: () => problem })
    const made = parts.containerConfig(pod, container, 0, image, nothingSeen)
    if (expected === undefined) await t.resolves(made)
    else await t.rejects(made, { message: expected, reason: 'CreateContainerConfigError' })
  })
}
