// gRPC over a unix socket: one channel, messages by a compiled schema, every failure a Fault. The only file that knows
// @grpc/grpc-js and protobufjs, and the only one that looks at gRPC status codes.
// Schemas are compiled ahead (compile-protos.ts): reading .proto files at start costs 13 MB and 40 ms more.
// Times and limits follow the kubelet's client (k8s.io/cri-client, remote_runtime.go), with a shorter back-off.
import grpc from '@grpc/grpc-js'
import protobuf from 'protobufjs/light.js'
import type { Clock } from '../host/clock.ts'
import { Fault, type FaultCode, type Retry } from '../host/fault.ts'

export interface RpcOptions {
  /** The call is cancelled, and fails with the signal's reason, as soon as this aborts. */
  readonly signal?: AbortSignal
  /** The call fails with `runtime-timeout` after this long; without it, never. */
  readonly timeoutMs?: number
  /** Request headers, such as containerd's namespace. */
  readonly headers?: Readonly<Record<string, string>>
}

export interface Rpc {
  /**
   * A unary call.
   * @param method full name: `runtime.v1.RuntimeService/Version`
   * @throws Fault `runtime-away`, `runtime-timeout`, `not-found`, `already-exists`, `unsupported` or `runtime-refused`
   */
  call<Response>(method: string, request: object, options?: RpcOptions): Promise<Response>
  /** A call answered by a stream of messages; resolves when the server ends it, and fails as `call` does. */
  stream<Message>(method: string, request: object, onMessage: (message: Message) => void, options?: RpcOptions): Promise<void>
  /** Decodes one message by its type's full name, as the answers are; for payloads inside of others. */
  decode<Message>(type: string, bytes: Uint8Array): Message
  /** Ends the channel; calls under way fail. */
  close(): void
}

export interface RpcDeps {
  /** `unix:///run/containerd/containerd.sock`, or the bare path. */
  readonly endpoint: string
  readonly schema: object
  readonly clock: Clock
}

// As upstream's client: a node full of pods fits into one ListContainers answer.
const messageLimitBytes = 16 * 1024 * 1024

const channelOptions: grpc.ChannelOptions = {
  'grpc.max_receive_message_length': messageLimitBytes,
  'grpc.max_send_message_length': messageLimitBytes,
  // A runtime that restarts is back within a second or two: upstream's 3 s would be most of the outage.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  // A Go server that is pinged more often than every 5 minutes ends the connection (too_many_pings).
  'grpc.keepalive_time_ms': 6 * 60_000,
  'grpc.keepalive_timeout_ms': 20_000,
  'grpc.enable_http_proxy': 0,
  'grpc.enable_channelz': 0,
  'grpc.service_config_disable_resolution': 1,
}

// int64 as number: nanoseconds since the epoch lose their last 8 bits, which nobody looks at.
const toPlain: protobuf.IConversionOptions = { longs: Number, enums: String, defaults: true, arrays: true, objects: true }

const faults: Partial<Record<grpc.status, readonly [FaultCode, Retry]>> = {
  [grpc.status.UNAVAILABLE]: ['runtime-away', 'backoff'],
  [grpc.status.DEADLINE_EXCEEDED]: ['runtime-timeout', 'backoff'],
  [grpc.status.NOT_FOUND]: ['not-found', 'never'],
  [grpc.status.ALREADY_EXISTS]: ['already-exists', 'never'],
  [grpc.status.UNIMPLEMENTED]: ['unsupported', 'never'],
}

// The error names that runtimes put in front of their message (k8s.io/cri-api, pkg/errors).
const reasons = ['RegistryUnavailable', 'SignatureValidationFailed', 'RROUnsupported', 'ImageVolumeMountFailed']

const isServiceError = (error: unknown): error is grpc.ServiceError =>
  error instanceof Error && 'code' in error && 'details' in error

/** What grpc-js says when nobody listens, without the words about its own workings. */
const toMessage = ({ details, message }: grpc.ServiceError): string => {
  const inner = /^No connection established\. Last error: (?:Error: )?(.*?)\. Resolution note: /.exec(details)?.[1]
  return inner === undefined ? details || message : `no connection to the container runtime: ${inner}`
}

/** A gRPC failure as a Fault; `reason` carries the CRI's own error name where the runtime gives one. */
export const toFault = (error: unknown): Fault => {
  if (!isServiceError(error))
    return new Fault('runtime-refused', error instanceof Error ? error.message : String(error), { cause: error })
  const [code, retry] = faults[error.code] ?? ['runtime-refused', 'backoff']
  const reason = reasons.find(it => error.details.startsWith(it))
  return new Fault(code, toMessage(error), { retry, ...(reason !== undefined && { reason }) })
}

/** The gRPC target of an endpoint as kubelet flags write it. */
const toTarget = (endpoint: string): string => {
  if (endpoint.startsWith('/')) return `unix:${endpoint}`
  const path = /^unix:(?:\/\/)?(\/.+)$/.exec(endpoint)?.[1]
  if (path === undefined) {
    throw new Fault('bad-config', `container runtime endpoint "${endpoint}": want unix:///path/of/the.sock`, { retry: 'never' })
  }
  return `unix:${path}`
}

interface Method {
  readonly path: string
  readonly request: protobuf.Type
  readonly response: protobuf.Type
}

const createMethods = (root: protobuf.Root) => {
  const known = new Map<string, Method>()
  return (name: string): Method => {
    const found = known.get(name)
    if (found !== undefined) return found
    const [service = '', method = ''] = name.split('/')
    const entry = root.lookupService(service).methods[method]
    if (entry === undefined) throw new Fault('unsupported', `no method ${name}`, { retry: 'never' })
    entry.resolve()
    const made = { path: `/${name}`, request: entry.resolvedRequestType!, response: entry.resolvedResponseType! }
    known.set(name, made)
    return made
  }
}

const encoder = (type: protobuf.Type) => (message: object) => Buffer.from(type.encode(type.fromObject(message)).finish())
const decoder = (type: protobuf.Type) => (bytes: Uint8Array) => type.toObject(type.decode(bytes), toPlain)

/** Cancels `call` when the signal aborts, and says what the promise fails with then. */
const bindSignal = (call: { cancel(): void }, signal: AbortSignal | undefined, reject: (reason: unknown) => void) => {
  if (signal === undefined) return () => undefined
  const onAbort = () => {
    reject(signal.reason)
    call.cancel()
  }
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return () => signal.removeEventListener('abort', onAbort)
}

/** A channel to the program that listens at `endpoint`; connects with the first call and again whenever it is lost. */
export const createRpc = ({ endpoint, schema, clock }: RpcDeps): Rpc => {
  const root = protobuf.Root.fromJSON(schema as protobuf.INamespace)
  const client = new grpc.Client(toTarget(endpoint), grpc.credentials.createInsecure(), channelOptions)
  const methodOf = createMethods(root)

  const prepare = ({ timeoutMs, headers = {} }: RpcOptions) => {
    const metadata = new grpc.Metadata()
    for (const [key, value] of Object.entries(headers)) metadata.set(key, value)
    return [metadata, timeoutMs === undefined ? {} : { deadline: clock.now() + timeoutMs }] as const
  }

  const call = <Response>(name: string, message: object, options: RpcOptions = {}): Promise<Response> =>
    new Promise((resolve, reject) => {
      const { path, request, response } = methodOf(name)
      const onAnswer = (error: grpc.ServiceError | null, answer?: unknown) => {
        release()
        if (error) reject(toFault(error))
        else resolve(answer as Response)
      }
      const sent = client.makeUnaryRequest(path, encoder(request), decoder(response), message, ...prepare(options), onAnswer)
      const release = bindSignal(sent, options.signal, reject)
    })

  const stream = <Message>(
    name: string,
    message: object,
    onMessage: (message: Message) => void,
    options: RpcOptions = {},
  ): Promise<void> =>
    new Promise((resolve, reject) => {
      const { path, request, response } = methodOf(name)
      const sent = client.makeServerStreamRequest(path, encoder(request), decoder(response), message, ...prepare(options))
      const release = bindSignal(sent, options.signal, reject)
      sent.on('data', onMessage)
      sent.on('error', (error: unknown) => {
        release()
        reject(toFault(error))
      })
      sent.on('end', () => {
        release()
        resolve()
      })
    })

  return {
    call,
    stream,
    decode: <Message>(type: string, bytes: Uint8Array) => decoder(root.lookupType(type))(bytes) as Message,
    close: () => client.close(),
  }
}
