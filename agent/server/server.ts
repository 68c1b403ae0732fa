// The daemon's unix socket: HTTP for the command line and for the CNI shim. Owns the socket file and the connections.
// Root only, by the file's mode; whoever can open it may do everything, so nothing is asked again.
import { chmod, lstat, mkdir, rm } from 'node:fs/promises'
import { createServer as createHttp, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import { connect, type Socket } from 'node:net'
import { dirname } from 'node:path'
import type { Duplex } from 'node:stream'
import { Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { type ExecCri, serveExec } from './exec-route.ts'
import { findPod } from './find.ts'
import { podPath, type RouteDeps, route, sendJson, toError } from './routes.ts'
import type { Upgrade } from './tunnel.ts'

export interface ServerDeps extends RouteDeps {
  /** Of the socket file; its folder is made when it is missing. */
  readonly path: string
  readonly cri: ExecCri
  readonly log: Log
}

export interface Server {
  /** @throws Fault `already-exists` when another daemon answers there, `io` when the socket cannot be made */
  listen(): Promise<void>
  /** Ends all connections and removes the socket file. */
  close(): Promise<void>
}

export const createServer = (deps: ServerDeps): Server => {
  const { path, log } = deps
  const connections = new Set<Socket>()
  const http = createHttp((request, response) => void answer(request, response, deps))
  http.on('connection', socket => {
    connections.add(socket)
    socket.on('close', () => connections.delete(socket))
  })
  http.on('upgrade', (request, socket, head) => void upgrade({ request, socket, head }, deps))
  return {
    listen: async () => {
      await mkdir(dirname(path), { recursive: true, mode: 0o755 })
      await claimSocket(path)
      await new Promise<void>((resolve, reject) => {
        http.once('error', error => reject(new Fault('io', `cannot listen on ${path}`, { cause: error })))
        // The file must not be open to others even for the moment before its mode can be set.
        const before = process.umask(0o177)
        try {
          http.listen(path, resolve)
        } finally {
          process.umask(before)
        }
      })
      await chmod(path, 0o600)
      log.info({ path }, 'listening')
    },
    close: async () => {
      const closed = new Promise<void>(resolve => http.close(() => resolve()))
      for (const socket of connections) socket.destroy()
      await closed
    },
  }
}

/**
 * Removes the socket of a daemon that died; asked before anything is begun, so that a second daemon touches nothing of the first.
 * @throws Fault `already-exists` when a daemon answers there
 */
export const claimSocket = async (path: string): Promise<void> => {
  const there = await lstat(path).catch(() => undefined)
  if (there === undefined) return
  if (!there.isSocket()) throw new Fault('io', `${path} is there already and is not a socket`, { retry: 'never' })
  const found = await new Promise<'nobody' | 'stale' | 'alive'>(resolve => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve('alive')
    })
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED' ? 'stale' : 'nobody'))
  })
  if (found === 'alive') {
    throw new Fault('already-exists', `another nodelet daemon answers at ${path}: stop it first, or use another socket`, {
      retry: 'never',
    })
  }
  if (found === 'stale') await rm(path, { force: true })
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
