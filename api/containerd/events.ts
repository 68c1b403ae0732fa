// Task events from containerd's own event service, which every version has and any number of clients can read.
// Delivers hints only; it keeps no state and does not know what a pod is.
// Follows containerd's api/services/events/v1 and api/events/task.proto.
import { randomUUID } from 'node:crypto'
import type { Millis } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { createRpc, type Rpc } from '../rpc.ts'
import type { TaskEnd, TaskEvent, TaskEventDeps } from '../task-event.ts'
import { keepOpen } from '../watch-stream.ts'
import schema from './events.gen.json' with { type: 'json' }

export interface ContainerdEventDeps extends TaskEventDeps {
  /** containerd's namespace; the CRI's is k8s.io. */
  readonly namespace?: string
  /** Other filters than "every task of the namespace", in containerd's filter syntax. */
  readonly filters?: readonly string[]
}

const service = 'containerd.services.events.v1'

interface Timestamp {
  readonly seconds: number
  readonly nanos: number
}

export interface Envelope {
  readonly topic: string
  readonly event: { readonly typeUrl: string; readonly value: Uint8Array } | null
}

interface Payload {
  readonly containerId: string
  readonly id: string
  readonly pid: number
  readonly exitStatus: number
  readonly exitedAt: Timestamp | null
}

const toMillis = (at: Timestamp | null): Millis => (at === null ? 0 : at.seconds * 1000 + Math.floor(at.nanos / 1e6))

const toEnd = (type: TaskEnd['type'], it: Payload): TaskEvent => ({
  type,
  containerId: it.containerId,
  // The delete event of a container's own process names no process.
  id: it.id || it.containerId,
  pid: it.pid,
  exitStatus: it.exitStatus,
  exitedAt: toMillis(it.exitedAt),
})

// By the type of the payload, which is its protobuf name; topics are only what subscribers choose by.
const readers: Readonly<Record<string, (it: Payload) => TaskEvent>> = {
  TaskCreate: ({ containerId, pid }) => ({ type: 'create', containerId, pid }),
  TaskStart: ({ containerId, pid }) => ({ type: 'start', containerId, pid }),
  TaskExit: it => toEnd('exit', it),
  TaskDelete: it => toEnd('delete', it),
  TaskOOM: ({ containerId }) => ({ type: 'oom', containerId }),
  TaskPaused: ({ containerId }) => ({ type: 'paused', containerId }),
  TaskResumed: ({ containerId }) => ({ type: 'resumed', containerId }),
}

/** The task event in an envelope; undefined for any other. */
export const readEnvelope = (rpc: Pick<Rpc, 'decode'>, { event }: Envelope): TaskEvent | undefined => {
  const name = /(?:^|\/)containerd\.events\.(\w+)$/.exec(event?.typeUrl ?? '')?.[1] ?? ''
  const read = readers[name]
  return event === null || read === undefined ? undefined : read(rpc.decode<Payload>(`${service}.${name}`, event.value))
}

/**
 * Makes sure that the subscription delivers: publishes a marker of our own until it has come back. The server gives no other
 * sign that it has taken a subscription up, and an exit in between would be seen by neither the list nor the stream.
 * The payload is of a type that every reader of the stream can decode.
 */
const awaitMarker = async (rpc: Rpc, deps: ContainerdEventDeps, namespace: string, topic: string, seen: () => boolean) => {
  while (!seen() && !deps.signal.aborted) {
    const request = { topic, event: { typeUrl: 'google.protobuf.Empty', value: new Uint8Array() } }
    await rpc.call(`${service}.Events/Publish`, request, { headers: { 'containerd-namespace': namespace }, timeoutMs: 5000 })
    await deps.clock.sleep(10)
  }
}

/**
 * Delivers task events until the signal aborts, through every restart of containerd.
 * @throws Fault `unsupported` when the endpoint is no containerd
 */
export const watchTaskEvents = async (deps: ContainerdEventDeps): Promise<void> => {
  const { endpoint, clock, onEvent, namespace = 'k8s.io', filters = [`namespace==${namespace},topic~="^/tasks/"`] } = deps
  const rpc = createRpc({ endpoint, schema, clock })
  const open = async (connected: () => void) => {
    const topic = `/nodelet/subscribed/${randomUUID()}`
    const over = new AbortController()
    let seen = false
    const onEnvelope = (envelope: Envelope) => {
      if (envelope.topic === topic) {
        if (!seen) connected()
        seen = true
        return
      }
      const event = readEnvelope(rpc, envelope)
      if (event !== undefined) onEvent(event)
    }
    const request = { filters: [...filters, `topic=="${topic}"`] }
    const stream = rpc.stream(`${service}.Events/Subscribe`, request, onEnvelope, {
      signal: AbortSignal.any([deps.signal, over.signal]),
    })
    const marker = awaitMarker(rpc, deps, namespace, topic, () => seen || over.signal.aborted)
    try {
      await Promise.race([stream, marker.then(() => stream)])
    } finally {
      over.abort(new Fault('runtime-away', 'the event stream is over'))
      await Promise.allSettled([stream, marker])
    }
  }
  try {
    await keepOpen(deps, open)
  } finally {
    rpc.close()
  }
}
