// Where a network probe or hook goes: its host and port, with named ports looked up, and socket errors in the words users know.
// Pure. Shared by http.ts, tcp.ts and grpc.ts; follows the API reference of Probe, HTTPGetAction and TCPSocketAction.
import type { IntOrString } from '../api/meta.ts'
import type { Container } from '../api/types.ts'
import { Fault } from '../host/fault.ts'

/**
 * The port number behind a port of a probe: a number, the name of one of the container's ports, or a number written as text.
 * @throws Fault `container-config` when there is no such port
 */
export const resolvePort = (port: IntOrString, container: Container): number => {
  const named = typeof port === 'string' ? container.ports?.find(it => it.name === port)?.containerPort : undefined
  const number = named ?? (typeof port === 'number' ? port : /^\d+$/.test(port) ? Number(port) : undefined)
  if (number === undefined) throw new Fault('container-config', `port ${port} not found`, { retry: 'never' })
  if (number > 0 && number < 65536) return number
  throw new Fault('container-config', `invalid port number: ${number}`, { retry: 'never' })
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset by peer',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network is unreachable',
  ETIMEDOUT: 'connection timed out',
  EPIPE: 'broken pipe',
}

/**
 * A failed connection as one line: `dial tcp 10.0.0.1:80: connect: connection refused`.
 * @param address what was dialled, as `host:port`
 */
export const toReason = (error: NodeJS.ErrnoException, address: string): string => {
  if (error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN')
    return `dial tcp: lookup ${address.replace(/:\d+$/, '')}: no such host`
  const reason = reasons[error.code ?? '']
  if (reason === undefined) return error.message
  return error.syscall === 'connect'
    ? `dial tcp ${address}: connect: ${reason}`
    : `${error.syscall ?? 'read'} tcp ${address}: ${reason}`
}
