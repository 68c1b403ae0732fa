// What the socket shows, gathered from the daemon's parts.
import { join } from 'node:path'
import type { Cri } from '../../api/cri/cri.ts'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import type { Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import type { AgentConfig } from '../config/agent-config.ts'
import { podLogFolder } from '../labels.ts'
import type { Machinery } from '../machinery.ts'
import { readRuntimeFacts } from '../runtime-facts.ts'
import { describeManifestProblem } from '../sources/desired.ts'
import type { ManifestSources } from '../sources/manifests.ts'
import type { Timeline } from '../timeline.ts'
import type { NodeView } from './view.ts'
import type { Problem } from './wire.ts'

export interface Visible {
  readonly manifests: ManifestSources
  readonly live: Source<Pod>
  readonly timeline: Timeline
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  /** What is wrong with Services. */
  problems(): readonly Problem[]
  readonly trace: NodeView['trace']
  readonly diff: NodeView['diff']
  readonly machinery: Machinery
  readonly runtime: Cri
}

/** The daemon as its socket shows it. */
export const createView = (
  config: AgentConfig,
  { manifests, live, timeline, services, endpointSlices, problems, trace, diff, machinery, runtime }: Visible,
): NodeView => ({
  pods: live.list,
  gonePods: timeline.gone,
  services: services.list,
  endpointSlices: endpointSlices.list,
  node: async () => machinery.self.node(await readRuntimeFacts(runtime)),
  problems: () => [
    ...manifests.problems().map(it => ({
      since: it.since,
      code: 'bad-manifest',
      object: it.object ?? `file ${it.file}`,
      message: describeManifestProblem(it),
    })),
    ...problems(),
  ],
  trace,
  diff,
  timeline: timeline.of,
  logFolder: pod => join(config.podLogsDir, podLogFolder(pod)),
})
