// Answers of the sockets on this machine: JSON bodies, and a Fault as a status and a body that the command line turns into words again.
import type { ServerResponse } from 'node:http'
import { describe, type FaultCode, isFault } from './fault.ts'

/** The body of every answer that is not a success. */
export interface ErrorBody {
  readonly code: string
  readonly message: string
}

const statuses: Partial<Record<FaultCode, number>> = {
  'not-found': 404,
  'bad-config': 400,
  'already-exists': 409,
  unsupported: 501,
  'runtime-away': 503,
  'runtime-timeout': 504,
}

/** The HTTP status and body of an error. */
export const toError = (error: unknown): { readonly status: number; readonly body: ErrorBody } =>
  isFault(error)
    ? { status: statuses[error.code] ?? 500, body: { code: error.code, message: describe(error) } }
    : { status: 500, body: { code: 'io', message: describe(error) } }

export const sendJson = (response: ServerResponse, status: number, body: object): void => {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(`${JSON.stringify(body)}\n`)
}

/** Words for those who ask for text, values for others. @param accept the request's header */
export const sendEither = (response: ServerResponse, accept: string | undefined, text: string, body: object): void => {
  if (accept?.includes('text/plain')) response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' }).end(text)
  else sendJson(response, 200, body)
}
