// How a running proxy is seen from outside, as kube-proxy is: /healthz and /livez for balancers, metrics and configuration for people,
// and the health check ports of Services. Reads the proxy and changes nothing of it.
// Follows kube-proxy 1.36: addresses of KubeProxyConfiguration, bindAddressHardFail, which servers answer what.
import type { ProxyConfig } from '../../api/config/proxy-config.ts'
import type { EndpointSlice, IPFamily, Service } from '../../api/service-types.ts'
import type { Source } from '../../api/source.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { expositionType, toExposition } from '../../host/exposition.ts'
import type { Log } from '../../host/log.ts'
import { createMetrics } from '../../host/metrics.ts'
import type { Proxy as ServiceProxy } from '../main.ts'
import { toConfigz } from './configz.ts'
import { type ProxyHealth, toHealth, toHealthAnswer } from './health.ts'
import { type Answer, type HttpAnswer, listenStubbornly } from './http.ts'
import { listenAddresses } from './listen-addresses.ts'
import { createNodePortChecks } from './node-port-checks.ts'
import { createProxyMetrics } from './proxy-metrics.ts'

/** Something that happened, for whoever writes Events. */
export interface FaceEvent {
  readonly kind: 'Service' | 'Node'
  readonly namespace?: string
  readonly name: string
  readonly reason: string
  readonly message: string
}

export interface ProxyFaceDeps {
  readonly config: ProxyConfig
  readonly nodeName: string
  readonly proxy: Pick<ServiceProxy, 'status' | 'settings' | 'follow' | 'stranded'>
  readonly services: Pick<Source<Service>, 'subscribe'>
  readonly endpointSlices: Pick<Source<EndpointSlice>, 'subscribe'>
  /** Whether the node may get traffic from outside, as it is now. */
  readonly isEligible: () => boolean
  /** When the machine was started. */
  readonly bootedAt: Millis
  readonly onEvent?: (event: FaceEvent) => void
  /** An address could not be listened on, and the configuration says that this is the end. Without it, it is tried again. */
  readonly onHardFail?: (error: unknown) => void
  readonly clock: Clock
  readonly log: Log
}

export interface ProxyFace {
  close(): Promise<void>
}

const plain = (body: string): HttpAnswer => ({ status: 200, type: 'text/plain; charset=utf-8', body })
const json = (status: number, body: string): HttpAnswer => ({ status, type: 'application/json', body })

interface Server {
  readonly name: string
  readonly address: string
  readonly answer: Answer
  readonly reason: string
}

/** To be made as soon as the proxy is: resolves when each server has had its first attempt. */
export const createProxyFace = async (deps: ProxyFaceDeps): Promise<ProxyFace> => {
  const { config, nodeName, proxy, services, endpointSlices, isEligible, bootedAt, onEvent, clock, log } = deps
  const lateMs = 2 * config[proxy.status().mode].syncPeriod
  const health = (): ProxyHealth => toHealth(proxy.status().perFamily, lateMs, clock.now())
  const metrics = createMetrics()
  const { status, stranded } = proxy
  const figures = createProxyMetrics({ metrics, services, endpointSlices, status, stranded, bootedAt, clock })
  const checks = createNodePortChecks({
    nodeName,
    addresses: (family: IPFamily) => listenAddresses(proxy.settings(), family),
    isHealthy: () => health().healthy,
    onRefused: (key, message) => {
      const [namespace = '', name = ''] = key.split('/')
      onEvent?.({ kind: 'Service', namespace, name, reason: 'FailedToStartServiceHealthcheck', message })
    },
    log,
  })
  const unfollow = proxy.follow(round => {
    figures.take(round)
    void checks.take(round.changes)
  })

  const answerHealth = (path: 'healthz' | 'livez'): HttpAnswer => {
    const { status, body } = toHealthAnswer(health(), clock.now(), path === 'healthz' ? isEligible() : undefined)
    figures.asked(path, status)
    return json(status, body)
  }
  const metricsRoutes: Readonly<Record<string, () => HttpAnswer | Promise<HttpAnswer>>> = {
    '/healthz': () => plain('ok'),
    '/proxyMode': () => plain(proxy.status().mode),
    '/configz': () => json(200, toConfigz(config)),
    '/metrics': async () => ({ status: 200, type: expositionType, body: toExposition(await metrics.families()) }),
  }
  const servers: readonly Server[] = [
    {
      name: 'health',
      address: config.healthzBindAddress,
      answer: path => (path === '/healthz' || path === '/livez' ? answerHealth(path.slice(1) as 'healthz' | 'livez') : undefined),
      reason: 'FailedToStartProxierHealthcheck',
    },
    {
      name: 'metrics',
      address: config.metricsBindAddress,
      answer: path => (Object.hasOwn(metricsRoutes, path) ? metricsRoutes[path]!() : undefined),
      reason: 'FailedToStartMetricServer',
    },
  ]
  const isFinal = config.bindAddressHardFail && deps.onHardFail !== undefined
  const begin = ({ name, address, answer, reason }: Server) =>
    listenStubbornly(address, answer, {
      clock,
      again: !isFinal,
      onRefused: error => {
        log.error({ err: error, server: name, address }, 'a server of the proxy cannot listen')
        if (!isFinal) return
        onEvent?.({ kind: 'Node', name: nodeName, reason, message: String((error as Error).message) })
        deps.onHardFail?.(error)
      },
    })
  const listeners = await Promise.all(servers.filter(({ address }) => address !== '').map(begin))
  return {
    close: async () => {
      unfollow()
      figures.stop()
      await Promise.all([...listeners.map(listener => listener.close()), checks.close()])
    },
  }
}
