// The grpc probe: success when grpc.health.v1.Health/Check answers SERVING. A connection per attempt, closed with the answer.
// The gRPC library is loaded with the first such probe. Follows GRPCAction of the API reference.
import type { Client, MethodDefinition, ServiceError } from '@grpc/grpc-js'
import { hostPort } from '../host/address.ts'
import type { Clock } from '../host/clock.ts'
import type { Answer } from './probe.ts'

export interface GrpcProbe {
  readonly host: string
  readonly port: number
  readonly service: string
  readonly timeoutMs: number
}

interface HealthClient extends Client {
  check(
    request: string,
    options: { deadline: Date },
    done: (error: ServiceError | null, status?: string) => void,
  ): { cancel(): void }
}

const statuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN']

/** HealthCheckRequest { string service = 1 }, by hand: reading a schema would cost 13 MB for two fields. */
const encodeService = (service: string): Buffer => {
  const bytes = Buffer.from(service)
  const length: number[] = []
  for (let rest = bytes.length; ; rest >>= 7) {
    length.push(rest > 127 ? (rest & 127) | 128 : rest)
    if (rest <= 127) break
  }
  return bytes.length === 0 ? bytes : Buffer.concat([Buffer.from([0x0a, ...length]), bytes])
}

/** HealthCheckResponse { ServingStatus status = 1 }: no bytes at all stand for 0. */
const decodeStatus = (bytes: Buffer): string => (bytes[0] === 0x08 ? (statuses[bytes[1] ?? 0] ?? `${bytes[1]}`) : 'UNKNOWN')

const checkMethod: MethodDefinition<string, string> = {
  path: '/grpc.health.v1.Health/Check',
  requestStream: false,
  responseStream: false,
  requestSerialize: encodeService,
  requestDeserialize: String,
  responseSerialize: Buffer.from,
  responseDeserialize: decodeStatus,
}

const load = async () => {
  const { default: grpc } = await import('@grpc/grpc-js')
  const Health = grpc.makeClientConstructor({ check: checkMethod }, 'Health')
  // A pool of its own for each client: a shared connection would answer for a server that is gone. No proxy, no retries.
  const options = {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
    'grpc.enable_retries': 0,
    'grpc.enable_channelz': 0,
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
      client.check(service, { deadline }, (error, answer) => {
        if (error?.code === status.UNIMPLEMENTED) {
          return fail(`error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${error.details}`)
        }
        if (error?.code === status.DEADLINE_EXCEEDED) return fail(`timeout: health rpc did not complete within ${within}`)
        if (error) return fail(`error: health rpc probe failed: ${error.message}`)
        if (answer === 'SERVING') return resolve({ outcome: 'success', message: 'service healthy' })
        fail(`service unhealthy (responded with "${answer ?? 'UNKNOWN'}")`)
      })
    })
  })
