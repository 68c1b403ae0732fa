// The Node as it is registered and what of it is written when: first object, what an existing one is brought up to, status patches.
// Pure: facts and the last known object come in, objects and patches go out.
// Follows the kubelet's initialNode, updateDefaultLabels and PatchNodeStatus (1.36); a patch never touches what others own.
import { isDeepStrictEqual } from 'node:util'
import type { ResourceList } from '../../api/meta.ts'
import { compareQuantities } from '../../api/quantity.ts'
import {
  type NodeCondition,
  type NodeFacts,
  type NodeObject,
  type NodeStatus,
  type Taint,
  toNodeObject,
  toNodeStatus,
} from '../node.ts'

/** What was found out about this node just now; the reporter adds the time and the last conditions. */
export type NodeFindings = Omit<NodeFacts, 'now' | 'before'>

/** What the configuration says about the object itself. */
export interface Registration {
  /** Set once, when the Node is made: later they belong to whoever changes them. */
  readonly taints: readonly Taint[]
  readonly providerID: string
  /** `--cloud-provider=external`: addresses and the last taint are the cloud controller's. */
  readonly externalCloudProvider: boolean
  /** As given by --node-ip. */
  readonly nodeIPs: readonly string[]
  readonly enableControllerAttachDetach: boolean
}

const attachDetach = 'volumes.kubernetes.io/controller-managed-attach-detach'
const providedNodeIP = 'alpha.kubernetes.io/provided-node-ip'

// Labels that follow this machine and its configuration on a Node that is there already; all others are left as they are.
const managedLabels = [
  'kubernetes.io/hostname',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region',
  'node.kubernetes.io/instance-type',
  'beta.kubernetes.io/instance-type',
  'kubernetes.io/os',
  'kubernetes.io/arch',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/arch',
]

const givenIPs = ({ externalCloudProvider, nodeIPs }: Registration): string | undefined =>
  externalCloudProvider && nodeIPs.length > 0 && !['0.0.0.0', '::'].includes(nodeIPs[0] ?? '') ? nodeIPs.join(',') : undefined

const annotationsOf = (registration: Registration): Readonly<Record<string, string>> => {
  const ips = givenIPs(registration)
  return { ...(registration.enableControllerAttachDetach && { [attachDetach]: 'true' }), ...(ips && { [providedNodeIP]: ips }) }
}

/** The Node of a machine that was never registered. */
export const initialNode = (findings: NodeFindings, registration: Registration, now: string): NodeObject => {
  const { providerID, externalCloudProvider } = registration
  const taints = [
    ...registration.taints,
    ...(externalCloudProvider
      ? [{ key: 'node.cloudprovider.kubernetes.io/uninitialized', value: 'true', effect: 'NoSchedule' }]
      : []),
  ]
  const addresses = externalCloudProvider && registration.nodeIPs.length === 0 ? [] : findings.addresses
  const node = toNodeObject({ ...findings, addresses, now, annotations: annotationsOf(registration) })
  return { ...node, spec: { ...(providerID !== '' && { providerID }), ...(taints.length > 0 && { taints }) } }
}

/** The status that an existing Node should have, with what others put into it: extended resources, a cloud's addresses. */
export const nextStatus = (node: NodeObject, findings: NodeFindings, registration: Registration, now: string): NodeStatus => {
  // A Node that somebody made by hand has none of it.
  const before: Partial<NodeStatus> = node.status ?? {}
  const status = toNodeStatus({ ...findings, before: before.conditions ?? [], now })
  const extended = Object.fromEntries(
    Object.entries(before.capacity ?? {}).filter(([name]) => !(name in status.capacity) && !isOurs(name)),
  )
  const known = before.addresses ?? []
  const { externalCloudProvider, nodeIPs } = registration
  const hostnameOnly = status.addresses.filter(it => it.type === 'Hostname')
  const cloudAddresses = known.length > 0 ? known : nodeIPs.length === 0 ? hostnameOnly : status.addresses
  return {
    ...status,
    addresses: externalCloudProvider ? cloudAddresses : status.addresses,
    capacity: { ...extended, ...status.capacity },
    allocatable: { ...extended, ...status.allocatable },
  }
}

const isOurs = (resource: string): boolean =>
  ['cpu', 'memory', 'pods', 'ephemeral-storage'].includes(resource) || resource.startsWith('hugepages-')

const changedKeys = (
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
): Record<string, unknown> =>
  Object.fromEntries(Object.entries(after).filter(([key, value]) => !isDeepStrictEqual(before[key], value)))

// A page size that the kernel no longer has goes; so does nothing else, since others may have put it there.
const changedAmounts = (before: ResourceList = {}, after: ResourceList): Record<string, unknown> => ({
  ...Object.fromEntries(
    Object.entries(after).filter(([name, amount]) => before[name] === undefined || compareQuantities(before[name], amount) !== 0),
  ),
  ...Object.fromEntries(
    Object.keys(before)
      .filter(name => name.startsWith('hugepages-') && !(name in after))
      .map(name => [name, null]),
  ),
})

const withoutHeartbeat = ({ lastHeartbeatTime: _, ...condition }: NodeCondition) => condition

const conditionsDiffer = (before: readonly NodeCondition[], after: readonly NodeCondition[]): boolean =>
  after.some(it => {
    const old = before.find(({ type }) => type === it.type)
    return old === undefined || !isDeepStrictEqual(withoutHeartbeat(old), withoutHeartbeat(it))
  })

/** The status without its conditions, field by field, as far as it differs. */
const changedFields = (before: Partial<NodeStatus>, after: NodeStatus): Record<string, unknown> => {
  const capacity = changedAmounts(before.capacity, after.capacity)
  const allocatable = changedAmounts(before.allocatable, after.allocatable)
  const nodeInfo = changedKeys(before.nodeInfo ?? {}, after.nodeInfo)
  const swapIsGone = before.nodeInfo?.swap !== undefined && after.nodeInfo.swap === undefined
  const lists = ['images', 'volumesInUse', 'runtimeHandlers', 'features'] as const
  return {
    ...(Object.keys(capacity).length > 0 && { capacity }),
    ...(Object.keys(allocatable).length > 0 && { allocatable }),
    ...((Object.keys(nodeInfo).length > 0 || swapIsGone) && { nodeInfo: { ...nodeInfo, ...(swapIsGone && { swap: null }) } }),
    // The merge key of addresses is their type, and there may be two of one: the whole list is replaced.
    ...(!isDeepStrictEqual(before.addresses, after.addresses) && { addresses: [...after.addresses, { $patch: 'replace' }] }),
    ...(!isDeepStrictEqual(before.daemonEndpoints, after.daemonEndpoints) && { daemonEndpoints: after.daemonEndpoints }),
    ...Object.fromEntries(
      lists.filter(name => !isDeepStrictEqual(before[name] ?? [], after[name] ?? [])).map(name => [name, after[name] ?? null]),
    ),
  }
}

export interface StatusPatch {
  /** Whether more than heartbeats differs. */
  readonly isChanged: boolean
  /** A strategic merge patch of the Node. */
  readonly patch: object
}

/** Labels without which no pod is admitted; put back when somebody takes them away. */
const requiredLabels = ({ machine }: Pick<NodeFindings, 'machine'>): Readonly<Record<string, string>> => ({
  'kubernetes.io/os': 'linux',
  'kubernetes.io/arch': machine.architecture,
})

/** What brings a Node up to date; heartbeats are always part of it, and conditions of others are never. */
export const statusPatch = (node: NodeObject, after: NodeStatus, findings: Pick<NodeFindings, 'machine'>): StatusPatch => {
  const before: Partial<NodeStatus> = node.status ?? {}
  const fields = changedFields(before, after)
  const labels = changedKeys(node.metadata.labels ?? {}, requiredLabels(findings))
  const isRelabelled = Object.keys(labels).length > 0
  return {
    isChanged: Object.keys(fields).length > 0 || isRelabelled || conditionsDiffer(before.conditions ?? [], after.conditions),
    patch: { ...(isRelabelled && { metadata: { labels } }), status: { conditions: after.conditions, ...fields } },
  }
}

/** The patch that makes an existing Node this machine's: labels and annotations that follow it, and its whole status. */
export const adoptionPatch = (node: NodeObject, findings: NodeFindings, registration: Registration, now: string): object => {
  const wanted = initialNode(findings, registration, now).metadata
  const managed = Object.fromEntries(Object.entries(wanted.labels ?? {}).filter(([label]) => managedLabels.includes(label)))
  const labels = changedKeys(node.metadata.labels ?? {}, managed)
  const annotations = changedKeys(node.metadata.annotations ?? {}, wanted.annotations ?? {})
  const stale = [attachDetach, providedNodeIP].filter(
    name => node.metadata.annotations?.[name] !== undefined && wanted.annotations?.[name] === undefined,
  )
  for (const name of stale) annotations[name] = null
  const metadata = {
    ...(Object.keys(labels).length > 0 && { labels }),
    ...(Object.keys(annotations).length > 0 && { annotations }),
  }
  const { patch } = statusPatch(node, nextStatus(node, findings, registration, now), findings)
  return { ...patch, ...(Object.keys(metadata).length > 0 && { metadata }) }
}

/** Whether a Node was registered by another machine than this one; a Node without these facts was made by hand. */
export const isOfAnotherMachine = ({ status }: NodeObject, { machine }: NodeFindings): boolean => {
  const info: Partial<NodeStatus['nodeInfo']> = status?.nodeInfo ?? {}
  const differs = (theirs: string | undefined, ours: string) =>
    theirs !== undefined && theirs !== '' && ours !== '' && theirs !== ours
  return differs(info.machineID, machine.machineId) || differs(info.systemUUID, machine.systemUuid)
}

/** The ranges that pods of this node get their addresses from; empty until a controller has given it some. */
export const podCIDRsOf = (node: NodeObject | undefined): readonly string[] => {
  const { podCIDRs, podCIDR } = node?.spec ?? {}
  return podCIDRs ?? (podCIDR === undefined || podCIDR === '' ? [] : [podCIDR])
}

/** What keeps pods from starting as long as our network plugin has no range to give addresses from, for the Ready condition. */
export const podCIDRTroubles = (node: NodeObject | undefined): readonly string[] =>
  podCIDRsOf(node).length > 0
    ? []
    : [
        'container runtime network not ready: the Node has no podCIDR yet: ' +
          'kube-controller-manager gives it one with --allocate-node-cidrs=true and --cluster-cidr',
      ]
