// Bytes to and from one apiserver with one set of credentials: an agent that keeps its TLS connections for the next call.
// Knows nothing of JSON or of Kubernetes. A wire is never changed: new certificates make a new one, and the old one is retired.
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { isIP } from 'node:net'
import type { Readable } from 'node:stream'
import { checkServerIdentity, createSecureContext, type PeerCertificate } from 'node:tls'
import { describe, Fault } from '../../host/fault.ts'
import type { Kubeconfig } from './kubeconfig.ts'

export interface WireRequest {
  readonly method: string
  /** From the root of the server: `/api/v1/nodes?limit=1`. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  /** Ends the call whatever it waits for; the call then rejects with the signal's reason. */
  readonly signal: AbortSignal
}

export interface WireAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly body: Readable
}

export interface Wire {
  /** Resolves with the head of the answer; its body is read, or fails, on its own. */
  send(request: WireRequest): Promise<WireAnswer>
  /** Takes no new calls; connections close as soon as nobody reads from them. */
  retire(): void
}

// A peer that is gone without a word is found after this and ten unanswered probes, a second apart.
const probeAfterMs = 15_000

// An address cannot be asked for by SNI, but it can be verified.
const verifiedAs = (name: string | undefined) => {
  if (name === undefined) return {}
  if (isIP(name) === 0) return { servername: name }
  return { servername: '', checkServerIdentity: (_: string, shown: PeerCertificate) => checkServerIdentity(name, shown) }
}

const secureOptions = ({ ca, certificate, key, insecure, serverName, path }: Kubeconfig) => {
  try {
    const secureContext = createSecureContext({
      ...(ca && { ca: ca.pem }),
      ...(certificate && { cert: certificate.pem }),
      ...(key && { key: key.pem }),
    })
    return { secureContext, rejectUnauthorized: !insecure, ...verifiedAs(serverName) }
  } catch (error) {
    const parts = [ca?.from, certificate?.from, key?.from].filter(it => it !== undefined).join(', ')
    const why = `cannot be used together (${describe(error)}): the key must belong to the certificate`
    throw new Fault('certificate', `kubeconfig ${path}: ${parts} ${why}`, { cause: error })
  }
}

const openAgent = (config: Kubeconfig) => {
  const keep = { keepAlive: true, keepAliveMsecs: probeAfterMs, maxFreeSockets: 16 }
  if (config.server.startsWith('http://')) return { agent: new HttpAgent(keep), start: httpRequest }
  return { agent: new HttpsAgent({ ...keep, ...secureOptions(config) }), start: httpsRequest }
}

/**
 * Opens nothing yet: connections are made when they are needed.
 * @throws Fault `certificate` when certificate, key and CA cannot be used
 */
export const createWire = (config: Kubeconfig): Wire => {
  const { agent, start } = openAgent(config)
  const server = new URL(config.server)
  const prefix = server.pathname === '/' ? '' : server.pathname
  let underway = 0
  let isRetired = false
  const done = () => {
    underway -= 1
    if (isRetired && underway === 0) agent.destroy()
  }
  const attempt = ({ method, path, headers, body, signal }: WireRequest): Promise<WireAnswer> =>
    new Promise((resolve, reject) => {
      const options: RequestOptions = {
        agent,
        method,
        // URL keeps the brackets of an IPv6 address, which connect does not take.
        hostname: server.hostname.replace(/^\[|\]$/g, ''),
        ...(server.port !== '' && { port: server.port }),
        path: prefix + path,
        headers: { ...headers, ...(body !== undefined && { 'content-length': Buffer.byteLength(body) }) },
        signal,
      }
      const call = start(options, (answer: IncomingMessage) => {
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: answer })
      })
      underway += 1
      call.on('close', done)
      call.on('error', (error: Error) => {
        // The server closed an idle connection at the moment we took it up again. Only what changes nothing is asked again.
        const isStale = call.reusedSocket && (error as NodeJS.ErrnoException).code === 'ECONNRESET'
        if (signal.aborted) reject(signal.reason)
        else if (isStale && method === 'GET') attempt({ method, path, headers, signal }).then(resolve, reject)
        else reject(error)
      })
      call.end(body)
    })
  return {
    send: request => (request.signal.aborted ? Promise.reject(request.signal.reason) : attempt(request)),
    retire: () => {
      isRetired = true
      if (underway === 0) agent.destroy()
    },
  }
}
