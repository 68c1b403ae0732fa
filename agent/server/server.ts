// The daemon's unix socket: HTTP for the command line and for the CNI shim.
// Root only, by the file's mode; whoever can open it may do everything, so nothing is asked again.
import { createServer as createHttp, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { sendJson, toError } from '../../host/answer.ts'
import { Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { type SocketServer, socketServer } from '../../host/unix-socket.ts'
import { type ExecCri, serveExec } from './exec-route.ts'
import { findPod } from './find.ts'
import { podPath, type RouteDeps, route } from './routes.ts'
import type { Upgrade } from './tunnel.ts'

export interface ServerDeps extends RouteDeps {
  /** Of the socket file; its folder is made when it is missing. */
  readonly path: string
  readonly cri: ExecCri
  readonly log: Log
}

export const createServer = (deps: ServerDeps): SocketServer => {
  const { path, log } = deps
  const http = createHttp((request, response) => void answer(request, response, deps))
  http.on('upgrade', (request, socket, head) => void upgrade({ request, socket, head }, deps))
  const server = socketServer(http, path)
  return {
    ...server,
    listen: async () => {
      await server.listen()
      log.info({ path }, 'listening')
    },
  }
}

const answer = async (request: IncomingMessage, response: ServerResponse, deps: ServerDeps): Promise<void> => {
  try {
    await route(request, response, deps)
  } catch (error) {
    // Whoever follows a log goes away when they have seen enough.
    if (request.socket.destroyed) return
    const { status, body } = toError(error)
    if (status === 500) deps.log.warn({ err: error, url: request.url }, 'a request failed')
    if (response.headersSent) return void response.destroy()
    sendJson(response, status, body)
  }
}

const upgrade = async (it: Upgrade, deps: ServerDeps): Promise<void> => {
  const { request, socket } = it
  socket.on('error', () => undefined)
  try {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://nodelet')
    const asked = podPath(pathname)
    if (asked?.action !== 'exec') throw new Fault('not-found', `no such path to upgrade: ${pathname}`, { retry: 'never' })
    await serveExec(findPod(deps.view.pods(), asked.namespace, asked.name), searchParams, it, deps)
  } catch (error) {
    refuse(socket, error)
  }
}

const refuse = (socket: Duplex, error: unknown): void => {
  const { status, body } = toError(error)
  const text = `${JSON.stringify(body)}\n`
  const head = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, 'Content-Type: application/json', 'Connection: close']
  socket.end(`${head.join('\r\n')}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
}
