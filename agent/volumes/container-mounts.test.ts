import t from 'tap'
import type { Container, VolumeMount } from '../../api/types.ts'
import { type ContainerMountsInput, containerDevices, containerMounts } from './container-mounts.ts'
import type { VolumeAction } from './plan.ts'

const actions: Readonly<Record<string, VolumeAction>> = {
  tmp: { do: 'empty-dir', dir: '/k/tmp', ready: '/k/r', tmpfs: undefined },
  conf: { do: 'files', dir: '/k/conf', tmpfs: undefined, defaultMode: 0o644, sources: [], nested: [] },
  host: { do: 'host-path', path: '/srv', type: '' },
  pic: { do: 'image', reference: 'x:1' },
  disk: { do: 'nfs', source: 's:/x', dir: '/k/nfs', readOnly: true, options: [], isForOnePod: false },
}
const mountsOf = (mounts: readonly VolumeMount[], more: Partial<ContainerMountsInput> = {}, container: Partial<Container> = {}) =>
  containerMounts({
    container: { name: 'main', image: 'i', volumeMounts: mounts, ...container },
    env: [{ key: 'NAME', value: Buffer.from('web-0') }],
    action: name => actions[name],
    images: new Map([['pic', { image: 'sha256:1' }]]),
    supportsRecursiveReadOnly: true,
    selinux: false,
    mountSubPath: async ({ volumePath, subPath, index }) => `${volumePath} -> ${subPath} (${index})`,
    ...more,
  })
const plain = { readonly: false, selinuxRelabel: false, propagation: 'PROPAGATION_PRIVATE', recursiveReadOnly: false }

for (const [name, mount, expected] of [
  ['an emptyDir', { name: 'tmp', mountPath: '/t' }, { containerPath: '/t', hostPath: '/k/tmp', ...plain }],
  [
    'a path that is not absolute starts at the root',
    { name: 'tmp', mountPath: 't' },
    { containerPath: '/t', hostPath: '/k/tmp', ...plain },
  ],
  [
    'what the agent writes is read-only',
    { name: 'conf', mountPath: '/c', readOnly: false },
    { containerPath: '/c', hostPath: '/k/conf', ...plain, readonly: true },
  ],
  [
    'a hostPath is the path itself',
    { name: 'host', mountPath: '/h', readOnly: true, mountPropagation: 'HostToContainer' },
    { containerPath: '/h', hostPath: '/srv', ...plain, readonly: true, propagation: 'PROPAGATION_HOST_TO_CONTAINER' },
  ],
  [
    'what a claim allows only to be read is read-only',
    { name: 'disk', mountPath: '/d' },
    { containerPath: '/d', hostPath: '/k/nfs', ...plain, readonly: true },
  ],
  [
    'both ways',
    { name: 'host', mountPath: '/h', mountPropagation: 'Bidirectional' },
    { containerPath: '/h', hostPath: '/srv', ...plain, propagation: 'PROPAGATION_BIDIRECTIONAL' },
  ],
  [
    'a subPath',
    { name: 'tmp', mountPath: '/t', subPath: 'a/b' },
    { containerPath: '/t', hostPath: '/k/tmp -> a/b (0)', ...plain },
  ],
  [
    'a subPathExpr',
    { name: 'tmp', mountPath: '/t', subPathExpr: 'a/$(NAME)' },
    { containerPath: '/t', hostPath: '/k/tmp -> a/web-0 (0)', ...plain },
  ],
  [
    'an image and a folder of it',
    { name: 'pic', mountPath: '/i', subPath: 'a' },
    { containerPath: '/i', image: { image: 'sha256:1' }, imageSubPath: 'a', ...plain, readonly: true },
  ],
  [
    'recursively read-only',
    { name: 'host', mountPath: '/h', readOnly: true, recursiveReadOnly: 'Enabled' },
    { containerPath: '/h', hostPath: '/srv', ...plain, readonly: true, recursiveReadOnly: true },
  ],
] as const)
  t.test(name, async t => {
    t.same(await mountsOf([mount]), [expected])
  })

const recursive = (more: Partial<VolumeMount>): VolumeMount => ({
  name: 'host',
  mountPath: '/h',
  readOnly: true,
  recursiveReadOnly: 'Enabled',
  ...more,
})
for (const [name, mount, more, message] of [
  [
    'a volume that the pod does not have',
    { name: 'no', mountPath: '/x' },
    {},
    'cannot find volume "no" to mount into container "main"',
  ],
  ['a variable that is not set', { name: 'tmp', mountPath: '/t', subPathExpr: '$(NO)' }, {}, 'missing value for NO'],
  [
    'an image that was not pulled',
    { name: 'pic', mountPath: '/i' },
    { images: new Map() },
    'image "x:1" of volume "pic" was not pulled',
  ],
  [
    'recursive read-only on a mount that is not read-only',
    recursive({ readOnly: false }),
    {},
    'failed to resolve recursive read-only mode: volume "host" requested recursive read-only mode, but it is not read-only',
  ],
  [
    'recursive read-only with propagation',
    recursive({ mountPropagation: 'HostToContainer' }),
    {},
    'failed to resolve recursive read-only mode: volume "host" requested recursive read-only mode, but it is not compatible with propagation "HostToContainer"',
  ],
  [
    'recursive read-only that the runtime lacks',
    recursive({}),
    { supportsRecursiveReadOnly: false },
    'failed to resolve recursive read-only mode: volume "host" requested recursive read-only mode, but it is not supported by the runtime',
  ],
] as const)
  t.test(`refused: ${name}`, async t => {
    await t.rejects(mountsOf([mount], more), { message, code: 'container-config', reason: 'CreateContainerConfigError' })
  })

t.test('recursive read-only if possible follows the runtime', async t => {
  const [mount] = await mountsOf([recursive({ recursiveReadOnly: 'IfPossible' })], { supportsRecursiveReadOnly: false })
  t.match(mount, { readonly: true, recursiveReadOnly: false })
})

t.test("under SELinux a pod's own volumes are relabelled, the node's files are not", async t => {
  const mounts = await mountsOf(
    [
      { name: 'tmp', mountPath: '/t' },
      { name: 'conf', mountPath: '/c' },
      { name: 'host', mountPath: '/h' },
    ],
    { selinux: true },
  )
  t.same(
    mounts.map(({ selinuxRelabel }) => selinuxRelabel),
    [true, true, false],
  )
})

const disk = { do: 'device', path: '/dev/vdb', readOnly: false } as const
const devicesOf = (action: VolumeAction | undefined) =>
  containerDevices({
    container: { name: 'main', image: 'i', volumeDevices: [{ name: 'raw', devicePath: '/dev/x' }] },
    action: () => action,
  })
t.test('a block volume is a device of the container, read-only when its claim is used so', async t => {
  t.same(devicesOf(disk), [{ containerPath: '/dev/x', hostPath: '/dev/vdb', permissions: 'mrw' }])
  t.same(devicesOf({ ...disk, readOnly: true }), [{ containerPath: '/dev/x', hostPath: '/dev/vdb', permissions: 'r' }])
})

t.test('a device that no volume is, is refused', async t => {
  for (const action of [undefined, { do: 'host-path', path: '/p', type: '' } as const]) {
    t.throws(() => devicesOf(action), { message: 'cannot find volume "raw" to pass into container "main"' })
  }
})
