// Between HTTP and the values of answer.ts: a request becomes an Ask, an Answer is written to a response or to a bare socket.
// Owns a request until it is answered to its end or its client has gone away.
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Clock } from '../../host/clock.ts'
import { describe, isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { type Answer, type Ask, type Handler, parseTarget, refuse } from './answer.ts'
import { type OnRequest, type RequestLabels, requestLabels } from './request-labels.ts'

const plainText = 'text/plain; charset=utf-8'

/** Limits of a connection, as the kubelet has them: how long an idle one is kept, and how large a request's head may be. */
export const connectionLimits = { keepAliveTimeout: 90_000, maxHeaderSize: 1024 * 1024 } as const

/** The request as a path sees it; undefined when its target cannot be served. */
export const toAsk = (request: IncomingMessage, signal: AbortSignal): Ask | undefined => {
  const target = parseTarget(request.url ?? '')
  return target && { method: request.method ?? '', ...target, headers: request.headers, signal }
}

const failure = (error: unknown): Answer => refuse(isFault(error, 'not-found') ? 404 : 500, describe(error))

/** What a handler answers; a failure becomes an answer too. */
export const settle = async (handler: Handler, ask: Ask | undefined, log: Log): Promise<Answer> => {
  if (ask === undefined) return refuse(400, 'Bad Request')
  try {
    return await handler(ask)
  } catch (error) {
    if (!isFault(error)) log.error({ err: error, path: ask.path }, `a request failed: ${describe(error)}`)
    return failure(error)
  }
}

export interface ResponderDeps {
  readonly serverType: RequestLabels['server_type']
  readonly onRequest?: OnRequest | undefined
  readonly log: Log
}

/** Answers requests with what `handler` says. */
export const createResponder =
  (handler: (request: IncomingMessage) => Handler, { serverType, onRequest, log }: ResponderDeps) =>
  async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const away = new AbortController()
    response.on('close', () => away.abort())
    const ask = toAsk(request, away.signal)
    const ended = onRequest?.(requestLabels(request.method ?? '', ask?.segments ?? [], serverType))
    response.on('close', () => ended?.())
    try {
      await write(await settle(handler(request), ask, log), response)
    } catch (error) {
      // Whoever follows a log goes away when they have seen enough.
      if (!away.signal.aborted) log.warn({ err: error, path: ask?.path }, `an answer broke off: ${describe(error)}`)
      response.destroy()
    }
  }

const write = async ({ status, type = plainText, headers, body }: Answer, response: ServerResponse): Promise<void> => {
  response.statusCode = status
  response.setHeader('Content-Type', type)
  for (const [name, value] of Object.entries(headers ?? {})) response.setHeader(name, value)
  if (typeof body === 'string' || body instanceof Uint8Array) {
    response.setHeader('Content-Length', Buffer.byteLength(body))
    return void response.end(body)
  }
  response.flushHeaders()
  await pipeline(body instanceof Readable ? body : Readable.from(body, { objectMode: false }), response)
}

/** A client that was told and does not close its side is not waited for longer than this. */
const closeMs = 10_000

/** Refuses an upgrade: the answer, and the end of the connection. */
export const refuseUpgrade = (socket: Duplex, { status, type = plainText, body }: Answer, clock: Clock): void => {
  const text = typeof body === 'string' ? body : ''
  const head = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`, `Content-Type: ${type}`, 'Connection: close']
  const timer = clock.after(closeMs, () => socket.destroy())
  socket.on('close', () => timer.cancel())
  socket.resume()
  socket.end(`${head.join('\r\n')}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
}
