// One question to one name server: UDP from a port of its own, TCP when the answer did not fit. Sockets and nothing else:
// whom to ask, how often and what to keep is decided in forward.ts. RFC 5452: what does not match the question is not an answer.
import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { createConnection, isIPv6 } from 'node:net'
import { hostPort } from '../../../host/address.ts'
import type { Clock } from '../../../host/clock.ts'
import { Fault } from '../../../host/fault.ts'
import type { NameServer } from './resolv-conf.ts'
import { isReplyTo, isTruncated, type Question, writeQuery } from './wire.ts'

export interface UpstreamQuestion {
  readonly question: Question
  readonly dnssecOk: boolean
  readonly checkingDisabled: boolean
}

/** Asks and gives the answer as it came. @throws Fault `network` when there is none in time */
export type Exchange = (server: NameServer, asked: UpstreamQuestion, timeoutMs: number) => Promise<Buffer>

const describeServer = ({ address, port }: NameServer): string => hostPort(address, port)

const noAnswer = (server: NameServer, why: string, cause?: unknown): Fault =>
  new Fault('network', `name server ${describeServer(server)}: ${why}`, { cause })

type Settle = { readonly resolve: (message: Buffer) => void; readonly reject: (error: Fault) => void }

/** Runs an exchange that ends by itself or when the time is over; `close` is called once, at its end. */
const limited = (
  clock: Pick<Clock, 'after'>,
  server: NameServer,
  timeoutMs: number,
  begin: (settle: Settle) => () => void,
): Promise<Buffer> => {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const close = begin({ resolve, reject })
  const timer = clock.after(timeoutMs, () => reject(noAnswer(server, `no answer within ${timeoutMs} ms`)))
  return promise.finally(() => {
    timer.cancel()
    close()
  })
}

export const createExchange = (clock: Pick<Clock, 'after'>): Exchange => {
  const overUdp: Exchange = (server, { question, dnssecOk, checkingDisabled }, timeoutMs) =>
    limited(clock, server, timeoutMs, ({ resolve, reject }) => {
      const id = randomInt(0x1_0000)
      const socket = createSocket(isIPv6(server.address) ? 'udp6' : 'udp4')
      socket.on('error', error => reject(noAnswer(server, error.message, error)))
      socket.on('message', message => {
        if (isReplyTo(message, id, question)) resolve(message)
      })
      // Connected: the kernel takes answers from nobody else, and tells us when the port is closed.
      socket.connect(server.port, server.address, () => {
        socket.send(writeQuery(id, question, dnssecOk, checkingDisabled))
      })
      return () => socket.close()
    })
  const overTcp: Exchange = (server, { question, dnssecOk, checkingDisabled }, timeoutMs) =>
    limited(clock, server, timeoutMs, ({ resolve, reject }) => {
      const id = randomInt(0x1_0000)
      const socket = createConnection({ host: server.address, port: server.port })
      let received = Buffer.alloc(0)
      socket.on('error', error => reject(noAnswer(server, error.message, error)))
      socket.on('close', () => reject(noAnswer(server, 'closed the connection')))
      socket.on('data', chunk => {
        received = Buffer.concat([received, chunk as Buffer])
        if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return
        const message = received.subarray(2, 2 + received.readUInt16BE(0))
        if (isReplyTo(message, id, question)) resolve(message)
        else reject(noAnswer(server, 'answered something else'))
      })
      const query = writeQuery(id, question, dnssecOk, checkingDisabled)
      const length = Buffer.alloc(2)
      length.writeUInt16BE(query.length)
      socket.write(Buffer.concat([length, query]))
      return () => socket.destroy()
    })
  return async (server, asked, timeoutMs) => {
    const message = await overUdp(server, asked, timeoutMs)
    return isTruncated(message) ? await overTcp(server, asked, timeoutMs) : message
  }
}
