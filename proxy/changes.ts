// Folds the changes of Services and EndpointSlices into one before and after per Service; what cancels itself is forgotten.
// Nothing is handed out before both sources have told everything: a half-seen cluster would withdraw Services that are there.
// Holds references to the sources' objects, no copies. Follows kube-proxy's change trackers.
import { type EndpointSlice, type Service, serviceNameLabel } from '../api/service-types.ts'
import type { Source } from '../api/source.ts'
import { keyOf } from '../api/source.ts'
import { byText } from '../host/order.ts'

export interface ServiceState {
  readonly service: Service | undefined
  readonly slices: readonly EndpointSlice[]
}

export interface ServiceChange {
  /** namespace/name */
  readonly key: string
  readonly before: ServiceState
  readonly after: ServiceState
}

export interface PendingChanges {
  readonly services: number
  readonly endpoints: number
}

export interface Changes {
  readonly isSynced: boolean
  /** All that changed since the last call, one entry per Service; empty until both sources are synced. */
  take(): readonly ServiceChange[]
  /** Marks every Service as changed, for when what they are judged by has changed (the node's zone or addresses). */
  touchAll(): void
  /** What has changed and was not taken yet: Services themselves, and EndpointSlices. */
  pending(): PendingChanges
  stop(): void
}

const nothing: ServiceState = { service: undefined, slices: [] }

const sameState = (a: ServiceState, b: ServiceState): boolean =>
  a.service === b.service && a.slices.length === b.slices.length && a.slices.every(slice => b.slices.includes(slice))

const byName = (a: EndpointSlice, b: EndpointSlice): number => byText(a.metadata.name, b.metadata.name)

// Slices that kube-proxy does not watch: another program routes them, or nobody does.
const notOurs = ['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless']

const ownerOf = (slice: EndpointSlice): string | undefined => {
  const labels = slice.metadata.labels ?? {}
  if (notOurs.some(label => label in labels)) return undefined
  const name = labels[serviceNameLabel]
  return name === undefined || name === '' ? undefined : `${slice.metadata.namespace ?? ''}/${name}`
}

/** Listens to both sources from now on; `onPending` is called when something waits to be taken and both are synced. */
export const createChanges = (deps: {
  services: Source<Service>
  endpointSlices: Source<EndpointSlice>
  onPending: () => void
}): Changes => {
  const states = new Map<string, ServiceState>()
  // `undefined` stands for "whatever it was": the next take hands it out in any case.
  const before = new Map<string, ServiceState | undefined>()
  let services = false
  let slices = false

  const change = (key: string, next: (state: ServiceState) => ServiceState) => {
    const state = states.get(key) ?? nothing
    if (!before.has(key)) before.set(key, state)
    const after = next(state)
    if (after.service === undefined && after.slices.length === 0) states.delete(key)
    else states.set(key, after)
    if (services && slices) deps.onPending()
  }
  const put = (slice: EndpointSlice, old: EndpointSlice | undefined) => (state: ServiceState) => ({
    ...state,
    // By name, whenever each came: of two that say different things of one endpoint the same one counts after a restart.
    slices: [...state.slices.filter(other => other !== old), slice].sort(byName),
  })
  const drop = (old: EndpointSlice) => (state: ServiceState) => ({
    ...state,
    slices: state.slices.filter(other => other !== old),
  })
  const onSync = () => {
    if (services && slices) deps.onPending()
  }

  const stopServices = deps.services.subscribe({
    changed: (old, service) => {
      const one = service ?? old
      if (one !== undefined) change(keyOf(one), state => ({ ...state, service }))
    },
    synced: () => {
      services = true
      onSync()
    },
  })
  const stopSlices = deps.endpointSlices.subscribe({
    changed: (old, slice) => {
      const from = old && ownerOf(old)
      const to = slice && ownerOf(slice)
      if (old !== undefined && from !== undefined && from !== to) change(from, drop(old))
      if (slice !== undefined && to !== undefined) change(to, put(slice, from === to ? old : undefined))
    },
    synced: () => {
      slices = true
      onSync()
    },
  })
  return {
    get isSynced() {
      return services && slices
    },
    pending: () => {
      const count = { services: 0, endpoints: 0 }
      for (const [key, was] of before) {
        const now = states.get(key) ?? nothing
        if (was?.service !== now.service) count.services += 1
        count.endpoints += now.slices.filter(slice => !was?.slices.includes(slice)).length
        count.endpoints += was?.slices.filter(slice => !now.slices.includes(slice)).length ?? 0
      }
      return count
    },
    take: () => {
      if (!services || !slices) return []
      const taken: ServiceChange[] = []
      for (const [key, was] of before) {
        const after = states.get(key) ?? nothing
        if (was === undefined || !sameState(was, after)) taken.push({ key, before: was ?? nothing, after })
      }
      before.clear()
      return taken
    },
    touchAll: () => {
      for (const key of states.keys()) before.set(key, undefined)
      if (services && slices && before.size > 0) deps.onPending()
    },
    stop: () => {
      stopServices()
      stopSlices()
    },
  }
}
