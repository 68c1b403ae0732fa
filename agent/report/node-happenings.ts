// What a change of the Node means to a person, as Events about it. Pure.
// Follows the kubelet's node status setters (pkg/kubelet/nodestatus of 1.36): reasons and messages.
import type { NodeCondition, NodeObject, NodeStatus } from '../node.ts'
import type { EventType } from './event-object.ts'

export interface NodeHappening {
  readonly type: EventType
  readonly reason: string
  readonly message: string
}

const pressureReasons: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  MemoryPressure: { True: 'NodeHasInsufficientMemory', False: 'NodeHasSufficientMemory' },
  DiskPressure: { True: 'NodeHasDiskPressure', False: 'NodeHasNoDiskPressure' },
  PIDPressure: { True: 'NodeHasInsufficientPID', False: 'NodeHasSufficientPID' },
}

const reasonOf = ({ type, status }: NodeCondition, before: NodeCondition | undefined): string | undefined => {
  if (before?.status === status) return undefined
  if (type !== 'Ready') return pressureReasons[type]?.[status]
  if (status === 'True') return 'NodeReady'
  // A node that has not been ready yet did not cease to be.
  return before === undefined ? undefined : 'NodeNotReady'
}

const statusIs = (name: string, reason: string): NodeHappening => ({
  type: 'Normal',
  reason,
  message: `Node ${name} status is now: ${reason}`,
})

/** Events for conditions that have changed. */
export const conditionHappenings = (
  name: string,
  before: readonly NodeCondition[],
  after: readonly NodeCondition[],
): readonly NodeHappening[] =>
  after.flatMap(condition => {
    const reason = reasonOf(
      condition,
      before.find(it => it.type === condition.type),
    )
    return reason === undefined ? [] : [statusIs(name, reason)]
  })

/** The Event of a machine that was booted since its Node was reported last. */
export const rebootHappening = (
  name: string,
  before: Partial<NodeStatus> | undefined,
  after: NodeStatus,
): NodeHappening | undefined => {
  const known = before?.nodeInfo?.bootID ?? ''
  const { bootID } = after.nodeInfo
  if (known === '' || known === bootID) return undefined
  return { type: 'Warning', reason: 'Rebooted', message: `Node ${name} has been rebooted, boot id: ${bootID}` }
}

/** The Event of a node that was cordoned or uncordoned. */
export const schedulableHappening = (wasUnschedulable: boolean, { metadata, spec }: NodeObject): NodeHappening | undefined => {
  const isUnschedulable = spec?.unschedulable === true
  if (isUnschedulable === wasUnschedulable) return undefined
  return statusIs(metadata.name, isUnschedulable ? 'NodeNotSchedulable' : 'NodeSchedulable')
}

/** To be told when the cgroup of all pods has got its limits, at each start. */
export const allocatableEnforced: NodeHappening = {
  type: 'Normal',
  reason: 'NodeAllocatableEnforced',
  message: 'Updated Node Allocatable limit across pods',
}
