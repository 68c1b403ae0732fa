// How a call ended: from what HTTP/2 showed of it to a gRPC status, and from a status to a Fault. The only file that knows
// the numbers of gRPC and what each means to the rest of the program.
// Pure. Follows gRPC over HTTP/2 ("Responses", "Errors") and its mapping of HTTP statuses; texts as grpc-js has them.
import { Fault, type FaultCode, type Retry } from '../host/fault.ts'

export interface Status {
  readonly code: number
  readonly message: string
}

export const codes = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const

const faults: Readonly<Record<number, readonly [FaultCode, Retry]>> = {
  [codes.unavailable]: ['runtime-away', 'backoff'],
  [codes.deadlineExceeded]: ['runtime-timeout', 'backoff'],
  [codes.notFound]: ['not-found', 'never'],
  [codes.alreadyExists]: ['already-exists', 'never'],
  [codes.unimplemented]: ['unsupported', 'never'],
}

// The error names that runtimes put in front of their message (k8s.io/cri-api, pkg/errors).
const reasons = ['RegistryUnavailable', 'SignatureValidationFailed', 'RROUnsupported', 'ImageVolumeMountFailed']

/** A gRPC failure as a Fault; `reason` carries the CRI's own error name where the runtime gives one. */
export const toFault = ({ code, message }: Status, cause?: unknown): Fault => {
  const [fault, retry] = faults[code] ?? ['runtime-refused', 'backoff']
  const reason = reasons.find(it => message.startsWith(it))
  return new Fault(fault, message || `the runtime answered gRPC status ${code}`, { cause, retry, ...(reason && { reason }) })
}

type Headers = Readonly<Record<string, string | readonly string[] | number | undefined>>

// Each %XX is one byte of UTF-8; what is no such thing stays, as the specification asks.
const decodeMessage = (text: string): string =>
  text.includes('%') || /[\x80-\xff]/.test(text)
    ? Buffer.from(
        text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
        'latin1',
      ).toString()
    : text

/** The status in trailers, or in the headers of an answer that is nothing but trailers; undefined where there is none. */
export const readStatus = (headers: Headers): Status | undefined => {
  const code = headers['grpc-status']
  if (code === undefined) return
  const number = Number(code)
  return {
    code: Number.isInteger(number) ? number : codes.unknown,
    message: decodeMessage(String(headers['grpc-message'] ?? '')),
  }
}

const httpStatuses: Readonly<Record<number, number>> = {
  400: codes.internal,
  401: codes.unauthenticated,
  403: codes.permissionDenied,
  404: codes.unimplemented,
  429: codes.unavailable,
  502: codes.unavailable,
  503: codes.unavailable,
  504: codes.unavailable,
}

/** The server has not begun the call. */
export const refused: Status = { code: codes.unavailable, message: 'Stream refused by server' }

// RST_STREAM's codes (RFC 9113, 7) that say more than that something went wrong.
const resets: Readonly<Record<number, Status>> = {
  0: { code: codes.internal, message: 'Call ended without gRPC status' },
  7: refused,
  8: { code: codes.cancelled, message: 'Call cancelled' },
  11: { code: codes.resourceExhausted, message: 'Bandwidth exhausted or memory limit exceeded' },
  12: { code: codes.permissionDenied, message: 'Protocol not secure enough' },
}

/**
 * The status of a call whose server gave none: by the HTTP status where that is not 200, else by how the stream ended.
 * @param rstCode undefined when it ended with its connection
 */
export const guessStatus = (httpStatus: number | undefined, rstCode: number | undefined): Status => {
  if (httpStatus !== undefined && httpStatus !== 200) {
    return { code: httpStatuses[httpStatus] ?? codes.unknown, message: `Received HTTP status code ${httpStatus}` }
  }
  if (rstCode === undefined) return { code: codes.unavailable, message: 'Connection dropped' }
  return resets[rstCode] ?? { code: codes.internal, message: `Received RST_STREAM with code ${rstCode}` }
}
