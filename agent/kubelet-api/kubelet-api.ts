// The kubelet's API on its ports: TLS on config.address:port, the read-only port where there is one, and /healthz on the health port.
// Puts the parts together and owns their life; what a path answers is routes.ts's, who may ask gate.ts's.
import { createServer, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import type { KubeApi } from '../../api/kube/api.ts'
import type { Clock } from '../../host/clock.ts'
import type { Log } from '../../host/log.ts'
import type { AgentConfig } from '../config/agent-config.ts'
import type { NodeView } from '../server/view.ts'
import { type Handler, notFound } from './answer.ts'
import { type ClientCas, openClientCas } from './client-cas.ts'
import { createGate, type Gate } from './gate.ts'
import { type HealthChecks, serveHealth } from './health.ts'
import { connectionLimits, createResponder } from './http.ts'
import { createListener } from './listener.ts'
import type { OnRequest } from './request-labels.ts'
import { createRoutes, type RouteDeps } from './routes.ts'
import { createSecureServer, type SecureServer, type ServingCertificate } from './secure.ts'
import { toTlsOptions } from './tls-options.ts'
import { createUpgrade } from './upgrade.ts'

export interface KubeletApiDeps {
  readonly config: Pick<AgentConfig, 'nodeName' | 'rootDir' | 'kubelet'>
  readonly servingCertificate: ServingCertificate
  /** Absent: there is no control plane, and nobody can be asked about tokens and rights. */
  readonly api: Pick<KubeApi, 'create'> | undefined
  readonly view: Pick<NodeView, 'pods' | 'logFolder'>
  readonly cri: RouteDeps['cri']
  /** What is wrong with the loop that runs pods, or undefined. */
  readonly syncLoop: () => string | undefined
  /** What other parts answer, by whole path: `{ '/metrics': …, '/stats/summary': … }`. */
  readonly extra: Readonly<Record<string, Handler>>
  readonly onRequest?: OnRequest
  /** /var/log when not given. */
  readonly systemLogsDir?: string
  readonly clock: Clock
  readonly log: Log
}

export interface KubeletApi {
  /**
   * Opens the ports that the configuration names; with enableServer off the health port alone.
   * @returns the ports, as the kernel gave them
   * @throws Fault `io` when an address cannot be had, `certificate` when the client CA file cannot be used
   */
  listen(): Promise<{ readonly secure?: number; readonly readOnly?: number; readonly healthz?: number }>
  /** Ends all connections. */
  close(): Promise<void>
}

/** @throws Fault `bad-config` when the configuration asks for what there is not, or lets nobody in */
export const createKubeletApi = (deps: KubeletApiDeps): KubeletApi => {
  const { config, syncLoop, log } = deps
  const { kubelet } = config
  const checks: HealthChecks = { ping: () => undefined, log: () => undefined, syncloop: syncLoop }
  const routeDeps: RouteDeps = {
    ...{ systemLogsDir: '/var/log', checkpointsDir: join(config.rootDir, 'checkpoints') },
    ...deps,
    ...{ kubelet, checks },
  }
  // Refused at once, and not when the first port is open already.
  const options = toTlsOptions(kubelet)
  const gate = kubelet.enableServer ? createGate({ ...deps, kubelet, nodeName: config.nodeName }) : undefined
  const ends: (() => Promise<void> | void)[] = []
  const close = async () => {
    for (const end of ends.splice(0)) await end()
  }

  const listenPlain = async (handler: Handler, port: number, address: string): Promise<number> => {
    const respond = createResponder(() => handler, { serverType: 'readonly', onRequest: deps.onRequest, log })
    const listener = createListener(createServer(connectionLimits, (request, response) => void respond(request, response)))
    ends.push(listener.close)
    return await listener.listen(port, address)
  }

  const listenSecure = async (gate: Gate): Promise<number> => {
    let secure: SecureServer | undefined
    const cas = await openCas(deps, pem => secure?.trust(pem))
    if (cas) ends.push(cas.stop)
    secure = createSecureServer({ ...deps, options, ...(cas && { clientCas: cas.current() }) })
    serveSecure(secure, gate, routeDeps, deps)
    ends.push(deps.servingCertificate.onChange(secure.renew))
    const listener = createListener(secure.server)
    ends.push(listener.close)
    if (deps.servingCertificate.current() === undefined)
      log.warn({}, 'the kubelet API has no serving certificate yet: connections are refused until there is one')
    return await listener.listen(kubelet.port, kubelet.address)
  }

  const listen = async () => {
    const health: Handler = ask => (ask.segments[0] === 'healthz' ? serveHealth(ask, checks) : notFound)
    const { healthzPort, healthzBindAddress, readOnlyPort, address } = kubelet
    return {
      ...(healthzPort > 0 && { healthz: await listenPlain(health, healthzPort, healthzBindAddress) }),
      ...(gate && { secure: await listenSecure(gate) }),
      ...(gate && readOnlyPort > 0 && { readOnly: await listenPlain(createRoutes(routeDeps, false), readOnlyPort, address) }),
    }
  }

  return {
    listen: async () => {
      try {
        const ports = await listen()
        log.info(ports, 'the kubelet API listens')
        return ports
      } catch (error) {
        await close()
        throw error
      }
    },
    close,
  }
}

const openCas = async (
  { config, clock, log }: KubeletApiDeps,
  onChange: (pem: string) => void,
): Promise<ClientCas | undefined> => {
  const path = config.kubelet.authentication.x509.clientCAFile
  return path === '' ? undefined : openClientCas({ path, clock, log, onChange })
}

/** Answers what comes over TLS: past the gate, then by its path, streams by an upgrade. */
const serveSecure = (
  { server, certificateOf }: SecureServer,
  gate: Gate,
  routeDeps: RouteDeps,
  { onRequest, cri, view, clock, log, config }: KubeletApiDeps,
): void => {
  const routes = createRoutes(routeDeps, true)
  const guard =
    (request: IncomingMessage, next: Handler): Handler =>
    async ask =>
      (await gate(ask, certificateOf(request.socket))) ?? next(ask)
  const respond = createResponder(request => guard(request, routes), { serverType: 'readwrite', onRequest, log })
  server.on('request', (request, response) => void respond(request, response))

  const upgrade = createUpgrade({
    ...{ guard, view, cri, onRequest, clock, log },
    idleMs: config.kubelet.streamingConnectionIdleTimeout,
    ...(!config.kubelet.enableDebuggingHandlers && { instead: routes }),
  })
  server.on('upgrade', (request, socket, head) => void upgrade(request, socket, head))
}
