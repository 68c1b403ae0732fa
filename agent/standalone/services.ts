// What a control plane does for the Services of a folder: defaults, addresses, node ports and EndpointSlices, offered as sources
// of the same kind as an apiserver's. Follows each change synchronously, and only where it leads: a pod that gets ready touches
// the slices of the Services that select it, in the same turn. Decides nothing itself: allocate.ts and slices.ts do.
import { defaultService } from '../../api/defaults.ts'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { createStore, keyOf, type Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import type { Log } from '../../host/log.ts'
import { createLedger, createRules, type Outcome, serviceKey } from './allocate.ts'
import type { AllocationMemory } from './allocations.ts'
import type { PortRange } from './node-ports.ts'
import { createSelectorIndex } from './selector-index.ts'
import { type Place, selects, slicesOf } from './slices.ts'

export interface ServiceProblem {
  /** As a person names it: `service default/web`. */
  readonly object: string
  readonly message: string
  /** When it came up, RFC 3339. */
  readonly since: string
}

export interface StandaloneServices {
  /** Defaulted and allocated; those that are refused are left out. */
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  /** What is wrong with Services now, by Service. */
  problems(): readonly ServiceProblem[]
  stop(): void
}

export interface StandaloneServicesDeps {
  /** Services as the folder's reader gives them, checked but neither defaulted nor allocated. */
  readonly manifestServices: Source<Service>
  /** Pods of this machine with their live status. */
  readonly pods: Source<Pod>
  readonly allocations: AllocationMemory
  readonly clock: Pick<Clock, 'now'>
  readonly log: Log
  /** One, or one of each family, the default family first. */
  readonly serviceCIDRs: readonly string[]
  readonly nodePortRange?: PortRange
  /** Addresses of cluster DNS; default: the tenth of each range. */
  readonly clusterDNS?: readonly string[]
  readonly nodeName: string
  readonly zone?: string
}

/** One Service that is served: its pods by key, and what was made of them. */
interface Served {
  readonly service: Service
  readonly members: Map<string, Pod>
  slices: readonly EndpointSlice[]
}

/** Slices of Services, kept up with their pods. */
const createSliceKeeper = (place: Place) => {
  const slices = createStore<EndpointSlice>()
  const index = createSelectorIndex()
  const served = new Map<string, Served>()

  const refresh = (entry: Served) => {
    const before = entry.slices
    entry.slices = slicesOf(entry.service, [...entry.members.values()], before, place)
    // New slices before old ones go: an endpoint that moves between two is never in none.
    for (const slice of entry.slices) slices.put(slice)
    const kept = new Set(entry.slices.map(slice => slice.metadata.name))
    for (const { metadata } of before) if (!kept.has(metadata.name)) slices.remove(metadata.namespace ?? '', metadata.name)
  }
  return {
    slices,
    serve: (service: Service) => {
      const key = keyOf(service)
      const namespace = service.metadata.namespace ?? ''
      const selector = service.spec.type === 'ExternalName' ? {} : (service.spec.selector ?? {})
      index.setSelector(key, namespace, selector)
      const entry: Served = {
        service,
        members: new Map(index.podsFor(namespace, selector)),
        slices: served.get(key)?.slices ?? [],
      }
      served.set(key, entry)
      refresh(entry)
    },
    drop: (key: string) => {
      index.dropSelector(key)
      for (const { metadata } of served.get(key)?.slices ?? []) slices.remove(metadata.namespace ?? '', metadata.name)
      served.delete(key)
    },
    podChanged: (before: Pod | undefined, after: Pod | undefined) => {
      const pod = after ?? before
      if (pod === undefined) return
      const key = keyOf(pod)
      const namespace = pod.metadata.namespace ?? ''
      const affected = new Set([
        ...index.selecting(namespace, before?.metadata.labels),
        ...index.selecting(namespace, after?.metadata.labels),
      ])
      if (after === undefined) index.dropPod(key)
      else index.setPod(key, after)
      for (const serviceKeyOfPod of affected) {
        const entry = served.get(serviceKeyOfPod)
        if (entry === undefined) continue
        if (after !== undefined && selects(entry.service.spec.selector, after.metadata.labels)) entry.members.set(key, after)
        else entry.members.delete(key)
        refresh(entry)
      }
    },
  }
}

/** Services with what the ledger gives them, and what is wrong with the others. */
const createAllocator = (deps: StandaloneServicesDeps, offer: (key: string, service: Service | undefined) => void) => {
  const ledger = createLedger(createRules(deps.serviceCIDRs, deps.nodePortRange, deps.clusterDNS))
  const wanted = new Map<string, Service>()
  const problems = new Map<string, readonly string[]>()
  const since = new Map<string, string>()

  const take = (key: string, outcome: Outcome) => {
    const before = problems.get(key)?.join('\n')
    if (outcome.problems.length === 0) problems.delete(key)
    else problems.set(key, outcome.problems)
    if (outcome.problems.join('\n') !== before) {
      since.set(key, new Date(deps.clock.now()).toISOString())
      for (const message of outcome.problems) deps.log.warn({ object: `service ${key}` }, message)
    }
    offer(key, outcome.service)
  }
  /** What one Service lets go of may be what another was refused. */
  const retryTroubled = (except: string) => {
    for (const [key, before] of [...problems]) {
      const service = wanted.get(key)
      if (key === except || service === undefined) continue
      const outcome = ledger.place(service)
      if (outcome.problems.join('\n') !== before.join('\n')) take(key, outcome)
    }
  }
  const settle = (key: string) => {
    retryTroubled(key)
    deps.allocations.save(ledger.holdings)
  }
  return {
    problems: (): readonly ServiceProblem[] =>
      [...problems].flatMap(([key, messages]) =>
        messages.map(message => ({ object: `service ${key}`, message, since: since.get(key) ?? '' })),
      ),
    begin: (services: readonly Service[]) => {
      for (const service of services) wanted.set(serviceKey(service), service)
      for (const [key, outcome] of ledger.placeAll(services, deps.allocations.remembered)) take(key, outcome)
      settle('')
    },
    set: (service: Service) => {
      const key = serviceKey(service)
      wanted.set(key, service)
      take(key, ledger.place(service))
      settle(key)
    },
    drop: (key: string) => {
      wanted.delete(key)
      problems.delete(key)
      since.delete(key)
      ledger.release(key)
      offer(key, undefined)
      settle(key)
    },
  }
}

const prepare = (service: Service): Service =>
  defaultService({ ...service, metadata: { ...service.metadata, namespace: service.metadata.namespace ?? 'default' } })

/** Starts at once; both sources are synced as soon as the folder's Services and the pods are. */
export const createStandaloneServices = (deps: StandaloneServicesDeps): StandaloneServices => {
  const services = createStore<Service>()
  const keeper = createSliceKeeper({ nodeName: deps.nodeName, ...(deps.zone !== undefined && { zone: deps.zone }) })
  const allocator = createAllocator(deps, (key, service) => {
    if (service === undefined) {
      const [namespace = '', name = ''] = key.split('/')
      keeper.drop(key)
      services.remove(namespace, name)
    } else {
      services.put(service)
      keeper.serve(service)
    }
  })
  let listening = false
  let begun = false
  // Addresses are given out only when all Services are known: what one names must not have gone to another.
  const beginWhenReady = () => {
    if (begun || !listening || !deps.manifestServices.isSynced || !deps.pods.isSynced) return
    begun = true
    allocator.begin(deps.manifestServices.list().map(prepare))
    services.markSynced()
    keeper.slices.markSynced()
  }
  const stopPods = deps.pods.subscribe({ changed: keeper.podChanged, synced: beginWhenReady })
  const stopServices = deps.manifestServices.subscribe({
    changed: (before, after) => {
      if (!begun) return
      if (after !== undefined) allocator.set(prepare(after))
      else if (before !== undefined) allocator.drop(serviceKey(before))
    },
    synced: beginWhenReady,
  })
  listening = true
  beginWhenReady()
  return {
    services,
    endpointSlices: keeper.slices,
    problems: allocator.problems,
    stop: () => {
      stopPods()
      stopServices()
    },
  }
}
