import t from 'tap'
import type { Machine } from '../host/machine.ts'
import { allocatableOf, capacityOf, enforcedOf, nodeConditions, toNodeObject } from './node.ts'

const gi = 2 ** 30
const machine: Machine = {
  hostname: 'n1',
  machineId: 'm',
  systemUuid: 's',
  bootId: 'b',
  kernel: '6.1.0-18-amd64',
  osImage: 'Debian GNU/Linux 12 (bookworm)',
  architecture: 'amd64',
  cpus: 4,
  memoryBytes: 8 * gi,
  swapBytes: 0,
  hugePages: [{ size: '2MB', sizeBytes: 2 * 2 ** 20, count: 512 }],
  pidLimit: 32_768,
  hasAppArmor: false,
  hasSwapController: false,
  thermalPaths: [],
}
const rootFs = { bytes: 100 * gi, availableBytes: 50 * gi, inodes: 1000, freeInodes: 500 }
const settings = {
  maxPods: 110,
  podsPerCore: 0,
  systemReserved: { cpu: '200m', memory: '512Mi' },
  kubeReserved: { cpu: '100m', memory: '512Mi' },
  evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '10%' },
}
const capacity = capacityOf(machine, rootFs, settings)
const well = { troubles: [], memoryPressure: false, diskPressure: false, pidPressure: false }

t.test('capacity is what the machine has', async t =>
  t.same(capacity, { cpu: 4000, memory: 8 * gi, pods: 110, 'ephemeral-storage': 100 * gi, 'hugepages-2Mi': gi }),
)

t.test('podsPerCore lowers the places', async t =>
  t.equal(capacityOf(machine, rootFs, { ...settings, podsPerCore: 10 })['pods'], 40),
)

t.test('allocatable is capacity less reservations, eviction thresholds and huge pages', async t => {
  const allocatable = allocatableOf(capacity, settings)
  t.match(allocatable, { cpu: 3700, memory: 8 * gi - gi - 100 * 2 ** 20 - gi, pods: 110 })
  t.ok(Math.abs((allocatable['ephemeral-storage'] ?? 0) - 90 * gi) < 1000, 'a tenth of the disk stays free')
})

t.test('it is never below nothing', async t =>
  t.equal(allocatableOf(capacity, { ...settings, systemReserved: { memory: '100Gi' } })['memory'], 0),
)

t.test('the cgroup of all pods is not limited by eviction thresholds', async t =>
  t.same(enforcedOf(capacity, settings), { milliCpu: 3700, memoryBytes: 7 * gi }),
)

t.test('conditions: Ready is the last one and says what is wrong', async t => {
  const conditions = nodeConditions(
    { ...well, troubles: ['container runtime network not ready', 'disk full'], memoryPressure: true },
    [],
    'now',
  )
  t.same(
    conditions.map(it => [it.type, it.status]),
    [
      ['MemoryPressure', 'True'],
      ['DiskPressure', 'False'],
      ['PIDPressure', 'False'],
      ['Ready', 'False'],
    ],
  )
  t.match(conditions.at(-1), { reason: 'KubeletNotReady', message: '[container runtime network not ready, disk full]' })
})

t.test('conditions: the time of transition stays while the status does', async t => {
  const before = nodeConditions(well, [], 'early')
  const after = nodeConditions({ ...well, diskPressure: true }, before, 'late')
  t.same(
    after.map(it => it.lastTransitionTime),
    ['early', 'late', 'early', 'early'],
  )
  t.ok(after.every(it => it.lastHeartbeatTime === 'late'))
})

t.test('the object has what kubectl shows', async t => {
  const node = toNodeObject({
    name: 'n1',
    machine,
    rootFs,
    settings,
    health: well,
    addresses: ['10.0.0.1', 'fd00::1'],
    labels: { zone: 'a' },
    version: 'v1.36.3+nodelet.0.1.0',
    runtime: 'containerd://1.6.20',
    port: 0,
    now: '2026-01-01T00:00:00Z',
  })
  t.match(node, {
    kind: 'Node',
    metadata: { name: 'n1', labels: { 'kubernetes.io/hostname': 'n1', 'kubernetes.io/arch': 'amd64', zone: 'a' } },
    status: {
      capacity: { cpu: '4', memory: '8Gi', pods: '110', 'ephemeral-storage': '100Gi', 'hugepages-2Mi': '1Gi' },
      allocatable: { cpu: '3700m' },
      nodeInfo: { kubeletVersion: 'v1.36.3+nodelet.0.1.0', operatingSystem: 'linux', bootID: 'b' },
    },
  })
  t.same(node.status.addresses, [
    { type: 'InternalIP', address: '10.0.0.1' },
    { type: 'InternalIP', address: 'fd00::1' },
    { type: 'Hostname', address: 'n1' },
  ])
})
