// Joins an upgraded connection of a client with the runtime's streaming server, byte for byte, until both have ended.
// Speaks neither SPDY nor WebSocket itself: the client agrees on that with the runtime. Owns both sockets until they are closed.
// What one side ends the other may still answer; nothing that was read is lost when a side closes.
import { type IncomingMessage, type RequestOptions, request as requestHttp, STATUS_CODES } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../../host/clock.ts'
import { describe, Fault } from '../../host/fault.ts'

/** The upgraded connection of a client: its request, its socket, and what it sent beyond the request's head. */
export interface Upgrade {
  readonly request: IncomingMessage
  readonly socket: Duplex
  readonly head: Buffer
}

export interface TunnelOptions {
  readonly clock: Clock
  /** Ends both sides when neither has sent anything for so long; 4 hours when not given. */
  readonly idleMs?: number
}

const fourHoursMs = 4 * 3_600_000
/** Once a side has ended, the other one does not keep the tunnel open for longer than this without a word. */
const lingerMs = 30_000

/**
 * Asks the runtime for the stream at `url` in the client's own words, and passes on what it answers.
 * Resolves when the two are joined, or when the runtime has refused and its answer is on its way to the client.
 * @throws Fault `runtime-away` while nothing has been sent to the client yet
 */
export const tunnel = async (url: URL, client: Upgrade, options: TunnelOptions): Promise<void> => {
  const answer = await ask(url, client)
  if (client.socket.destroyed) return void answer.response.destroy()
  const { statusCode = 502, rawHeaders } = answer.response
  const lines = [`HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode] ?? ''}`]
  const keeps =
    answer.upgraded === undefined ? (name: string) => !/^(connection|keep-alive|transfer-encoding)$/i.test(name) : () => true
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    if (keeps(rawHeaders[i] ?? '')) lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`)
  }
  if (answer.upgraded === undefined) {
    // Nobody may ask the runtime a second thing over this connection.
    client.socket.write(`${[...lines, 'Connection: close'].join('\r\n')}\r\n\r\n`)
    answer.response.on('error', () => client.socket.destroy()).pipe(client.socket)
    return
  }
  client.socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  if (answer.upgraded.head.length > 0) client.socket.write(answer.upgraded.head)
  if (client.head.length > 0) answer.upgraded.socket.write(client.head)
  join(client.socket, answer.upgraded.socket, options)
}

interface RuntimeAnswer {
  readonly response: IncomingMessage
  /** Absent: the runtime did not upgrade. */
  readonly upgraded?: { readonly socket: Duplex; readonly head: Buffer }
}

const ask = async (url: URL, { request, socket }: Upgrade): Promise<RuntimeAnswer> => {
  const headers: string[] = ['Host', url.host]
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i] ?? ''
    // Who the client is was asked already, and is nobody else's business.
    if (!/^(host|authorization)$/i.test(name)) headers.push(name, request.rawHeaders[i + 1] ?? '')
  }
  const createConnection = await dialer(url)
  const asked: RequestOptions = { method: request.method, path: `${url.pathname}${url.search}`, headers, createConnection }
  const out = requestHttp(asked)
  const giveUp = () => out.destroy(new Error('the client has gone away'))
  socket.once('close', giveUp)
  try {
    return await new Promise<RuntimeAnswer>((resolve, reject) => {
      out.on('upgrade', (response, upgraded, head) => resolve({ response, upgraded: { socket: upgraded, head } }))
      out.on('response', response => resolve({ response }))
      out.on('error', reject)
      out.end()
    })
  } catch (error) {
    throw new Fault('runtime-away', `the runtime's streaming server does not answer: ${describe(error)}`, { cause: error })
  } finally {
    socket.off('close', giveUp)
  }
}

/** How to connect to the runtime's streaming server, which listens on this host's loopback. */
const dialer = async (url: URL): Promise<() => Socket> => {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const secure = url.protocol === 'https:'
  const to = { host, port: Number(url.port || (secure ? 443 : 80)), allowHalfOpen: true }
  if (!secure) return () => connect(to)
  const tls = await import('node:tls')
  return () => tls.connect({ ...to, rejectUnauthorized: false })
}

const join = (client: Duplex, runtime: Duplex, { clock, idleMs = fourHoursMs }: TunnelOptions): void => {
  let lastHeard = clock.monotonic()
  let allowedMs = idleMs
  let timer: Timer | undefined
  const endBoth = () => {
    client.destroy()
    runtime.destroy()
  }
  const watchIdle = () => {
    timer?.cancel()
    const left = allowedMs - (clock.monotonic() - lastHeard)
    timer = left > 0 ? clock.after(left, watchIdle) : undefined
    if (left <= 0) endBoth()
  }
  const pass = (from: Duplex, to: Duplex) => {
    from.on('data', () => {
      lastHeard = clock.monotonic()
    })
    from.on('end', () => {
      lastHeard = clock.monotonic()
      allowedMs = Math.min(allowedMs, lingerMs)
      watchIdle()
    })
    from.on('error', () => undefined)
    from.on('close', () => {
      if (client.destroyed && runtime.destroyed) timer?.cancel()
      // What was read before is still written.
      if (!to.destroyed) to.end(() => to.destroy())
    })
    from.pipe(to)
  }
  pass(client, runtime)
  pass(runtime, client)
  watchIdle()
}
