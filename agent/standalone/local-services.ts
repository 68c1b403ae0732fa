// Services of a machine without a control plane, put together: what the folder names gets addresses and endpoints, and names that answer.
// Routes nothing (proxy/ does, joined in main.ts). What the host cannot do is said and tried again, and pods run without it.
import { join } from 'node:path'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import type { Source, Store } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import type { Exec } from '../../host/exec.ts'
import { describe } from '../../host/fault.ts'
import { createLink } from '../../host/link.ts'
import type { Log } from '../../host/log.ts'
import { createNft } from '../../host/nft.ts'
import type { AgentConfig } from '../config/agent-config.ts'
import { keepTrying } from '../patience.ts'
import type { Problem } from '../server/wire.ts'
import type { ManifestSources } from '../sources/manifests.ts'
import { openAllocations } from './allocations.ts'
import { createDns } from './dns/dns.ts'
import { createStandaloneServices } from './services.ts'

export interface LocalServicesDeps {
  readonly config: AgentConfig
  /** The addresses that answer for names; none: no names are answered. */
  readonly clusterDNS: readonly string[]
  readonly manifests: Pick<ManifestSources, 'services'>
  readonly pods: Store<Pod>
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Log
}

export interface LocalServices {
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  problems(): readonly Problem[]
  /** The first attempt to answer for names is over. */
  readonly tried: Promise<void> | undefined
  /** Somebody removed what cluster DNS needs. */
  repairNames(): void
  stop(): Promise<void>
}

export const startLocalServices = async (deps: LocalServicesDeps): Promise<LocalServices> => {
  const { config, clusterDNS, manifests, pods, exec, clock, log } = deps
  const { serviceCIDRs, nodePortRange } = config.standalone
  const { nodeName, clusterDomain, resolvConf } = config
  const allocations = await openAllocations({ path: join(config.stateDir, 'services.json'), clock, log })
  const standalone = createStandaloneServices({
    ...{ manifestServices: manifests.services, pods, allocations, serviceCIDRs, nodePortRange, clusterDNS, nodeName, clock },
    log: log.child({ part: 'services' }),
  })
  const { services, endpointSlices } = standalone
  const dns = createDns({
    ...{ services, endpointSlices, pods, addresses: clusterDNS, clusterDomain, serviceCIDRs, resolvConf, clock, log },
    ...{ link: createLink(exec), nft: createNft(exec) },
  })
  const names = clusterDNS.length === 0 ? undefined : keepTrying('cluster DNS does not answer', dns.start, { clock, log })
  return {
    services,
    endpointSlices,
    problems: () => standalone.problems().map(it => ({ code: 'bad-manifest', ...it })),
    tried: names?.tried,
    repairNames: () =>
      void dns.repair().catch(error => log.error({ err: error }, `cluster DNS could not be repaired: ${describe(error)}`)),
    stop: async () => {
      standalone.stop()
      names?.giveUp()
      await allocations.flush()
    },
  }
}
