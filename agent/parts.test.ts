import t from 'tap'
import { createStore } from '../api/source.ts'
import type { ConfigMap, Container, Pod, Secret } from '../api/types.ts'
import { Fault } from '../host/fault.ts'
import { createParts } from './parts.ts'
import { nothingSeen } from './seen.ts'

const container: Container = {
  name: 'main',
  image: 'i',
  env: [{ name: 'COLOR', valueFrom: { configMapKeyRef: { name: 'conf', key: 'color' } } }],
}
const pod: Pod = { metadata: { name: 'web', namespace: 'shop', uid: 'u' }, spec: { containers: [container] } }

const partsWith = (known: (maps: ReturnType<typeof createStore<ConfigMap>>) => Promise<void>) => {
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
    services: createStore(),
    volumes: { envFiles: async () => new Map(), mounts: async () => ({ mounts: [] }) },
    warn: () => undefined,
  })
}
const image = { imageRef: 'i', uid: 0, username: '' }

t.test('a container waits until what its variables come from was looked up', async t => {
  const parts = partsWith(async maps => maps.put({ metadata: { name: 'conf', namespace: 'shop' }, data: { color: 'blue' } }))
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
