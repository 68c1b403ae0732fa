// What the daemon counts of its own work for those who scrape its metrics, joined: one registry for the node, one for probes, as upstream.
// Made before everything that is counted. Without a control plane there is none of it: nobody could ask.
import { readFileSync } from 'node:fs'
import type { Cri } from '../../api/cri/cri.ts'
import type { Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import { toCgroupLayout } from '../../host/cgroup-layout.ts'
import type { Clock } from '../../host/clock.ts'
import { createMetrics } from '../../host/metrics.ts'
import type { AgentConfig } from '../config/agent-config.ts'
import type { Identity } from '../identity/identity.ts'
import { measureCri } from '../stats/cri-metrics.ts'
import { createHostFigures } from '../stats/host-figures.ts'
import { createKubeletMetrics, type KubeletMetrics } from '../stats/kubelet-metrics.ts'

export interface MeasuresDeps {
  readonly config: Pick<AgentConfig, 'nodeName'>
  readonly version: string
  readonly live: Source<Pod>
  readonly clock: Clock
}

export interface Measures {
  /** The same runtime, its calls counted. */
  runtime(cri: Cri): Cri
  /** To be called once it is known who is wanted; before that nothing is told. */
  begin(wanted: Source<Pod>, identity: Identity): KubeletMetrics
}

export const createMeasures = ({ config, version, live, clock }: MeasuresDeps): Measures => {
  const metrics = createMetrics()
  return {
    runtime: cri => measureCri(cri, { metrics, clock, pods: live.list }),
    begin: (wanted, identity) => {
      const { version: cgroupVersion } = toCgroupLayout(readFileSync('/proc/self/mountinfo', 'utf8'))
      return createKubeletMetrics({
        ...{ metrics, probeMetrics: createMetrics(), nodeName: config.nodeName, version, live, wanted, clock },
        cgroupVersion,
        bootedAt: createHostFigures(cgroupVersion).bootedAt,
        certificates: () => {
          const { clientNotAfter: client, servingNotAfter: server } = identity.figures()
          return { client, server }
        },
      })
    },
  }
}
