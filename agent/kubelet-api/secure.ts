// The TLS side of the kubelet API: its serving certificate, replaced while it runs, and the client certificates of its connections.
// A client certificate is asked for and not required; what it is worth is authenticate.ts's to say.
import { constants } from 'node:crypto'
import { createServer, type Server } from 'node:https'
import type { PeerCertificate, SecureContextOptions, TLSSocket } from 'node:tls'
import { describe } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { parseTarget } from './answer.ts'
import type { ClientCertificate } from './authenticate.ts'
import { connectionLimits } from './http.ts'
import { isStream } from './streams.ts'
import type { TlsOptions } from './tls-options.ts'

/** The certificate that the kubelet API shows, in PEM; undefined while there is none yet. */
export interface ServingCertificate {
  current(): { readonly cert: string; readonly key: string } | undefined
  /** Calls the listener when there is another one. Returns how to stop. */
  onChange(listener: () => void): () => void
}

export interface SecureServer {
  readonly server: Server
  /** The client certificate that a connection was opened with. */
  certificateOf(socket: object): ClientCertificate | undefined
  /** From now on these are the CAs; a connection that was opened under others proves nothing any more. */
  trust(clientCas: string): void
  /** Shows the serving certificate as it is now. */
  renew(): void
}

export interface SecureDeps {
  readonly servingCertificate: Pick<ServingCertificate, 'current'>
  readonly options: TlsOptions
  /** PEM; absent: no client certificates are asked for. */
  readonly clientCas?: string
  readonly log: Log
}

const toList = (value: unknown): readonly string[] =>
  value === undefined ? [] : (Array.isArray(value) ? value : [value]).map(String)

const toCertificate = (peer: PeerCertificate, trusted: boolean): ClientCertificate => ({
  trusted,
  // Of several, the last one counts, as in Go.
  commonName: toList(peer.subject?.CN).at(-1) ?? '',
  organizations: toList(peer.subject?.O),
  notBefore: Date.parse(peer.valid_from),
  notAfter: Date.parse(peer.valid_to),
  fingerprint: peer.fingerprint256.replaceAll(':', '').toLowerCase(),
})

export const createSecureServer = ({ servingCertificate, options, clientCas, log }: SecureDeps): SecureServer => {
  let cas = clientCas
  const contextNow = (): SecureContextOptions => ({
    ...options,
    ...servingCertificate.current(),
    ...(cas && { ca: cas }),
    // A CA file may hold an intermediate alone: what is in it is trusted, as Go trusts its pool.
    allowPartialTrustChain: true,
    // No session is resumed: every connection proves anew who it is, to the CAs of now.
    secureOptions: constants.SSL_OP_NO_TICKET,
  })
  const server = createServer({
    ...contextNow(),
    ...connectionLimits,
    // Without CAs of its own the library would take any public one.
    requestCert: cas !== undefined,
    rejectUnauthorized: false,
    allowHalfOpen: true,
    // Whoever offers to upgrade elsewhere is answered as if they had not.
    shouldUpgradeCallback: request => isStream(parseTarget(request.url ?? '')?.segments ?? []),
  })
  let generation = 0
  const opened = new WeakMap<object, { readonly under: number; readonly certificate: ClientCertificate }>()
  const isStale = (socket: object) => (opened.get(socket)?.under ?? generation) !== generation
  server.on('secureConnection', (socket: TLSSocket) => {
    const peer = cas === undefined ? undefined : socket.getPeerCertificate()
    if (peer?.fingerprint256) opened.set(socket, { under: generation, certificate: toCertificate(peer, socket.authorized) })
  })
  server.on('request', ({ socket }, response) => response.on('close', () => isStale(socket) && socket.destroySoon()))
  server.on('tlsClientError', error => log.debug({ err: error }, `a TLS handshake failed: ${describe(error)}`))
  const refresh = () => {
    try {
      server.setSecureContext(contextNow())
    } catch (error) {
      log.error({ err: error }, `the kubelet API keeps its certificate, the new one cannot be used: ${describe(error)}`)
    }
  }
  return {
    server,
    certificateOf: socket => {
      const found = opened.get(socket)?.certificate
      return found && isStale(socket) ? { ...found, trusted: false } : found
    },
    trust: clientCas => {
      cas = clientCas
      generation++
      refresh()
      server.closeIdleConnections()
    },
    renew: refresh,
  }
}
