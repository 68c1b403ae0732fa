// The tcpSocket probe: success when a connection opens; it is closed again at once.
// Owns its socket until the answer; nothing is left open after a timeout or an abort. Follows TCPSocketAction of the API reference.
import { connect } from 'node:net'
import { hostPort } from '../host/address.ts'
import type { Clock } from '../host/clock.ts'
import type { Answer } from './probe.ts'
import { toReason } from './target.ts'

export interface TcpProbe {
  readonly host: string
  readonly port: number
  readonly timeoutMs: number
}

/** Opens a connection within the timeout. Never rejects; an aborted attempt answers `error`. */
export const probeTcp = ({ host, port, timeoutMs }: TcpProbe, clock: Clock, signal: AbortSignal): Promise<Answer> => {
  if (signal.aborted) return Promise.resolve({ outcome: 'error', message: 'stopped' })
  return new Promise(resolve => {
    const address = hostPort(host, port)
    const socket = connect({ host, port })
    const settle = (answer: Answer) => {
      timer.cancel()
      signal.removeEventListener('abort', onAbort)
      socket.destroy()
      resolve(answer)
    }
    const onAbort = () => settle({ outcome: 'error', message: 'stopped' })
    const timer = clock.after(timeoutMs, () => settle({ outcome: 'failure', message: `dial tcp ${address}: i/o timeout` }))
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('connect', () => settle({ outcome: 'success', message: '' }))
    // Stays on: a socket that errs after it was destroyed must not end the daemon.
    socket.on('error', error => settle({ outcome: 'failure', message: toReason(error, address) }))
  })
}
