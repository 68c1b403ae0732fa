// gRPC over a unix socket: messages by a compiled schema, every failure a Fault. The only file that knows protobufjs; the
// connection is in grpc-session.ts, a call in grpc-call.ts, what a failure means in grpc-status.ts.
// Schemas are compiled ahead (compile-protos.ts): reading .proto files at start costs 13 MB and 40 ms more.
// Times and limits follow the kubelet's client (k8s.io/cri-client, remote_runtime.go), with a shorter back-off.
import protobuf from 'protobufjs/light.js'
import type { Clock } from '../host/clock.ts'
import { describe, Fault } from '../host/fault.ts'
import { exchange } from './grpc-call.ts'
import { createGrpcSession } from './grpc-session.ts'
import { codes, toFault } from './grpc-status.ts'

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

// int64 as number: nanoseconds since the epoch lose their last 8 bits, which nobody looks at.
const toPlain: protobuf.IConversionOptions = { longs: Number, enums: String, defaults: true, arrays: true, objects: true }

/** The socket of an endpoint as kubelet flags write it. */
const toPath = (endpoint: string): string => {
  if (endpoint.startsWith('/')) return endpoint
  const path = /^unix:(?:\/\/)?(\/.+)$/.exec(endpoint)?.[1]
  if (path === undefined) {
    throw new Fault('bad-config', `container runtime endpoint "${endpoint}": want unix:///path/of/the.sock`, { retry: 'never' })
  }
  return path
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

const toBytes = (type: protobuf.Type, message: object): Uint8Array => {
  try {
    return type.encode(type.fromObject(message)).finish()
  } catch (cause) {
    throw toFault({ code: codes.internal, message: `Request message serialization failure: ${describe(cause)}` }, cause)
  }
}

const toMessage = <Message>(type: protobuf.Type, bytes: Uint8Array): Message => {
  try {
    return type.toObject(type.decode(bytes), toPlain) as Message
  } catch (cause) {
    throw toFault({ code: codes.internal, message: `Response message parsing error: ${describe(cause)}` }, cause)
  }
}

/** A channel to the program that listens at `endpoint`; connects with the first call and again whenever it is lost. */
export const createRpc = ({ endpoint, schema, clock }: RpcDeps): Rpc => {
  const root = protobuf.Root.fromJSON(schema as protobuf.INamespace)
  const session = createGrpcSession(toPath(endpoint), clock)
  const methodOf = createMethods(root)

  const stream = async <Message>(
    name: string,
    message: object,
    onMessage: (message: Message) => void,
    options: RpcOptions = {},
  ): Promise<void> => {
    const { path, request, response } = methodOf(name)
    const onBytes = (bytes: Uint8Array) => onMessage(toMessage<Message>(response, bytes))
    await exchange(session, clock, { path, message: toBytes(request, message), onMessage: onBytes, ...options })
  }

  const call = async <Response>(name: string, message: object, options?: RpcOptions): Promise<Response> => {
    const answers: Response[] = []
    await stream<Response>(name, message, answer => answers.push(answer), options)
    const [answer] = answers
    if (answer === undefined || answers.length > 1) {
      throw toFault({ code: codes.unimplemented, message: `${name} was answered by ${answers.length} messages, not by one` })
    }
    return answer
  }

  return {
    call,
    stream,
    decode: <Message>(type: string, bytes: Uint8Array) => toMessage<Message>(root.lookupType(type), bytes),
    close: session.close,
  }
}
