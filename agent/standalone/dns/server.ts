// The sockets of the responder on one address: UDP, and TCP with many questions on one connection. Bounded: what comes in faster
// than it is answered is dropped (UDP) or waits (TCP). Knows nothing of names; a message that gets no answer gets none.
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, isIPv6, type Socket } from 'node:net'
import type { Clock } from '../../../host/clock.ts'
import { describe, Fault } from '../../../host/fault.ts'
import type { Log } from '../../../host/log.ts'
import type { Resolve } from './resolve.ts'

export interface DnsServer {
  /** The port that both sockets have. */
  readonly port: number
  stop(): Promise<void>
}

export interface DnsServerDeps {
  readonly address: string
  /** 53; 0 for any that is free. */
  readonly port: number
  readonly resolve: Resolve
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
}

const maxPending = 1_000
const maxConnections = 128
const idleMs = 10_000

const listenFault = (address: string, port: number, error: unknown): Fault =>
  new Fault('network', `cluster DNS cannot listen on ${address} port ${port}: ${describe(error)}`, { cause: error })

const openUdp = async ({ address, port, resolve, log }: DnsServerDeps): Promise<UdpSocket> => {
  const socket = createSocket({ type: isIPv6(address) ? 'udp6' : 'udp4', ipv6Only: isIPv6(address) })
  let pending = 0
  let closed = false
  const serve = async (message: Buffer, from: RemoteInfo) => {
    const reply = await resolve(message, 'udp')
    if (reply !== undefined && !closed) socket.send(reply, from.port, from.address)
  }
  socket.on('close', () => {
    closed = true
  })
  socket.on('message', (message, from) => {
    if (pending >= maxPending) return
    pending++
    serve(message, from)
      .catch(error => log.warn({ err: error }, 'a DNS question could not be answered'))
      .finally(() => {
        pending--
      })
  })
  socket.bind(port, address)
  try {
    await once(socket, 'listening')
  } catch (error) {
    socket.close()
    throw error
  }
  // Errors of single messages, such as a client that is gone, end nothing.
  socket.on('error', error => log.debug({ reason: error.message }, 'DNS over UDP'))
  return socket
}

/** Answers what comes over one connection, a question at a time, until the client is done or idle. */
const serveConnection = async (socket: Socket, { resolve, clock }: Pick<DnsServerDeps, 'resolve' | 'clock'>): Promise<void> => {
  let idle = clock.after(idleMs, () => socket.destroy())
  let received = Buffer.alloc(0)
  try {
    for await (const chunk of socket) {
      idle.cancel()
      idle = clock.after(idleMs, () => socket.destroy())
      received = Buffer.concat([received, chunk as Buffer])
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const length = received.readUInt16BE(0)
        const reply = await resolve(received.subarray(2, 2 + length), 'tcp')
        received = received.subarray(2 + length)
        if (reply === undefined) return
        const prefix = Buffer.alloc(2)
        prefix.writeUInt16BE(reply.length)
        if (!socket.write(Buffer.concat([prefix, reply]))) await once(socket, 'drain')
      }
    }
  } finally {
    idle.cancel()
    socket.destroySoon()
  }
}

const openTcp = async (deps: DnsServerDeps, port: number) => {
  const { address, log } = deps
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    sockets.add(socket)
    socket.on('error', error => log.debug({ reason: error.message }, 'DNS over TCP'))
    socket.on('close', () => sockets.delete(socket))
    serveConnection(socket, deps).catch(error => log.debug({ reason: describe(error) }, 'DNS over TCP'))
  })
  server.maxConnections = maxConnections
  server.listen({ host: address, port, ipv6Only: isIPv6(address) })
  await once(server, 'listening')
  return {
    stop: async () => {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/**
 * Listens on one address.
 * @throws Fault `network` when it cannot, such as when something else listens there
 */
export const startDnsServer = async (deps: DnsServerDeps): Promise<DnsServer> => {
  const udp = await openUdp(deps).catch(error => {
    throw listenFault(deps.address, deps.port, error)
  })
  const { port } = udp.address()
  const closeUdp = async () => {
    const closed = once(udp, 'close')
    udp.close()
    await closed
  }
  try {
    const tcp = await openTcp(deps, port)
    return {
      port,
      stop: async () => {
        await Promise.all([closeUdp(), tcp.stop()])
      },
    }
  } catch (error) {
    await closeUdp()
    throw listenFault(deps.address, port, error)
  }
}
