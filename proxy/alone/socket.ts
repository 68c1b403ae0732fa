// The unix socket of the proxy that runs alone: `nodelet trace` and `nodelet diff` ask there what they ask of the daemon elsewhere.
// Reads the proxy and changes nothing of it. A socket that cannot be had is said, and Services are routed all the same.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import { toTraceQuery } from '../../api/trace-query.ts'
import { sendEither, sendJson, toError } from '../../host/answer.ts'
import { describe, Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { socketServer } from '../../host/unix-socket.ts'
import type { Proxy as ServiceProxy } from '../main.ts'

export interface ProxySocketDeps {
  /** Of the file; '' for no socket. */
  readonly path: string
  readonly proxy: Pick<ServiceProxy, 'trace' | 'diff'>
  readonly log: Log
}

export interface ProxySocket {
  close(): Promise<void>
}

const toCaller = (from: string) => {
  if (isIP(from) !== 0) return { name: from, ips: [from] }
  throw new Fault('bad-config', `--from ${from}: this proxy runs alone and knows no pods: name the caller by its address`, {
    retry: 'never',
  })
}

const route = async (request: IncomingMessage, response: ServerResponse, proxy: ProxySocketDeps['proxy']): Promise<void> => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://nodelet')
  if (request.method !== 'GET')
    throw new Fault('unsupported', `${request.method} ${pathname} is not supported`, { retry: 'never' })
  if (pathname === '/v1/diff') return sendJson(response, 200, await proxy.diff())
  if (pathname !== '/v1/trace')
    throw new Fault('not-found', `${pathname}: a proxy that runs alone answers trace and diff only`, { retry: 'never' })
  const { text, body } = await proxy.trace(toTraceQuery(searchParams, toCaller))
  sendEither(response, request.headers.accept, text, body)
}

/** Listens, or says why not. */
export const openProxySocket = async ({ path, proxy, log }: ProxySocketDeps): Promise<ProxySocket> => {
  if (path === '') return { close: async () => undefined }
  const http = createServer((request, response) => {
    route(request, response, proxy).catch(error => {
      const { status, body } = toError(error)
      if (status === 500) log.warn({ err: error, url: request.url }, 'a request failed')
      if (response.headersSent) response.destroy()
      else sendJson(response, status, body)
    })
  })
  const server = socketServer(http, path)
  try {
    await server.listen()
    return server
  } catch (error) {
    log.warn({ path }, `trace and diff cannot ask this proxy: ${describe(error)}`)
    return { close: async () => undefined }
  }
}
