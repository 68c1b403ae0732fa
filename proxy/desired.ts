// What the kernel should hold: judges Services by the model, settles who owns an address, and keeps what has not been written yet.
// No I/O. A Service that cannot be judged is logged and keeps what it had; the others go on.
import { isIP } from 'node:net'
import type { EndpointSlice, IPFamily } from '../api/service-types.ts'
import { describe, Fault } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import type { ServiceChange } from './changes.ts'
import { createClaims, type FrontendChange } from './claims.ts'
import { type Frontend, type NodeView, toFrontends } from './model.ts'

export interface Desired {
  /** Takes a Service's new state into account; returns what that changes, of all families. */
  judge(change: ServiceChange, node: NodeView): readonly FrontendChange[]
  /** What is to be written for a family, one change per address, and forgets it. */
  take(family: IPFamily): readonly FrontendChange[]
  /** Everything of a family. */
  frontends(family: IPFamily): IteratorObject<Frontend>
  readonly size: number
  readonly services: number
}

export interface DesiredDeps {
  readonly families: readonly IPFamily[]
  readonly log: Log
  /** Of one Service; one that has more is not routed. */
  readonly mostPorts: number
}

const familyNumber = { IPv4: 4, IPv6: 6, FQDN: undefined } as const
/** A line names some of them, but not a thousand. */
const named = 5

/** Addresses that a slice has come with and that are none of its family: nobody is sent there. */
const strangersOf = (slice: EndpointSlice): readonly string[] => {
  const wanted = familyNumber[slice.addressType as keyof typeof familyNumber]
  if (wanted === undefined) return []
  return (slice.endpoints ?? []).flatMap(({ addresses: [first = ''] }) => (isIP(first) === wanted ? [] : [first]))
}

/** Nothing is desired at first. */
export const createDesired = ({ families, log, mostPorts }: DesiredDeps): Desired => {
  const claims = createClaims()
  const pending = new Map<IPFamily, Map<string, FrontendChange>>(families.map(family => [family, new Map()]))

  // Several changes of one address before it is written: what the kernel holds is the first `before`.
  const note = (change: FrontendChange) => {
    const changes = pending.get((change.after ?? change.before)!.family)!
    const first = changes.get(change.key)
    changes.set(change.key, first === undefined ? change : { ...change, before: first.before })
  }
  const tellStrangers = ({ key, before, after }: ServiceChange) => {
    for (const slice of after.slices) {
      if (before.slices.includes(slice)) continue
      const strangers = strangersOf(slice)
      if (strangers.length === 0) continue
      const about = { service: key, slice: slice.metadata.name, addresses: strangers.slice(0, named), count: strangers.length }
      log.warn(about, `an EndpointSlice has addresses that are not of ${slice.addressType}, as it says: they are passed over`)
    }
  }
  return {
    judge: (change, node) => {
      const { key, after } = change
      const { service, slices } = after
      try {
        tellStrangers(change)
        const count = service?.spec.ports?.length ?? 0
        if (count > mostPorts)
          throw new Fault(
            'unsupported',
            `it has ${count} ports: this mode routes ${mostPorts} of one Service, nftables all of them`,
          )
        const frontends = service === undefined ? [] : families.flatMap(family => toFrontends(service, slices, family, node))
        const { changes, conflicts } = claims.set(key, frontends)
        for (const conflict of conflicts) log.warn(conflict, 'two Services claim one address and port; the older one has it')
        for (const change of changes) note(change)
        return changes
      } catch (error) {
        log.error({ err: error, service: key }, `this Service cannot be routed as it stands: ${describe(error)}`)
        return []
      }
    },
    take: family => {
      const changes = [...pending.get(family)!.values()]
      pending.get(family)!.clear()
      return changes
    },
    frontends: family => claims.effective().filter(frontend => frontend.family === family),
    get size() {
      return claims.size
    },
    get services() {
      return claims.services().reduce(count => count + 1, 0)
    },
  }
}
