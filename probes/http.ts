// Sends an httpGet probe or hook: HTTP, or HTTPS without verification; never by a proxy, never over a kept connection.
// Owns its socket until the answer; at most 10 KiB of a body are read. What is asked is decided in probes/request.ts.
// Follows HTTPGetAction of the API reference: 200 to 399 is success, a redirect to another host is success with a warning.
import { Agent, type IncomingMessage, request as requestHttp } from 'node:http'
import { isIP } from 'node:net'
import { hostPort } from '../host/address.ts'
import type { Clock } from '../host/clock.ts'
import type { Answer } from './probe.ts'
import { type HttpRequest, toRedirect, toUrl } from './request.ts'
import { toReason } from './target.ts'

export interface HttpReply {
  readonly status: number
  readonly body: string
}

/** Why there is no reply, and whether the server answered HTTPS with plain HTTP. */
export interface HttpFailure {
  readonly failed: string
  readonly plainHttp?: true
  readonly aborted?: true
}

export type HttpSender = (
  request: HttpRequest,
  timeoutMs: number | undefined,
  signal: AbortSignal,
) => Promise<HttpReply | HttpFailure>

const bodyLimit = 10 * 1024
const redirectLimit = 10

/** A sender with connections of its own; the TLS part is loaded with the first HTTPS request. */
export const createHttpSender = (clock: Clock): HttpSender => {
  const agent = new Agent({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY })
  let secure: Promise<typeof requestHttp> | undefined
  const secureRequest = async () => {
    const { Agent: SecureAgent, request } = await import('node:https')
    // No verification, and so no point in refusing the small keys that verification would refuse.
    const options = { keepAlive: false, maxCachedSessions: 0, rejectUnauthorized: false, ciphers: 'DEFAULT@SECLEVEL=0' }
    const secureAgent = new SecureAgent(options)
    return ((o: object, done: (r: IncomingMessage) => void) => request({ ...o, agent: secureAgent }, done)) as typeof requestHttp
  }
  return async (first, timeoutMs, signal) => {
    const deadline = timeoutMs === undefined ? undefined : clock.monotonic() + timeoutMs
    let current = first
    for (let sent = 1; ; sent++) {
      if (current.secure) secure ??= secureRequest()
      const send = current.secure && secure ? await secure : requestHttp
      const left = deadline === undefined ? undefined : deadline - clock.monotonic()
      const reply = await once(current, { send, agent, clock, timeoutMs: left, signal })
      if ('failed' in reply) return { ...reply, failed: `Get "${toUrl(current)}": ${reply.failed}` }
      const next = toRedirect(current, reply.status, reply.location)
      if (next === 'none' || next === 'elsewhere') return reply
      if ('broken' in next) return { failed: `Get "${toUrl(current)}": ${next.broken}` }
      if (sent >= redirectLimit) return { failed: `Get "${toUrl(next.to)}": stopped after ${redirectLimit} redirects` }
      current = next.to
    }
  }
}

interface Sending {
  readonly send: typeof requestHttp
  readonly agent: Agent
  readonly clock: Clock
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal
}

const once = (request: HttpRequest, by: Sending): Promise<(HttpReply & { location: string | undefined }) | HttpFailure> => {
  if (by.signal.aborted) return Promise.resolve({ failed: 'stopped', aborted: true })
  return new Promise(resolve => {
    const settle = (reply: (HttpReply & { location: string | undefined }) | HttpFailure) => {
      timer?.cancel()
      by.signal.removeEventListener('abort', onAbort)
      outgoing.destroy()
      resolve(reply)
    }
    const onAbort = () => settle({ failed: 'stopped', aborted: true })
    const onTimeout = () => {
      const awaiting = outgoing.socket?.connecting === false ? 'awaiting headers' : 'waiting for connection'
      settle({ failed: `context deadline exceeded (Client.Timeout exceeded while ${awaiting})` })
    }
    const outgoing = by.send(toOptions(request, by.agent), response =>
      collect(response, body => settle({ status: response.statusCode ?? 0, body, location: response.headers.location })),
    )
    // Stays on: an error after the answer must not end the daemon.
    outgoing.on('error', error => settle(toFailure(error, request)))
    const timer = by.timeoutMs === undefined ? undefined : by.clock.after(by.timeoutMs, onTimeout)
    by.signal.addEventListener('abort', onAbort, { once: true })
    outgoing.end()
  })
}

const toOptions = (request: HttpRequest, agent: Agent): object => ({
  host: request.host,
  port: request.port,
  path: request.target,
  headers: { ...request.headers, Connection: 'close' },
  setHost: false,
  agent,
  // TLS is told the host of the URL, as the kubelet does, and not that of the Host header.
  ...(request.secure && { servername: isIP(request.host) ? '' : request.host }),
})

const toFailure = (error: NodeJS.ErrnoException, request: HttpRequest): HttpFailure => {
  const spokePlainly =
    error.code === 'ERR_SSL_WRONG_VERSION_NUMBER' || error.code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG' || error.code === 'EPROTO'
  if (request.secure && spokePlainly) return { failed: 'http: server gave HTTP response to HTTPS client', plainHttp: true }
  if (error.code === 'ECONNRESET' && error.message === 'socket hang up') return { failed: 'EOF' }
  return { failed: toReason(error, hostPort(request.host, request.port)) }
}

/** Reads a body to its end or to the limit; a body that breaks off counts as what came of it. */
const collect = (response: IncomingMessage, done: (body: string) => void) => {
  const parts: Buffer[] = []
  let length = 0
  const finish = () => done(Buffer.concat(parts).subarray(0, bodyLimit).toString('utf8'))
  response.on('data', (part: Buffer) => {
    parts.push(part)
    length += part.length
    if (length >= bodyLimit) finish()
  })
  response.once('end', finish)
  response.once('close', finish)
  response.on('error', finish)
}

/** Asks once and says what the kubelet would say of the answer. Never rejects. */
export const probeHttp = async (
  request: HttpRequest,
  timeoutMs: number,
  send: HttpSender,
  signal: AbortSignal,
): Promise<Answer> => {
  const reply = await send(request, timeoutMs, signal)
  if ('failed' in reply) return { outcome: reply.aborted ? 'error' : 'failure', message: reply.failed }
  if (reply.status >= 200 && reply.status < 300) return { outcome: 'success', message: reply.body }
  if (reply.status >= 300 && reply.status < 400) {
    return { outcome: 'warning', message: `Probe terminated redirects, Response body: ${reply.body}` }
  }
  // The body stays out of the message: it may hold what an event must not tell.
  return { outcome: 'failure', message: `HTTP probe failed with statuscode: ${reply.status}` }
}
