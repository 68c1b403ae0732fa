import t from 'tap'
import type { PersistentVolumeSpec } from '../../api/storage.ts'
import type { Container, Pod } from '../../api/types.ts'
import { planPersistent } from './persistent.ts'

const podOf = (use: Partial<Container>): Pod => ({
  metadata: { name: 'web', namespace: 'shop', uid: 'u' },
  spec: { containers: [{ name: 'main', image: 'i', ...use }] },
})
const mounted = podOf({ volumeMounts: [{ name: 'v', mountPath: '/v' }] })
const asDevice = podOf({ volumeDevices: [{ name: 'v', devicePath: '/dev/x' }] })
const planned = (spec: PersistentVolumeSpec, { readOnly = false, pod = mounted } = {}) =>
  planPersistent(
    { pod, podDir: '/k/pods/u', node: { name: 'n1', labels: { zone: 'a' } } },
    { name: 'v', persistentVolumeClaim: { claimName: 'c' } },
    { volume: { metadata: { name: 'pv-1' }, spec }, readOnly },
  )
const inZone = (zone: string) => ({
  required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: [zone] }] }] },
})
const local = {
  ...{ do: 'local', name: 'pv-1', source: '/srv/data', fsType: 'ext4', readOnly: false, options: [], isForOnePod: false },
  dir: '/k/pods/u/volumes/kubernetes.io~local-volume/pv-1',
  disk: '/k/plugins/kubernetes.io/local-volume/mounts/pv-1',
  begun: '/k/pods/u/plugins/kubernetes.io~local-volume/pv-1/begun',
}

for (const [name, spec, more, expected] of [
  ['a local volume is in a folder of its own name', { local: { path: '/srv/data' }, nodeAffinity: inZone('a') }, {}, local],
  [
    'the claim makes it read-only, the volume says how it is mounted',
    { local: { path: '/srv/data', fsType: 'xfs' }, mountOptions: ['noatime'] },
    { readOnly: true },
    { ...local, fsType: 'xfs', readOnly: true, options: ['noatime'] },
  ],
  [
    'one that is for a single pod',
    { local: { path: '/srv/data' }, accessModes: ['ReadWriteOncePod'] },
    {},
    { ...local, isForOnePod: true },
  ],
  ['other access modes bind nobody on a node', { local: { path: '/srv/data' }, accessModes: ['ReadOnlyMany'] }, {}, local],
  [
    'a local block volume is a device',
    { local: { path: '/dev/vdb' }, volumeMode: 'Block' },
    { pod: asDevice },
    { do: 'device', path: '/dev/vdb', readOnly: false },
  ],
  [
    'a hostPath volume is the path, with its type',
    { hostPath: { path: '/srv', type: 'Directory' } },
    { readOnly: true },
    { do: 'host-path', path: '/srv', type: 'Directory', readOnly: true },
  ],
  [
    'an NFS volume with its options',
    { nfs: { server: 'files', path: '/x' }, mountOptions: ['nfsvers=4.2'] },
    {},
    {
      ...{ do: 'nfs', source: 'files:/x', readOnly: false, options: ['nfsvers=4.2'], isForOnePod: false },
      dir: '/k/pods/u/volumes/kubernetes.io~nfs/pv-1',
    },
  ],
] as const)
  t.test(name, async t => {
    t.same(planned(spec as PersistentVolumeSpec, more as { readOnly?: boolean; pod?: Pod }), expected)
  })

for (const [name, spec, pod, expected] of [
  [
    'a volume of another zone',
    { local: { path: '/srv/data' }, nodeAffinity: inZone('b') },
    mounted,
    { message: 'no matching NodeSelectorTerms', reason: 'NodeAffinity', retry: 'backoff' },
  ],
  [
    'a block volume as a folder',
    { local: { path: '/dev/vdb' }, volumeMode: 'Block' },
    mounted,
    { message: 'volume v has volumeMode Block, but is specified in volumeMounts' },
  ],
  [
    'a folder as a device',
    { local: { path: '/srv' } },
    asDevice,
    { message: 'volume v has volumeMode Filesystem, but is specified in volumeDevices' },
  ],
  [
    'options for a path, which is not mounted',
    { hostPath: { path: '/srv' }, mountOptions: ['ro'] },
    mounted,
    { message: 'mount options are not supported for this volume type', reason: 'MountOptionSupport' },
  ],
  ['a CSI volume', { csi: { driver: 'd.example.org', volumeHandle: 'h' } }, mounted, { message: /^driver name d.example.org/ }],
  [
    'a kind that is not here',
    { iscsi: {}, capacity: { storage: '1Gi' } },
    mounted,
    { message: 'volume pv-1 is of kind iscsi, which is not supported on this node' },
  ],
] as const)
  t.test(`refused: ${name}`, async t => {
    t.throws(() => planned(spec as PersistentVolumeSpec, { pod }), expected)
  })
