// The daemon's end of the shim: POST /cni on its unix socket. Owns the wire format, which a shim without any parser must be able to
// speak. Request body: the CNI_* variables as NAME=VALUE, a NUL behind each, one NUL more, then stdin as it came.
// Response body: the exit code, a newline, then what goes to stdout. The status is 200 whenever the call was answered.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { Cni } from './plugin.ts'
import type { CniReply, CniRequest } from './spec.ts'

export const cniPath = '/cni'

/** A request body as the shim wrote it. Variables without a name are dropped: an environment has none. */
export const decodeRequest = (body: string): CniRequest => {
  const end = body.indexOf('\0\0')
  const head = body.slice(0, Math.max(end, 0))
  const pairs = head.split('\0').filter(pair => pair.indexOf('=') > 0)
  const env = Object.fromEntries(pairs.map(pair => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]))
  return { env, stdin: end < 0 ? body : body.slice(end + 2) }
}

/** A reply as the shim reads it. */
export const encodeReply = ({ exitCode, stdout }: CniReply): string => `${exitCode}\n${stdout}`

/** What the daemon does with a call that reached it; errors are replies. */
export const createCniHandler =
  ({ cni }: { readonly cni: Pick<Cni, 'call'> }) =>
  (request: CniRequest): Promise<CniReply> =>
    cni.call(request)

/** The same as a listener of node:http, for whoever mounts it whole. */
export const createCniListener = (deps: { readonly cni: Pick<Cni, 'call'> }) => {
  const handler = createCniHandler(deps)
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const reply = await handler(decodeRequest((await buffer(request)).toString('utf8')))
    const body = Buffer.from(encodeReply(reply))
    // The shim knows by the length that the answer is whole.
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body.length })
    response.end(body)
  }
}
