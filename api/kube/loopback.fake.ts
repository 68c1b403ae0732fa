// A server on loopback that answers as a test says, and a kubeconfig that leads to it: for tests of what is below KubeApi.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { ServerOptions } from 'node:https'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Asked {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly answer: ServerResponse
  /** Answers with this JSON, or with text as it is. */
  reply(status: number, body: object | string, headers?: Record<string, string>): void
  /** Begins a watch: status 200 and nothing more. */
  stream(): void
  /** One line of a watch. */
  event(type: string, object: object): void
  readonly socket: Socket
}

export interface Loopback {
  readonly url: string
  readonly port: number
  readonly folder: string
  readonly kubeconfig: string
  readonly asked: readonly Asked[]
  /** Resolves with the next request (counted from 0) once it has come. */
  request(index: number): Promise<Asked>
  writeKubeconfig(user: object, cluster?: object): Promise<void>
  /** Ends all connections and stops listening; `up` listens on the same port again. */
  down(): Promise<void>
  up(): Promise<void>
  close(): Promise<void>
}

/** What is asked goes to `respond`, or waits in `request(n)` when there is none. */
export const createLoopback = async (respond?: (asked: Asked) => void, tls?: ServerOptions): Promise<Loopback> => {
  const folder = await mkdtemp(join(tmpdir(), 'nlt-kube-'))
  const kubeconfig = join(folder, 'kubelet.conf')
  const asked: Asked[] = []
  const waiting = new Map<number, (asked: Asked) => void>()
  const sockets = new Set<Socket>()
  const onRequest = async (request: IncomingMessage, answer: ServerResponse) => {
    let body = ''
    request.on('error', () => undefined)
    for await (const chunk of request) body += chunk
    const url = new URL(request.url ?? '', 'http://loopback')
    const one: Asked = {
      method: request.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body,
      answer,
      reply: (status, content, headers = {}) => {
        const isText = typeof content === 'string'
        answer.writeHead(status, { 'content-type': isText ? 'text/plain' : 'application/json', ...headers })
        answer.end(isText ? content : JSON.stringify(content))
      },
      stream: () => {
        answer.writeHead(200, { 'content-type': 'application/json' })
        answer.flushHeaders()
      },
      event: (type, object) => void answer.write(`${JSON.stringify({ type, object })}\n`),
      socket: request.socket,
    }
    asked.push(one)
    waiting.get(asked.length - 1)?.(one)
    respond?.(one)
  }
  const server = tls === undefined ? createServer(onRequest) : createTlsServer(tls, onRequest)
  server.on('connection', socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  const listen = (port: number) => new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  await listen(0)
  const { port } = server.address() as AddressInfo
  const url = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`
  const writeKubeconfig = (user: object, cluster: object = {}) =>
    writeFile(
      kubeconfig,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'node',
        contexts: [{ name: 'node', context: { cluster: 'lab', user: 'node' } }],
        clusters: [{ name: 'lab', cluster: { server: url, ...cluster } }],
        users: [{ name: 'node', user }],
      }),
    )
  await writeKubeconfig({ token: 'secret' })
  const down = () =>
    new Promise<void>(resolve => {
      server.close(() => resolve())
      for (const socket of sockets) socket.destroy()
    })
  return {
    url,
    port,
    folder,
    kubeconfig,
    asked,
    request: index =>
      new Promise(resolve => {
        const there = asked[index]
        if (there !== undefined) resolve(there)
        else waiting.set(index, resolve)
      }),
    writeKubeconfig,
    down,
    up: () => listen(port),
    close: async () => {
      await down()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The Status object of a refusal. */
export const status = (code: number, reason: string, message: string, details?: object) => ({
  kind: 'Status',
  apiVersion: 'v1',
  status: 'Failure',
  code,
  reason,
  message,
  ...(details && { details }),
})
