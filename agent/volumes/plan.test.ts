import t from 'tap'
import type { Container, Pod, PodSpec, Volume } from '../../api/types.ts'
import { nestedMountPoints, planVolume, podMemoryLimit, references, usedVolumes } from './plan.ts'

const containerOf = (more: Partial<Container> = {}): Container => ({ name: 'main', image: 'i', ...more })
const podOf = (spec: Partial<PodSpec> = {}): Pod => ({
  metadata: { name: 'web', namespace: 'shop', uid: 'u' },
  spec: { containers: [containerOf()], ...spec },
})
const dir = '/k/pods/u'
const planned = (volume: Volume, pod = podOf(), memory = '1Gi') =>
  planVolume({ pod, podDir: dir, node: { name: 'n1', labels: {} }, allocatable: memory === '' ? {} : { memory } }, volume)
const gib = 1024 ** 3
const files = (plugin: string, more: object) => ({
  do: 'files',
  dir: `${dir}/volumes/kubernetes.io~${plugin}/v`,
  tmpfs: { sizeBytes: gib },
  defaultMode: 0o644,
  nested: [],
  ...more,
})
const emptyDir = {
  do: 'empty-dir',
  dir: `${dir}/volumes/kubernetes.io~empty-dir/v`,
  ready: `${dir}/plugins/kubernetes.io~empty-dir/v`,
  tmpfs: undefined,
}

for (const [name, volume, expected] of [
  ['an emptyDir', { name: 'v', emptyDir: {} }, emptyDir],
  ['a volume that says nothing is an emptyDir', { name: 'v' }, emptyDir],
  [
    'an emptyDir in memory is as large as the memory for pods',
    { name: 'v', emptyDir: { medium: 'Memory' } },
    { ...emptyDir, tmpfs: { sizeBytes: gib } },
  ],
  [
    'its limit makes it smaller',
    { name: 'v', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    { ...emptyDir, tmpfs: { sizeBytes: 1024 ** 2 } },
  ],
  ['never larger', { name: 'v', emptyDir: { medium: 'Memory', sizeLimit: '1Ti' } }, { ...emptyDir, tmpfs: { sizeBytes: gib } }],
  [
    'a limit of 0 is none',
    { name: 'v', emptyDir: { medium: 'Memory', sizeLimit: 0 } },
    { ...emptyDir, tmpfs: { sizeBytes: gib } },
  ],
  [
    'a hostPath',
    { name: 'v', hostPath: { path: '/etc', type: 'Directory' } },
    { do: 'host-path', path: '/etc', type: 'Directory' },
  ],
  [
    'a config map is on the disk',
    { name: 'v', configMap: { name: 'c' } },
    files('configmap', { tmpfs: undefined, sources: [{ from: 'configmap', name: 'c', items: [], optional: false }] }),
  ],
  [
    'a secret is in memory',
    { name: 'v', secret: { secretName: 's', optional: true, defaultMode: 0o400, items: [{ key: 'k', path: 'p' }] } },
    files('secret', {
      defaultMode: 0o400,
      sources: [{ from: 'secret', name: 's', items: [{ key: 'k', path: 'p' }], optional: true }],
    }),
  ],
  [
    'a downwardAPI volume',
    { name: 'v', downwardAPI: { items: [{ path: 'p', fieldRef: { fieldPath: 'metadata.name' } }] } },
    files('downward-api', { sources: [{ from: 'downward', items: [{ path: 'p', fieldRef: { fieldPath: 'metadata.name' } }] }] }),
  ],
  [
    'a projected volume keeps the order of its sources, a token lasts an hour',
    { name: 'v', projected: { sources: [{ serviceAccountToken: { path: 't' } }, { configMap: { name: 'c' } }] } },
    files('projected', {
      sources: [
        { from: 'token', path: 't', audience: '', expirationSeconds: 3600 },
        { from: 'configmap', name: 'c', items: [], optional: false },
      ],
    }),
  ],
  [
    'an NFS export, by an IPv6 address',
    { name: 'v', nfs: { server: 'fd00::1', path: '/srv', readOnly: true } },
    {
      do: 'nfs',
      source: '[fd00::1]:/srv',
      dir: `${dir}/volumes/kubernetes.io~nfs/v`,
      readOnly: true,
      options: [],
      isForOnePod: false,
    },
  ],
  ['an image', { name: 'v', image: { reference: 'registry/x:1' } }, { do: 'image', reference: 'registry/x:1' }],
] as const)
  t.test(name, async t => {
    t.same(planned(volume as Volume), expected)
  })

for (const [volume, message] of [
  [{ name: 'v', emptyDir: { medium: 'HugePages-2Mi' } }, 'emptyDir of medium "HugePages-2Mi" is not supported on this node'],
  [{ name: 'v', emptyDir: { medium: 'Tape' } }, 'unknown storage medium "Tape"'],
  [
    { name: 'v', persistentVolumeClaim: { claimName: 'c' } },
    'persistentVolumeClaim needs a control plane that binds claims, and this node runs without one',
  ],
  [{ name: 'v', ephemeral: {} }, 'ephemeral needs a control plane that binds claims, and this node runs without one'],
  [
    { name: 'v', csi: { driver: 'd.example.org' } },
    'driver name d.example.org not found in the list of registered CSI drivers: CSI volumes are not supported on this node',
  ],
  [{ name: 'v', gitRepo: { repository: 'r' } }, /^git-repo volume plugin has been disabled/],
  [
    { name: 'v', projected: { sources: [{ clusterTrustBundle: {} }] } },
    'projected source clusterTrustBundle is not supported on this node: its feature gate ClusterTrustBundleProjection is off, as it is by default',
  ],
  [{ name: '../v', emptyDir: {} }, /^"..\/v" cannot be the name of a volume/],
] as const)
  t.test(`refused: ${JSON.stringify(volume)}`, async t => {
    t.throws(() => planned(volume as Volume), { message, retry: 'never' })
  })

t.test('without any bound a tmpfs has none', async t => {
  t.match(planned({ name: 'v', emptyDir: { medium: 'Memory' } }, podOf(), ''), { tmpfs: { sizeBytes: undefined } })
})

const limited = (memory?: string, more: Partial<Container> = {}) =>
  containerOf({ ...(memory !== undefined && { resources: { limits: { memory } } }), ...more })
for (const [name, spec, expected] of [
  ['the sum of its containers', { containers: [limited('1Ki'), limited('2Ki')] }, 3 * 1024],
  ['none as soon as one has none', { containers: [limited('1Ki'), limited()] }, undefined],
  ['none as soon as an init container has none', { containers: [limited('1Ki')], initContainers: [limited()] }, undefined],
  [
    'that of a larger init container',
    { containers: [limited('1Ki')], initContainers: [limited('8Ki'), limited('4Ki')] },
    8 * 1024,
  ],
  [
    'with sidecars, which run beside both',
    { containers: [limited('1Ki')], initContainers: [limited('2Ki', { restartPolicy: 'Always' }), limited('4Ki')] },
    6 * 1024,
  ],
  ["the pod's own, where it sets one", { containers: [limited('1Ki')], resources: { limits: { memory: '16Ki' } } }, 16 * 1024],
  ['with the overhead of its runtime class', { containers: [limited('1Ki')], overhead: { memory: '1Ki' } }, 2 * 1024],
] as const)
  t.test(`the memory limit of a pod is ${name}`, async t => {
    t.equal(podMemoryLimit(podOf(spec)), expected)
  })

t.test('only volumes that some container mounts are used, ephemeral and init containers count', async t => {
  const mounting = (name: string) => containerOf({ volumeMounts: [{ name, mountPath: '/x' }] })
  const volumes = ['a', 'b', 'c', 'd'].map(name => ({ name, emptyDir: {} }))
  const pod = podOf({
    volumes,
    containers: [mounting('a')],
    initContainers: [mounting('b')],
    ephemeralContainers: [mounting('c')],
  })
  t.same(
    usedVolumes(pod).map(({ name }) => name),
    ['a', 'b', 'c'],
  )
})

for (const [name, mounts, expected] of [
  ['a volume inside', { conf: ['/etc/app'], x: ['/etc/app/x'] }, ['x']],
  ['a deep one', { conf: ['/etc/app/'], x: ['/etc/app/a/b'] }, ['a/b']],
  [
    'not one inside another one',
    { conf: ['/dir'], x: ['/dir/nested', '/dir/nested/other', '/dir/nested2', '/dir/nested.vol'] },
    ['nested', 'nested.vol', 'nested2'],
  ],
  ['none beside it', { conf: ['/etc/app'], x: ['/etc/apple', '/etc'] }, []],
] as const)
  t.test(`folders for nested mounts: ${name}`, async t => {
    const volumeMounts = Object.entries(mounts).flatMap(([volume, paths]) =>
      paths.map((mountPath: string) => ({ name: volume, mountPath })),
    )
    t.same([...nestedMountPoints(podOf({ containers: [containerOf({ volumeMounts })] }), 'conf')].sort(), [...expected].sort())
  })

t.test('a pod refers to the objects of its volumes, variables and image pulls', async t => {
  const pod = podOf({
    imagePullSecrets: [{ name: 'pull' }, {}],
    volumes: [
      { name: 'a', configMap: { name: 'vol' } },
      { name: 'b', secret: { secretName: 'vol-s' } },
      { name: 'c', projected: { sources: [{ configMap: { name: 'proj' } }, { secret: { name: 'proj-s' } }] } },
    ],
    containers: [
      containerOf({
        envFrom: [{ configMapRef: { name: 'from' } }, { secretRef: { name: 'from-s' } }],
        env: [
          { name: 'A', valueFrom: { configMapKeyRef: { name: 'key', key: 'k' } } },
          { name: 'B', valueFrom: { secretKeyRef: { name: 'key-s', key: 'k' } } },
        ],
      }),
    ],
  })
  const { configMaps, secrets } = references(pod)
  t.same([...configMaps].sort(), ['shop/from', 'shop/key', 'shop/proj', 'shop/vol'])
  t.same([...secrets].sort(), ['shop/from-s', 'shop/key-s', 'shop/proj-s', 'shop/pull', 'shop/vol-s'])
})
