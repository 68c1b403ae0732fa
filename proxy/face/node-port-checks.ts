// The health check ports of load balancers: for each Service with externalTrafficPolicy Local one HTTP server that says how many of its
// endpoints run here. Opened, answered and closed as the Services of the rounds say; a port that is taken is told of and passed over.
// Follows kube-proxy 1.36 (pkg/proxy/healthcheck): the same JSON, status and header; one server per family, which counts its own endpoints.
import type { EndpointSlice, IPFamily, Service } from '../../api/service-types.ts'
import { describe } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { canonicalAddress } from '../address.ts'
import type { ServiceChange } from '../changes.ts'
import { toServicePorts } from '../services.ts'
import { type HttpAnswer, type Listener, listenInFamily } from './http.ts'

export interface HealthCheck {
  readonly port: number
  /** Ready endpoints on this node, of each family that the Service has. */
  readonly local: Readonly<Partial<Record<IPFamily, number>>>
}

/** Ready endpoints of a node, each address once; terminating ones serve on but are no reason to send more. */
const countLocal = (slices: readonly EndpointSlice[], family: IPFamily, nodeName: string): number => {
  const here = slices
    .filter(slice => slice.addressType === family)
    .flatMap(slice => slice.endpoints ?? [])
    .filter(({ nodeName: at, conditions }) => at === nodeName && conditions?.ready !== false)
    .flatMap(({ addresses }) => canonicalAddress(addresses[0] ?? '', family) ?? [])
  return new Set(here).size
}

/** What a load balancer may ask about a Service; undefined for Services that none asks about. */
export const toHealthCheck = (
  service: Service | undefined,
  slices: readonly EndpointSlice[],
  nodeName: string,
): HealthCheck | undefined => {
  const { type, externalTrafficPolicy, healthCheckNodePort = 0 } = service?.spec ?? {}
  if (service === undefined || type !== 'LoadBalancer' || externalTrafficPolicy !== 'Local' || healthCheckNodePort === 0)
    return undefined
  const families = (['IPv4', 'IPv6'] as const).filter(family => toServicePorts(service, family).length > 0)
  return {
    port: healthCheckNodePort,
    local: Object.fromEntries(families.map(family => [family, countLocal(slices, family, nodeName)])),
  }
}

/** @param key namespace/name */
export const toCheckAnswer = (key: string, localEndpoints: number, proxyHealthy: boolean): HttpAnswer => {
  const [namespace, name] = key.split('/')
  return {
    status: localEndpoints > 0 && proxyHealthy ? 200 : 503,
    type: 'application/json',
    headers: { 'X-Load-Balancing-Endpoint-Weight': String(localEndpoints) },
    body: JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy: proxyHealthy }, undefined, '\t'),
  }
}

export interface NodePortChecksDeps {
  readonly nodeName: string
  /** Where the ports are served, as it is now. */
  readonly addresses: (family: IPFamily) => readonly string[]
  readonly isHealthy: () => boolean
  /** Told when a port cannot be served. @param key namespace/name of the Service */
  readonly onRefused: (key: string, message: string) => void
  readonly log: Log
}

export interface NodePortChecks {
  /** Takes the Services of a round; resolves when the ports are open or refused. */
  take(changes: readonly ServiceChange[]): Promise<void>
  close(): Promise<void>
}

/** What one Service has open. */
interface Opened {
  check: HealthCheck
  /** Names what the servers are for: another one means other servers. */
  place: string
  listeners: Listener[]
}

export const createNodePortChecks = ({ nodeName, addresses, isHealthy, onRefused, log }: NodePortChecksDeps): NodePortChecks => {
  const opened = new Map<string, Opened>()
  // Tried again at every round: whoever has the port may be gone, also another Service.
  const refused = new Map<string, HealthCheck>()
  // One after the other: a port may go from one Service to the next within a round.
  let queue: Promise<void> = Promise.resolve()

  const placesOf = ({ local }: HealthCheck): readonly { family: IPFamily; host: string }[] =>
    (Object.keys(local) as IPFamily[]).flatMap(family => addresses(family).map(host => ({ family, host })))

  const close = async (key: string) => {
    const there = opened.get(key)
    if (there === undefined) return
    opened.delete(key)
    log.debug({ service: key, port: there.check.port }, 'health check port closed')
    await Promise.all(there.listeners.map(listener => listener.close()))
  }
  const openAll = async (key: string, check: HealthCheck, place: string) => {
    const one: Opened = { check, place, listeners: [] }
    try {
      for (const { family, host } of placesOf(check)) {
        const answer = () => toCheckAnswer(key, one.check.local[family] ?? 0, isHealthy())
        one.listeners.push(await listenInFamily(host, check.port, answer))
      }
      opened.set(key, one)
      refused.delete(key)
      log.debug({ service: key, port: check.port }, 'health check port open')
    } catch (error) {
      await Promise.all(one.listeners.map(listener => listener.close()))
      const isKnown = refused.get(key)?.port === check.port
      refused.set(key, check)
      if (isKnown) return
      const message = `node ${nodeName} cannot serve the health check of ${key} on port ${check.port}: ${describe(error)}`
      log.error({ err: error, service: key, port: check.port }, 'a health check port cannot be served')
      onRefused(key, message)
    }
  }
  const apply = async (wanted: readonly (readonly [string, HealthCheck | undefined])[]) => {
    const toOpen: { key: string; check: HealthCheck; place: string }[] = []
    for (const [key, check] of wanted) {
      const place = check === undefined ? '' : `${check.port} ${placesOf(check).map(it => it.host)}`
      const there = opened.get(key)
      if (check !== undefined && there?.place === place) there.check = check
      else {
        await close(key)
        if (check === undefined) refused.delete(key)
        if (check !== undefined) toOpen.push({ key, check, place })
      }
    }
    for (const { key, check, place } of toOpen) await openAll(key, check, place)
  }
  const inTurn = (run: () => Promise<void>): Promise<void> => {
    queue = queue.then(run)
    return queue
  }
  return {
    take: changes => {
      const told = changes.map(({ key, after }) => [key, toHealthCheck(after.service, after.slices, nodeName)] as const)
      // Nearly no Service has one: the others are not looked at again.
      const news = told.filter(([, check]) => check !== undefined || opened.size + refused.size > 0)
      if (news.length === 0 && refused.size === 0) return queue
      return inTurn(() => apply([...new Map<string, HealthCheck | undefined>([...refused, ...news])]))
    },
    close: () =>
      inTurn(async () => {
        for (const key of [...opened.keys()]) await close(key)
      }),
  }
}
