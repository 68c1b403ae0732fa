// A small HTTP server of the proxy: answers from memory, on one address, and keeps trying to get that address when it is taken.
// Knows no path. Bodies of requests are never read.
import { createServer, type IncomingMessage, type OutgoingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { ListenOptions } from 'node:net'
import { hostPort } from '../../host/address.ts'
import type { Clock, Timer } from '../../host/clock.ts'
import { isErrno } from '../../host/errno.ts'
import { Fault } from '../../host/fault.ts'

export interface HttpAnswer {
  readonly status: number
  readonly type: string
  readonly body: string
  readonly headers?: OutgoingHttpHeaders
}

export type Answer = (path: string) => HttpAnswer | undefined | Promise<HttpAnswer | undefined>

export interface Listener {
  close(): Promise<void>
}

const notFound: HttpAnswer = { status: 404, type: 'text/plain; charset=utf-8', body: '404 page not found\n' }
const failed: HttpAnswer = { status: 500, type: 'text/plain; charset=utf-8', body: 'Internal Server Error\n' }

const reply = async (answer: Answer, request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const path = (request.url ?? '/').split('?')[0] ?? '/'
  const { status, type, body, headers } = await Promise.resolve()
    .then(() => answer(path))
    .then(
      it => it ?? notFound,
      () => failed,
    )
  response.writeHead(status, {
    'Content-Type': type,
    'X-Content-Type-Options': 'nosniff',
    'Content-Length': Buffer.byteLength(body),
    ...headers,
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}

const open = (answer: Answer, where: ListenOptions): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = createServer((request, response) => void reply(answer, request, response))
    server.once('error', reject)
    server.listen(where, () => {
      server.off('error', reject)
      // Of a connection, which its client sees; the server goes on.
      server.on('error', () => undefined)
      resolve(server)
    })
  })

const noSuchFamily = (error: unknown): boolean => isErrno(error, 'EAFNOSUPPORT') || isErrno(error, 'EADDRNOTAVAIL')

/**
 * Listens on an address of the machine. `0.0.0.0` means every address of both families, as it does for a Go program.
 * @throws Fault `network` when it cannot
 */
export const listen = async (host: string, port: number, answer: Answer): Promise<Listener> => {
  try {
    const server = await (host === '0.0.0.0'
      ? open(answer, { host: '::', port }).catch(error => {
          if (!noSuchFamily(error)) throw error
          return open(answer, { host, port })
        })
      : open(answer, { host, port }))
    return closer(server)
  } catch (error) {
    throw refused(host, port, error)
  }
}

/** As `listen`, for addresses of one family alone: `::` leaves 0.0.0.0 to others. */
export const listenInFamily = async (host: string, port: number, answer: Answer): Promise<Listener> => {
  try {
    return closer(await open(answer, { host, port, ipv6Only: true }))
  } catch (error) {
    throw refused(host, port, error)
  }
}

const refused = (host: string, port: number, cause: unknown): Fault => {
  const why = isErrno(cause, 'EADDRINUSE') ? 'the port is in use by another program' : 'the address cannot be listened on'
  return new Fault('network', `${hostPort(host, port)}: ${why}`, { cause })
}

const closer = (server: Server): Listener => ({
  close: () =>
    new Promise(resolve => {
      server.close(() => resolve())
      server.closeAllConnections()
    }),
})

export interface StubbornDeps {
  readonly clock: Clock
  /** Told of the first failure; after that it is tried again in silence until it works. */
  readonly onRefused: (error: unknown) => void
  /** Once more after a refusal; false to give up. */
  readonly again: boolean
}

const retryMs = 5_000

/** Listens as soon as it can. Resolves after the first attempt, whatever came of it. */
export const listenStubbornly = async (
  address: string,
  answer: Answer,
  { clock, onRefused, again }: StubbornDeps,
): Promise<Listener> => {
  const cut = address.lastIndexOf(':')
  const host = address.slice(0, cut).replace(/^\[(.*)\]$/, '$1')
  const port = Number(address.slice(cut + 1))
  let listener: Listener | undefined
  let timer: Timer | undefined
  let closed = false
  let told = false
  const attempt = async (): Promise<void> => {
    try {
      listener = await listen(host, port, answer)
      if (closed) await listener.close()
    } catch (error) {
      if (!told) onRefused(error)
      told = true
      if (again && !closed) timer = clock.after(retryMs, () => void attempt())
    }
  }
  await attempt()
  return {
    close: async () => {
      closed = true
      timer?.cancel()
      await listener?.close()
    },
  }
}
