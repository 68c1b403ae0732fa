// Asks the daemon over its unix socket. Knows how to send a request and how to say that nobody answers; what the answers mean
// is up to the commands. Bodies are typed by agent/server/wire.ts.
import { type IncomingMessage, type RequestOptions, request } from 'node:http'
import type { Duplex } from 'node:stream'
import { json, text } from 'node:stream/consumers'
import type { ErrorBody } from '../agent/server/wire.ts'
import { Fault, type FaultCode, faultCodes, isFault } from '../host/fault.ts'

export const defaultSocket = '/run/nodelet/nodelet.sock'
/** Where a `nodelet proxy` listens that was told nothing. */
export const proxySocket = '/run/nodelet/proxy.sock'

export interface Daemon {
  /** @throws Fault with the daemon's own code and message, or `io` when no daemon answers; so do the others */
  json<T>(path: string): Promise<T>
  text(path: string): Promise<string>
  /** The body as it comes. */
  stream(path: string): Promise<IncomingMessage>
  /** A connection that speaks the protocol `to`; `head` is what came with the answer. */
  upgrade(path: string, to: string, headers: Readonly<Record<string, string>>): Promise<{ socket: Duplex; head: Buffer }>
}

/** @param socketPath --socket; else $NODELET_SOCKET, else where a daemon listens that was told nothing */
export const createDaemon = (socketPath: string = process.env['NODELET_SOCKET'] ?? defaultSocket): Daemon => {
  const send = (options: RequestOptions): Promise<{ response: IncomingMessage; socket?: Duplex; head?: Buffer }> =>
    new Promise((resolve, reject) => {
      const outgoing = request({ socketPath, agent: false, ...options }, response => resolve({ response }))
      outgoing.on('upgrade', (response, socket, head) => resolve({ response, socket, head }))
      outgoing.on('error', error => reject(toFault(error, socketPath)))
      outgoing.end()
    })
  const get = async (path: string, accept: string): Promise<IncomingMessage> => {
    const { response } = await send({ path, headers: { Accept: accept } })
    if (response.statusCode !== 200) throw await toRefusal(response)
    return response
  }
  return {
    json: async <T>(path: string) => (await json(await get(path, 'application/json'))) as T,
    text: async path => text(await get(path, 'text/plain')),
    stream: path => get(path, 'text/plain'),
    upgrade: async (path, to, headers) => {
      const options = { path, method: 'POST', headers: { ...headers, Connection: 'Upgrade', Upgrade: to } }
      const { response, socket, head = Buffer.alloc(0) } = await send(options)
      if (socket === undefined) throw await toRefusal(response)
      return { socket, head }
    },
  }
}

/**
 * Asks whoever routes Services: the daemon, or a `nodelet proxy` where there is none or it leaves Services to others.
 * @param socketPath --socket; then, and with $NODELET_SOCKET, nobody else is asked
 * @param otherwise the sockets to be asked, in this order
 * @throws Fault of the first that was asked, when no other one answers
 */
export const askRouter = async <T>(
  socketPath: string | undefined,
  ask: (daemon: Daemon) => Promise<T>,
  otherwise: readonly string[] = [defaultSocket, proxySocket],
): Promise<T> => {
  const named = socketPath ?? process.env['NODELET_SOCKET']
  const [first, ...others] = named === undefined ? otherwise : [named]
  const leavesIt = (error: unknown) => isFault(error, 'io') || isFault(error, 'unsupported')
  try {
    return await ask(createDaemon(first))
  } catch (error) {
    if (!leavesIt(error)) throw error
    for (const other of others)
      try {
        return await ask(createDaemon(other))
      } catch (refusal) {
        if (!leavesIt(refusal)) throw refusal
      }
    throw error
  }
}

/** Why no daemon could be asked, and what to do about it. */
const toFault = (error: NodeJS.ErrnoException, socketPath: string): Fault => {
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return new Fault('io', `the socket ${socketPath} is for root: run this with sudo`, { retry: 'never' })
  }
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
    const start = 'start one with `sudo nodelet agent`, or name its socket with --socket'
    return new Fault('io', `no nodelet daemon answers at ${socketPath}: ${start}`, { retry: 'never' })
  }
  return new Fault('io', `the daemon at ${socketPath} does not answer`, { cause: error })
}

const toRefusal = async (response: IncomingMessage): Promise<Fault> => {
  const body = await text(response)
  try {
    const { code, message } = JSON.parse(body) as ErrorBody
    return new Fault(code in faultCodes ? (code as FaultCode) : 'io', message, { retry: 'never' })
  } catch {
    return new Fault('io', `the daemon answered ${response.statusCode}: ${body.trim()}`, { retry: 'never' })
  }
}
