// Events of the proxy that runs alone: that it has started, and what it cannot serve. One that is refused is only logged.
// Follows kube-proxy 1.36: source, reasons, and the Node's name as its uid.
import { events } from '../../api/kube/api.ts'
import type { KubeClient } from '../../api/kube/client.ts'
import type { Clock } from '../../host/clock.ts'
import type { Log } from '../../host/log.ts'
import type { FaceEvent } from '../face/face.ts'

export type RecordEvent = (event: FaceEvent, type?: 'Normal' | 'Warning') => void

interface RecorderDeps {
  readonly client: Pick<KubeClient, 'create'>
  readonly nodeName: string
  readonly clock: Pick<Clock, 'now'>
  readonly log: Log
}

export const createRecorder =
  ({ client, nodeName, clock, log }: RecorderDeps): RecordEvent =>
  ({ kind, name, namespace = 'default', reason, message }, type = 'Warning') => {
    const now = new Date(clock.now()).toISOString()
    const body = {
      ...{ apiVersion: 'v1', kind: 'Event', type, reason, message, count: 1 },
      metadata: { generateName: `${name}.`, namespace },
      involvedObject: { apiVersion: 'v1', kind, name, ...(kind === 'Node' ? { uid: name } : { namespace }) },
      source: { component: 'kube-proxy', host: nodeName },
      ...{ firstTimestamp: now, lastTimestamp: now, reportingComponent: 'kube-proxy', reportingInstance: nodeName },
    }
    client
      .create({ resource: events, namespace }, body)
      .catch(error => log.debug({ err: error, reason }, 'an Event could not be written'))
  }
