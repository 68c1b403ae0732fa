// Whether this node takes a pod: resources, places, host ports, labels, and what the node can enforce at all. Pure.
// A refusal is final for the pod (it becomes Failed), so reasons and messages are the kubelet's, which controllers read.
// Follows k8s.io: Node-level admission (kubelet lifecycle handlers, scheduler's AdmissionCheck), in their order.
import { allContainers, fullName, runningContainers } from '../api/pod.ts'
import type { ContainerPort, Pod } from '../api/types.ts'
import { matchesNode } from './node-affinity.ts'
import { type Amounts, isCriticalPod, podRequests } from './qos.ts'
import { appArmorProfile } from './security.ts'
import { isStatic } from './sources/mirror-marks.ts'
import { refusedSysctl, type SysctlAllowList } from './sysctls.ts'

export type Admission =
  | { readonly ok: true }
  | {
      readonly ok: false
      readonly reason: string
      readonly message: string
      /** How much is missing, when room is all that is: what a critical pod may take from others (agent/preempt.ts). */
      readonly short?: Amounts
    }

/** A taint as far as it evicts: NoExecute ones only are asked about here. */
export interface Taint {
  readonly key: string
  readonly value?: string
  readonly effect: string
}

export interface AdmittingNode {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  /** cpu in millicores, the rest in whole units; resources that are not named here are not checked when they are extended ones. */
  readonly allocatable: Amounts
  readonly maxPods: number
  readonly sysctls: SysctlAllowList
  readonly taints?: readonly Taint[]
  /** Whether the machine enforces AppArmor profiles. */
  readonly hasAppArmor: boolean
  /** Whether the runtime makes user namespaces, also for pods on the host's network, and honours the Strict policy. */
  readonly features: {
    readonly userNamespaces: boolean
    readonly userNamespacesHostNetwork?: boolean
    readonly supplementalGroupsPolicy: boolean
  }
}

const no = (reason: string, message: string): Admission => ({ ok: false, reason, message })
type Check = (pod: Pod, others: readonly Pod[], node: AdmittingNode) => Admission | undefined

const checkSysctls: Check = (pod, _, { sysctls }) => {
  const refused = refusedSysctl(pod, sysctls)
  return refused === undefined ? undefined : no('SysctlForbidden', refused)
}

const osLabel = 'kubernetes.io/os'

const checkOs: Check = pod => {
  const label = pod.metadata.labels?.[osLabel]
  if (label !== undefined && label !== 'linux') {
    return no(
      'PodOSSelectorNodeLabelDoesNotMatch',
      "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
    )
  }
  if (pod.spec.os === undefined || pod.spec.os.name === 'linux') return undefined
  return no('PodOSNotSupported', "Failed to admit pod as the OS field doesn't match node OS")
}

const checkGroupsPolicy: Check = (pod, _, { features }) =>
  pod.spec.securityContext?.supplementalGroupsPolicy === 'Strict' && !features.supplementalGroupsPolicy
    ? no('SupplementalGroupsPolicyNotSupported', 'SupplementalGroupsPolicy=Strict is not supported in this node')
    : undefined

interface Shortage {
  readonly resource: string
  readonly requested: number
  readonly used: number
  readonly capacity: number
}

const outOf = (shortages: readonly [Shortage, ...Shortage[]]): Admission => {
  const [{ resource, requested, used, capacity }] = shortages
  return {
    ok: false,
    reason: `OutOf${resource}`,
    message: `Node didn't have enough resource: ${resource}, requested: ${requested}, used: ${used}, capacity: ${capacity}`,
    short: Object.fromEntries(shortages.map(it => [it.resource, it.requested - (it.capacity - it.used)])),
  }
}

/** `vendor.example/thing`: nobody on this node may have told of it yet, and its device plugin decides. */
const isExtended = (name: string): boolean => name.includes('/') && !name.includes('kubernetes.io/')

const checkResources: Check = (pod, others, node) => {
  const shortages: Shortage[] = []
  if (others.length + 1 > node.maxPods)
    shortages.push({ resource: 'pods', requested: 1, used: others.length, capacity: node.maxPods })
  const wanted = podRequests(pod)
  const used: Record<string, number> = {}
  for (const other of others) {
    for (const [name, amount] of Object.entries(podRequests(other))) used[name] = (used[name] ?? 0) + amount
  }
  const order = ['cpu', 'memory', 'ephemeral-storage']
  for (const name of [...order, ...Object.keys(wanted).filter(it => !order.includes(it))]) {
    const amount = wanted[name] ?? 0
    const capacity = node.allocatable[name]
    if (amount === 0 || (capacity === undefined && isExtended(name))) continue
    const taken = used[name] ?? 0
    if (amount > (capacity ?? 0) - taken)
      shortages.push({ resource: name, requested: amount, used: taken, capacity: capacity ?? 0 })
  }
  const [first, ...more] = shortages
  return first === undefined ? undefined : outOf([first, ...more])
}

const checkLabels: Check = (pod, _, node) =>
  matchesNode(pod, node.name, { ...node.labels, [osLabel]: 'linux' })
    ? undefined
    : no('NodeAffinity', "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")

const checkName: Check = (pod, _, node) =>
  pod.spec.nodeName === undefined || pod.spec.nodeName === '' || pod.spec.nodeName === node.name
    ? undefined
    : no('NodeName', "Predicate NodeName failed: node(s) didn't match the requested node name")

/** Host ports of containers that run while the pod does; on the host's network every container port is one. */
export const hostPorts = (pod: Pod): readonly Required<Pick<ContainerPort, 'hostPort' | 'hostIP' | 'protocol'>>[] =>
  runningContainers(pod)
    .flatMap(container => container.ports ?? [])
    .map(port => ({
      hostPort: port.hostPort || (pod.spec.hostNetwork ? port.containerPort : 0),
      hostIP: port.hostIP || '0.0.0.0',
      protocol: port.protocol ?? 'TCP',
    }))
    .filter(port => port.hostPort > 0)

/** 0.0.0.0, also what an absent hostIP means, is every address of either family; :: those of IPv6. */
const covers = (ip: string, other: string): boolean => ip === '0.0.0.0' || ip === other || (ip === '::' && other.includes(':'))

const checkHostPorts: Check = (pod, others) => {
  const wanted = hostPorts(pod)
  if (wanted.length === 0) return undefined
  for (const other of others) {
    for (const taken of hostPorts(other)) {
      const clash = wanted.find(
        port =>
          port.hostPort === taken.hostPort &&
          port.protocol === taken.protocol &&
          (covers(port.hostIP, taken.hostIP) || covers(taken.hostIP, port.hostIP)),
      )
      if (clash === undefined) continue
      const owner = fullName(other)
      return no(
        'NodePorts',
        "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports: " +
          `${taken.hostPort}/${taken.protocol} on ${taken.hostIP} belongs to pod ${owner}`,
      )
    }
  }
  return undefined
}

interface Toleration {
  readonly key?: string
  readonly operator?: string
  readonly value?: string
  readonly effect?: string
}

const tolerates = (toleration: Toleration, taint: Taint): boolean => {
  const { key = '', operator = 'Equal', value = '', effect = '' } = toleration
  if (effect !== '' && effect !== taint.effect) return false
  if (key !== '' && key !== taint.key) return false
  return operator === 'Exists' || (operator === 'Equal' && key !== '' && value === (taint.value ?? ''))
}

/** Whether the pod puts up with the taint. */
export const isTolerated = (pod: Pod, taint: Taint): boolean =>
  ((pod.spec.tolerations ?? []) as readonly Toleration[]).some(it => tolerates(it, taint))

const checkTaints: Check = (pod, _, { taints = [] }) => {
  if (isStatic(pod)) return undefined
  const evicting = taints.filter(taint => taint.effect === 'NoExecute')
  if (evicting.every(taint => isTolerated(pod, taint))) return undefined
  return no('TaintToleration', "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate")
}

const checkAppArmor: Check = (pod, _, { hasAppArmor }) => {
  // what runs already was let in before, and is not asked again after a restart
  if (hasAppArmor || (pod.status?.phase !== undefined && pod.status.phase !== 'Pending')) return undefined
  const asks = allContainers(pod).some(container => (appArmorProfile(pod, container)?.type ?? 'Unconfined') !== 'Unconfined')
  return asks ? no('AppArmor', 'Cannot enforce AppArmor: AppArmor is not enabled on the host') : undefined
}

const checkUserNamespaces: Check = (pod, _, { features }) => {
  if (pod.spec.hostUsers !== false) return undefined
  // the kubelet admits these and fails their sandbox for ever; refused here, a controller can place them elsewhere
  if (!features.userNamespaces) {
    return no('PodFeatureUnsupported', "can't set `spec.hostUsers: false`, runtime does not support user namespaces")
  }
  if (pod.spec.hostNetwork && features.userNamespacesHostNetwork !== true) {
    return no('PodFeatureUnsupported', "can't set `spec.hostUsers: false` with hostNetwork, runtime does not support it")
  }
  return undefined
}

const checks: readonly Check[] = [
  checkSysctls,
  checkOs,
  checkGroupsPolicy,
  checkResources,
  checkLabels,
  checkName,
  checkHostPorts,
  checkTaints,
  checkAppArmor,
  checkUserNamespaces,
]

/**
 * Whether the node takes the pod beside those that it has.
 * After a restart, pods that run already come first: the caller admits them before any new one and passes them as active,
 * so that a newcomer cannot take the place of a running pod.
 * @param activePods pods that are admitted and have not ended; the pod itself may be among them
 */
export const admit = (pod: Pod, activePods: readonly Pod[], node: AdmittingNode): Admission => {
  const others = activePods.filter(other => other.metadata.uid !== pod.metadata.uid)
  const refusals = checks.map(check => check(pod, others, node)).filter(it => it !== undefined)
  const [first] = refusals
  if (first === undefined) return { ok: true }
  // Room made by preemption would be wasted on a pod that does not fit for another reason.
  return refusals.length > 1 && isCriticalPod(pod) ? (refusals.find(it => !it.ok && it.short === undefined) ?? first) : first
}
