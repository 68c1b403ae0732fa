// The Node object: what this machine has, what of it pods may use, and how it is. Pure: facts and findings come in.
// Follows k8s.io: Nodes; Reserve Compute Resources for System Daemons; Node conditions, in the kubelet's order and words.
import type { KubeObject, ResourceList } from '../api/meta.ts'
import { formatQuantity, toBytes, toMilli } from '../api/quantity.ts'
import type { FileSystemSize, Machine } from '../host/machine.ts'
import type { Amounts } from './qos.ts'

export interface NodeCondition {
  readonly type: string
  readonly status: 'True' | 'False' | 'Unknown'
  readonly lastHeartbeatTime?: string
  readonly lastTransitionTime?: string
  readonly reason: string
  readonly message: string
}

export interface NodeAddress {
  readonly type: 'InternalIP' | 'Hostname'
  readonly address: string
}

export interface NodeImage {
  readonly names: readonly string[]
  readonly sizeBytes: number
}

export interface NodeStatus {
  readonly capacity: ResourceList
  readonly allocatable: ResourceList
  readonly conditions: readonly NodeCondition[]
  readonly addresses: readonly NodeAddress[]
  readonly daemonEndpoints: { readonly kubeletEndpoint: { readonly Port: number } }
  readonly nodeInfo: {
    readonly machineID: string
    readonly systemUUID: string
    readonly bootID: string
    readonly kernelVersion: string
    readonly osImage: string
    readonly containerRuntimeVersion: string
    readonly kubeletVersion: string
    readonly kubeProxyVersion: string
    readonly operatingSystem: string
    readonly architecture: string
    readonly swap?: { readonly capacity: number }
  }
  readonly images?: readonly NodeImage[]
  /** `kubernetes.io/csi/DRIVER^ID`: what must not be detached. */
  readonly volumesInUse?: readonly string[]
  readonly runtimeHandlers?: readonly NodeRuntimeHandler[]
  readonly features?: { readonly supplementalGroupsPolicy: boolean }
}

export interface NodeRuntimeHandler {
  readonly name: string
  readonly features?: { readonly recursiveReadOnlyMounts: boolean; readonly userNamespaces: boolean }
}

export interface Taint {
  readonly key: string
  readonly value?: string | undefined
  readonly effect: string
}

export interface NodeSpec {
  readonly podCIDR?: string
  readonly podCIDRs?: readonly string[]
  readonly providerID?: string
  readonly taints?: readonly Taint[]
  readonly unschedulable?: boolean
}

export interface NodeObject extends KubeObject {
  readonly spec: NodeSpec
  readonly status: NodeStatus
}

/** What of the configuration shapes a node. */
export interface NodeSettings {
  readonly maxPods: number
  /** 0 for no limit by processors. */
  readonly podsPerCore: number
  readonly systemReserved: ResourceList
  readonly kubeReserved: ResourceList
  /** KubeletConfiguration evictionHard: `memory.available: 100Mi`, `nodefs.available: 10%`. */
  readonly evictionHard: Readonly<Record<string, string>>
}

const hugePagesName = (sizeBytes: number): string => `hugepages-${formatQuantity(toBinary(sizeBytes))}`

// an amount that is written with a binary suffix keeps to binary ones, as the kubelet writes memory
const toBinary = (bytes: number): string => (bytes % 1024 === 0 ? `${bytes / 1024}Ki` : String(bytes))

const amountsOf = (list: ResourceList): Record<string, number> =>
  Object.fromEntries(
    Object.entries(list).map(([name, quantity]) => [name, name === 'cpu' ? toMilli(quantity) : toBytes(quantity)]),
  )

const toResourceList = (amounts: Amounts): ResourceList =>
  Object.fromEntries(
    Object.entries(amounts).map(([name, amount]) => {
      if (name === 'cpu') return [name, formatQuantity(`${amount}m`)]
      const isBytes = name === 'memory' || name === 'ephemeral-storage' || name.startsWith('hugepages-')
      return [name, isBytes ? formatQuantity(toBinary(amount)) : String(amount)]
    }),
  )

/** All that the machine has, cpu in millicores. */
export const capacityOf = (machine: Machine, rootFs: FileSystemSize, settings: NodeSettings): Amounts => {
  const byCore = settings.podsPerCore > 0 ? machine.cpus * settings.podsPerCore : Number.POSITIVE_INFINITY
  return {
    cpu: machine.cpus * 1000,
    'ephemeral-storage': rootFs.bytes,
    ...Object.fromEntries(machine.hugePages.map(it => [hugePagesName(it.sizeBytes), it.sizeBytes * it.count])),
    memory: machine.memoryBytes,
    pods: Math.min(settings.maxPods, byCore),
  }
}

const thresholdAmount = (text: string | undefined, capacity: number): number => {
  if (text === undefined || text === '') return 0
  // in single precision, as the kubelet has it: two agents on one machine say the same number
  return text.endsWith('%') ? Math.trunc(capacity * Math.fround(Number.parseFloat(text) / 100)) : toBytes(text)
}

const less = (capacity: Amounts, ...reservations: readonly Amounts[]): Record<string, number> =>
  Object.fromEntries(
    Object.entries(capacity).map(([name, amount]) => [
      name,
      Math.max(
        reservations.reduce((rest, reserved) => rest - (reserved[name] ?? 0), amount),
        0,
      ),
    ]),
  )

/** What pods may request: capacity less reservations, hard eviction thresholds, and huge pages from memory. */
export const allocatableOf = (capacity: Amounts, settings: NodeSettings): Amounts => {
  const eviction = {
    memory: thresholdAmount(settings.evictionHard['memory.available'], capacity['memory'] ?? 0),
    'ephemeral-storage': thresholdAmount(settings.evictionHard['nodefs.available'], capacity['ephemeral-storage'] ?? 0),
  }
  const rest = less(capacity, amountsOf(settings.systemReserved), amountsOf(settings.kubeReserved), eviction)
  const hugePages = Object.entries(capacity).reduce(
    (sum, [name, bytes]) => (name.startsWith('hugepages-') ? sum + bytes : sum),
    0,
  )
  return { ...rest, memory: Math.max((rest['memory'] ?? 0) - hugePages, 0) }
}

/** What the kubepods cgroup is limited to: as above without eviction thresholds, which must be able to strike first. */
export const enforcedOf = (
  capacity: Amounts,
  settings: NodeSettings,
): { readonly milliCpu: number; readonly memoryBytes: number } => {
  const rest = less(capacity, amountsOf(settings.systemReserved), amountsOf(settings.kubeReserved))
  return { milliCpu: rest['cpu'] ?? 0, memoryBytes: rest['memory'] ?? 0 }
}

/** How the node is; a string says why not. */
export interface NodeHealth {
  /** What keeps it from running pods, from the runtime, the network, the disk; empty when ready. */
  readonly troubles: readonly string[]
  readonly memoryPressure: boolean
  readonly diskPressure: boolean
  readonly pidPressure: boolean
}

const pressures = [
  [
    'MemoryPressure',
    'memoryPressure',
    'KubeletHasInsufficientMemory',
    'kubelet has insufficient memory available',
    'KubeletHasSufficientMemory',
    'kubelet has sufficient memory available',
  ],
  [
    'DiskPressure',
    'diskPressure',
    'KubeletHasDiskPressure',
    'kubelet has disk pressure',
    'KubeletHasNoDiskPressure',
    'kubelet has no disk pressure',
  ],
  [
    'PIDPressure',
    'pidPressure',
    'KubeletHasInsufficientPID',
    'kubelet has insufficient PID available',
    'KubeletHasSufficientPID',
    'kubelet has sufficient PID available',
  ],
] as const

/**
 * The node's conditions; Ready is the last one, as readers of old expect.
 * @param before conditions told last, which keep their time of transition while their status stays
 * @param now RFC 3339
 */
export const nodeConditions = (health: NodeHealth, before: readonly NodeCondition[], now: string): readonly NodeCondition[] => {
  const condition = (type: string, isTrue: boolean, reason: string, message: string): NodeCondition => {
    const status = isTrue ? 'True' : 'False'
    const last = before.find(it => it.type === type)
    const since = last?.status === status ? (last.lastTransitionTime ?? now) : now
    return { type, status, lastHeartbeatTime: now, lastTransitionTime: since, reason, message }
  }
  const isReady = health.troubles.length === 0
  return [
    ...pressures.map(([type, key, badReason, badMessage, goodReason, goodMessage]) =>
      condition(type, health[key], health[key] ? badReason : goodReason, health[key] ? badMessage : goodMessage),
    ),
    isReady
      ? condition('Ready', true, 'KubeletReady', 'kubelet is posting ready status')
      : condition('Ready', false, 'KubeletNotReady', joinTroubles(health.troubles)),
  ]
}

const joinTroubles = (troubles: readonly string[]): string =>
  troubles.length === 1 ? (troubles[0] ?? '') : `[${troubles.join(', ')}]`

export interface NodeFacts {
  readonly name: string
  readonly machine: Machine
  readonly rootFs: FileSystemSize
  readonly settings: NodeSettings
  readonly health: NodeHealth
  /** Those of the last object, for the times of transition. */
  readonly before?: readonly NodeCondition[]
  readonly addresses: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  /** `v1.36.3+nodelet.0.1.0`. */
  readonly version: string
  /** `containerd://1.6.20`. */
  readonly runtime: string
  /** Of the kubelet API; 0 while it does not listen. */
  readonly port: number
  readonly images?: readonly NodeImage[]
  readonly volumesInUse?: readonly string[]
  readonly runtimeHandlers?: readonly NodeRuntimeHandler[]
  readonly features?: NodeStatus['features']
  /** RFC 3339. */
  readonly now: string
}

/** Labels that every node carries. */
export const defaultLabels = (name: string, architecture: string): Readonly<Record<string, string>> => ({
  'kubernetes.io/hostname': name,
  'kubernetes.io/os': 'linux',
  'kubernetes.io/arch': architecture,
  'beta.kubernetes.io/os': 'linux',
  'beta.kubernetes.io/arch': architecture,
})

export const toNodeStatus = (facts: NodeFacts): NodeStatus => {
  const { machine, settings } = facts
  const capacity = capacityOf(machine, facts.rootFs, settings)
  return {
    capacity: toResourceList(capacity),
    allocatable: toResourceList(allocatableOf(capacity, settings)),
    conditions: nodeConditions(facts.health, facts.before ?? [], facts.now),
    addresses: [
      ...facts.addresses.map(address => ({ type: 'InternalIP' as const, address })),
      { type: 'Hostname' as const, address: facts.name },
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: facts.port } },
    nodeInfo: {
      machineID: machine.machineId,
      systemUUID: machine.systemUuid,
      bootID: machine.bootId,
      kernelVersion: machine.kernel,
      osImage: machine.osImage,
      containerRuntimeVersion: facts.runtime,
      kubeletVersion: facts.version,
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: machine.architecture,
      ...(machine.swapBytes > 0 && { swap: { capacity: machine.swapBytes } }),
    },
    ...(facts.images && { images: facts.images }),
    ...(facts.volumesInUse && facts.volumesInUse.length > 0 && { volumesInUse: facts.volumesInUse }),
    ...(facts.runtimeHandlers && facts.runtimeHandlers.length > 0 && { runtimeHandlers: facts.runtimeHandlers }),
    ...(facts.features && { features: facts.features }),
  }
}

/** The whole object, as `nodelet get node` shows it. */
export const toNodeObject = (facts: NodeFacts): NodeObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: {
    name: facts.name,
    labels: { ...defaultLabels(facts.name, facts.machine.architecture), ...facts.labels },
    ...(facts.annotations && { annotations: facts.annotations }),
  },
  spec: {},
  status: toNodeStatus(facts),
})
