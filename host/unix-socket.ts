// The file of a unix socket: who may have it, and how it comes to be without being open to others even for a moment.
// What is spoken over it is its owner's.
import { chmod, lstat, mkdir, rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import { connect, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { Fault } from './fault.ts'

/**
 * Removes the socket of a program that died; asked before anything is begun, so that a second one touches nothing of the first.
 * @throws Fault `already-exists` when somebody answers there, `io` when something else has that name
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

export interface SocketServer {
  /** @throws Fault `already-exists` when another program answers there, `io` when the socket cannot be made */
  listen(): Promise<void>
  /** Ends all connections and removes the socket file. */
  close(): Promise<void>
}

/** For root alone, by the file's mode. @param path its folder is made when it is missing */
export const socketServer = (http: Server, path: string): SocketServer => {
  const connections = new Set<Socket>()
  http.on('connection', socket => {
    connections.add(socket)
    socket.on('close', () => connections.delete(socket))
  })
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
    },
    close: async () => {
      const closed = new Promise<void>(resolve => http.close(() => resolve()))
      for (const socket of connections) socket.destroy()
      await closed
    },
  }
}
