// POST /v1/pods/NAMESPACE/NAME/exec with an upgrade: asks the runtime for a stream, then passes bytes between the client and
// the runtime's streaming server. Speaks neither SPDY nor WebSocket itself: the client agrees on that with the runtime.
// Owns both sockets until one of them ends.
import type { IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Cri } from '../../api/cri/cri.ts'
import type { Pod } from '../../api/types.ts'
import { describe, Fault } from '../../host/fault.ts'
import { findContainer, runningId } from './find.ts'
import { isSet } from './log-route.ts'

export type ExecCri = Pick<Cri, 'exec'>

/** The upgraded connection of a client: its request, its socket, and what it sent beyond the request's head. */
export interface Upgrade {
  readonly request: IncomingMessage
  readonly socket: Duplex
  readonly head: Buffer
}

/**
 * Joins the client with the command that the runtime starts for it.
 * @throws Fault while nothing has been sent to the client yet
 */
export const serveExec = async (pod: Pod, query: URLSearchParams, upgrade: Upgrade, cri: ExecCri): Promise<void> => {
  const cmd = query.getAll('command')
  if (cmd.length === 0) throw new Fault('bad-config', 'no command was given', { retry: 'never' })
  const container = findContainer(pod, query.get('container') ?? undefined)
  const tty = isSet(query, 'tty')
  const stdin = isSet(query, 'stdin')
  // A terminal has one output; the runtime refuses stderr beside it.
  const url = await cri.exec({ containerId: runningId(pod, container), cmd, tty, stdin, stdout: true, stderr: !tty })
  await tunnel(new URL(url), upgrade)
}

const tunnel = async (url: URL, { request, socket, head }: Upgrade): Promise<void> => {
  const runtime = await dial(url)
  const lines = [`${request.method} ${url.pathname}${url.search} HTTP/1.1`, `Host: ${url.host}`]
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i] ?? ''
    if (name.toLowerCase() !== 'host') lines.push(`${name}: ${request.rawHeaders[i + 1]}`)
  }
  runtime.write(`${lines.join('\r\n')}\r\n\r\n`)
  if (head.length > 0) runtime.write(head)
  const end = () => {
    runtime.destroy()
    socket.destroy()
  }
  for (const side of [runtime, socket]) side.on('error', end).on('close', end)
  socket.pipe(runtime)
  runtime.pipe(socket)
}

/** A connection to the runtime's streaming server, which listens on this host's loopback. */
const dial = async (url: URL): Promise<Socket> => {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  const secure = url.protocol === 'https:'
  const socket = secure ? (await import('node:tls')).connect({ host, port, rejectUnauthorized: false }) : connect({ host, port })
  try {
    await new Promise<void>((resolve, reject) => socket.once(secure ? 'secureConnect' : 'connect', resolve).once('error', reject))
  } catch (error) {
    throw new Fault('runtime-away', `the runtime's streaming server does not answer: ${describe(error)}`, { cause: error })
  }
  return socket
}
