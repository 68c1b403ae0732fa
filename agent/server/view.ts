// What the daemon's socket needs to see of the node. main.ts puts it together from the parts; the server changes nothing by it.
import type { KubeObject } from '../../api/meta.ts'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import type { Pod } from '../../api/types.ts'
import type { PodTimeline } from '../timeline.ts'
import type { Diff, Problem, TraceQuery } from './wire.ts'

export interface NodeView {
  /** All pods of the node, with the status that is reported of them. */
  pods(): readonly Pod[]
  /** Pods that are gone but still remembered (Timeline.gone). */
  gonePods(): readonly Pod[]
  services(): readonly Service[]
  endpointSlices(): readonly EndpointSlice[]
  /** The Node object, with the runtime's health as it is now. */
  node(): KubeObject | Promise<KubeObject>
  problems(): readonly Problem[]
  /** The way of a packet to a Service, in words and as values. @throws Fault `not-found`, `unsupported` */
  trace(query: TraceQuery): Promise<{ readonly text: string; readonly body: object }>
  /** What the kernel holds of Services, against what it should. @throws Fault `unsupported`, `kernel-refused` */
  diff(): Promise<Diff>
  timeline(podUid: string): PodTimeline | undefined
  /** The folder of a pod's logs: podLogsDir and `<namespace>_<name>_<uid>`. */
  logFolder(pod: Pod): string
}
