// A gRPC server on a unix socket for tests: Node's own HTTP/2 server, so that what a client does wrong on the wire shows. Each
// test says what is done with a call's stream; its schema is one service with a unary and a streaming method.
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http2, { type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream, type Settings } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import protobuf from 'protobufjs/light.js'

const text = { fields: { text: { type: 'string', id: 1 } } }
const say = { requestType: 'Text', responseType: 'Text' }
export const echoSchema = {
  nested: { echo: { nested: { Text: text, Echo: { methods: { Say: say, Count: { ...say, responseStream: true } } } } } },
}
export interface Text {
  readonly text: string
}
const textType = protobuf.Root.fromJSON(echoSchema as protobuf.INamespace).lookupType('echo.Text')

/** A message as it is on the wire. */
export const frameOf = (text: string): Buffer => {
  const body = Buffer.from(textType.encode({ text }).finish())
  const head = Buffer.alloc(5)
  head.writeUInt32BE(body.length, 1)
  return Buffer.concat([head, body])
}

export interface Answer {
  /** In as many DATA frames as there are buffers; none at all is an answer of trailers only. */
  readonly body?: readonly Buffer[]
  readonly head?: Readonly<Record<string, string | number>>
  /** Undefined: the stream ends without trailers. */
  readonly trailers?: Readonly<Record<string, string>> | undefined
}

const ok = { 'grpc-status': '0' }
const grpcHead = { ':status': 200, 'content-type': 'application/grpc' }

/** Answers a call. */
export const answer = async (stream: ServerHttp2Stream, { body, head = grpcHead, trailers = ok }: Answer): Promise<void> => {
  if (body === undefined) return stream.respond({ ...head, ...trailers }, { endStream: true })
  stream.respond(head, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers(trailers))
  for (const piece of body) await new Promise(resolve => stream.write(piece, resolve))
  stream.end()
}

/** The same text back, as often as it is asked for. */
export const echo = async (stream: ServerHttp2Stream): Promise<void> => {
  await answer(stream, { body: [await buffer(stream)] })
}

/** Where a test's server can listen; `remove` takes the folder away. A folder named after the test would be too long for a socket. */
export const createSocketPath = async (): Promise<{ readonly path: string; remove(): Promise<void> }> => {
  const folder = await mkdtemp(join(tmpdir(), 'grpc-'))
  return { path: join(folder, 'g.sock'), remove: () => rm(folder, { recursive: true, force: true }) }
}

export interface GrpcServer {
  readonly sessions: readonly ServerHttp2Session[]
  /** The headers of every call so far. */
  readonly calls: readonly IncomingHttpHeaders[]
  /** Ends all connections without a word, as kill -9 does, and listens no more. */
  kill(): Promise<void>
}

/** Listens at `path`; `onCall` does what it likes with each call. */
export const createGrpcServer = async (
  path: string,
  onCall: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => unknown = echo,
  settings: Settings = {},
): Promise<GrpcServer> => {
  const server = http2.createServer({ settings, maxSessionMemory: 1000 })
  const sessions: ServerHttp2Session[] = []
  const calls: IncomingHttpHeaders[] = []
  server.on('session', session => {
    sessions.push(session)
    session.on('error', () => undefined)
  })
  server.on('stream', (stream, headers) => {
    calls.push(headers)
    stream.on('error', () => undefined)
    onCall(stream as ServerHttp2Stream, headers)
  })
  server.listen(path)
  await once(server, 'listening')
  const kill = async () => {
    for (const session of sessions) session.destroy()
    if (!server.listening) return
    server.close()
    await once(server, 'close')
  }
  return { sessions, calls, kill }
}
