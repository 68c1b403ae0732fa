// The grpc probe: success when grpc.health.v1.Health/Check answers SERVING. A connection per attempt, closed with the answer.
// The gRPC library and the protocol are loaded with the first such probe. Follows GRPCAction of the API reference.
import type { Client, ServiceError } from '@grpc/grpc-js'
import type { Clock } from '../host/clock.ts'
import type { Answer } from './probe.ts'
import { hostPort } from './target.ts'

export interface GrpcProbe {
  readonly host: string
  readonly port: number
  readonly service: string
  readonly timeoutMs: number
}

interface HealthClient extends Client {
  check(
    request: { service: string },
    options: { deadline: Date },
    done: (error: ServiceError | null, response?: { status: string }) => void,
  ): { cancel(): void }
}

const load = async () => {
  const [grpc, loader] = await Promise.all([import('@grpc/grpc-js'), import('@grpc/proto-loader')])
  const { fileURLToPath } = await import('node:url')
  const definition = loader.loadSync(fileURLToPath(new URL('./health.proto', import.meta.url)), { enums: String, defaults: true })
  const Health = grpc.makeClientConstructor(definition['grpc.health.v1.Health'] as never, 'Health')
  // A pool of its own for each client: a shared connection would answer for a server that is gone. No proxy, no retries.
  const options = {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
    'grpc.enable_retries': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.primary_user_agent': 'kube-probe/1.36',
  }
  return {
    open: (address: string) => new Health(address, grpc.credentials.createInsecure(), options) as unknown as HealthClient,
    status: grpc.status,
  }
}

export type ProbeGrpc = (probe: GrpcProbe, signal: AbortSignal) => Promise<Answer>

/** A gRPC prober; its library is loaded when the first probe runs. */
export const createGrpcProber = (clock: Clock): ProbeGrpc => {
  let loading: ReturnType<typeof load> | undefined
  return async ({ host, port, service, timeoutMs }, signal) => {
    loading ??= load()
    const { open, status } = await loading
    if (signal.aborted) return { outcome: 'error', message: 'stopped' }
    const address = hostPort(host, port)
    const client = open(address)
    const deadline = new Date(clock.now() + timeoutMs)
    const onAbort = () => client.close()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      return await check(client, { address, service, deadline, timeoutMs }, status)
    } finally {
      signal.removeEventListener('abort', onAbort)
      client.close()
    }
  }
}

interface Question {
  readonly address: string
  readonly service: string
  readonly deadline: Date
  readonly timeoutMs: number
}

const check = (
  client: HealthClient,
  { address, service, deadline, timeoutMs }: Question,
  status: { UNIMPLEMENTED: number; DEADLINE_EXCEEDED: number },
): Promise<Answer> =>
  new Promise(resolve => {
    const fail = (message: string) => resolve({ outcome: 'failure', message })
    const within = `${timeoutMs / 1000}s`
    client.waitForReady(deadline, unready => {
      if (unready) return fail(`timeout: failed to connect service "${address}" within ${within}: context deadline exceeded`)
      client.check({ service }, { deadline }, (error, response) => {
        if (error?.code === status.UNIMPLEMENTED) {
          return fail(`error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${error.details}`)
        }
        if (error?.code === status.DEADLINE_EXCEEDED) return fail(`timeout: health rpc did not complete within ${within}`)
        if (error) return fail(`error: health rpc probe failed: ${error.message}`)
        if (response?.status === 'SERVING') return resolve({ outcome: 'success', message: 'service healthy' })
        fail(`service unhealthy (responded with "${response?.status ?? 'UNKNOWN'}")`)
      })
    })
  })
