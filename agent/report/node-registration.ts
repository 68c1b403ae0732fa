// Brings the Node into being: makes it, or takes over the one that is there, and tries until that has worked.
// Owns nothing after that; node-reporter.ts keeps the status. Needs no more than a node's own credentials (NodeRestriction).
// Follows the kubelet's registerWithAPIServer: creates first, reads after a conflict or a refusal, 200 ms to 7 s between attempts.
import { type KubeApi, nodes } from '../../api/kube/api.ts'
import type { Clock } from '../../host/clock.ts'
import { describe, except, isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import type { NodeObject } from '../node.ts'
import { rfc3339 } from '../status.ts'
import { nodeReference } from './event-object.ts'
import type { EventRecorder } from './events.ts'
import { isFresh, type Lease, leaseRef } from './lease.ts'
import { adoptionPatch, initialNode, isOfAnotherMachine, type NodeFindings, type Registration } from './node-object.ts'

export interface RegistrationDeps {
  readonly api: Pick<KubeApi, 'get' | 'create' | 'patch'>
  readonly name: string
  readonly registration: Registration
  readonly findings: (node: NodeObject | undefined) => Promise<NodeFindings>
  readonly recorder: Pick<EventRecorder, 'record'>
  readonly clock: Clock
  readonly log: Log
}

export interface Registered {
  readonly node: NodeObject
  /** The Node as it was found; undefined when it was made. */
  readonly before: NodeObject | undefined
}

const firstPauseMs = 200
const longestPauseMs = 7_000

// Two machines of one name take the Node from each other every few seconds, and pods of one are ended by the other.
const warnOfAnotherMachine = async (deps: RegistrationDeps, node: NodeObject, findings: NodeFindings, signal: AbortSignal) => {
  const { api, name, clock, log, recorder } = deps
  if (!isOfAnotherMachine(node, findings)) return
  const lease = await except(api.get<Lease>(leaseRef(name), { signal }), 'not-found', 'api-forbidden')
  if (lease === undefined || !isFresh(lease, clock.now())) return
  const { machineID, systemUUID } = node.status.nodeInfo
  const message =
    `Node ${name} belongs to another machine that is still there (machine id ${machineID}, system UUID ${systemUUID}): ` +
    'two machines must not have one name; give one of them another with --hostname-override'
  log.warn({ node: name, machineID, systemUUID }, message)
  recorder.record(nodeReference(name), 'Warning', 'NodeNameTaken', message)
}

const attempt = async (deps: RegistrationDeps, signal: AbortSignal): Promise<Registered> => {
  const { api, name, registration, clock } = deps
  const findings = await deps.findings(undefined)
  const now = rfc3339(clock.now())
  let refusal: unknown
  try {
    const made = await api.create<NodeObject>({ resource: nodes }, initialNode(findings, registration, now), { signal })
    return { node: made, before: undefined }
  } catch (error) {
    // Who may not make Nodes may still have one that somebody else made.
    if (!isFault(error, 'already-exists', 'api-conflict', 'api-forbidden')) throw error
    refusal = error
  }
  const found = await api.get<NodeObject>({ resource: nodes, name }, { signal }).catch(error => {
    throw isFault(error, 'not-found') ? refusal : error
  })
  await warnOfAnotherMachine(deps, found, findings, signal)
  // Looked at again, since what is there may depend on the Node: one that has its podCIDR must not turn unready by a restart.
  const patch = adoptionPatch(found, await deps.findings(found), registration, now)
  const node = await api.patch<NodeObject>({ resource: nodes, name, subresource: 'status' }, patch, 'strategic', { signal })
  return { node, before: found }
}

/**
 * Registers the node, however long it takes.
 * @throws only the signal's reason
 */
export const registerNode = async (deps: RegistrationDeps, signal: AbortSignal): Promise<Registered> => {
  const { clock, log, name } = deps
  let said = ''
  for (let pause = firstPauseMs; ; pause = Math.min(pause * 2, longestPauseMs)) {
    try {
      const registered = await attempt(deps, signal)
      log.info({ node: name, made: registered.before === undefined }, 'the node is registered')
      return registered
    } catch (error) {
      signal.throwIfAborted()
      const why = describe(error)
      if (why !== said) log.error({ node: name, err: error }, `the node cannot be registered; trying again: ${why}`)
      said = why
      await clock.sleep(pause, signal)
    }
  }
}
