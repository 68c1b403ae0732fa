// One port of the kubelet API: listens, keeps account of its connections, and ends them all. Plain or TLS alike.
import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { describe, Fault } from '../../host/fault.ts'

export interface Listener {
  /** @returns the port, chosen by the kernel when 0 was asked for. @throws Fault `io` when the address cannot be had */
  listen(port: number, address: string): Promise<number>
  /** Ends every connection, also those that were upgraded. */
  close(): Promise<void>
}

export const createListener = (server: Server): Listener => {
  const connections = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    connections.add(socket)
    socket.on('close', () => connections.delete(socket))
  })
  return {
    listen: (port, host) =>
      new Promise((resolve, reject) => {
        const refused = (cause: Error) =>
          reject(new Fault('io', `cannot listen on ${host} port ${port}: ${describe(cause)}`, { cause, retry: 'never' }))
        server.once('error', refused)
        server.listen({ port, host }, () => {
          server.off('error', refused)
          resolve((server.address() as AddressInfo).port)
        })
      }),
    close: async () => {
      if (!server.listening) return
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      for (const socket of connections) socket.destroy()
      await closed
    },
  }
}
