// Who asks: by client certificate, by bearer token (TokenReview), or nobody in particular where that is allowed.
// Follows the kubelet's authentication: a certificate first, then a token; a wrong credential is never taken for no credential.
import { createHmac, randomBytes } from 'node:crypto'
import { type KubeApi, tokenReviews } from '../../api/kube/api.ts'
import type { KubeObject } from '../../api/meta.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { createTtlCache } from './ttl-cache.ts'

export interface User {
  readonly name: string
  readonly uid?: string
  readonly groups: readonly string[]
  readonly extra?: Readonly<Record<string, readonly string[]>>
}

/** The client certificate of a connection, as TLS found it. */
export interface ClientCertificate {
  /** Its chain leads to one of the client CAs. */
  readonly trusted: boolean
  readonly commonName: string
  readonly organizations: readonly string[]
  readonly notBefore: Millis
  readonly notAfter: Millis
  /** SHA-256 over the certificate, in hexadecimal digits. */
  readonly fingerprint: string
}

export interface Credentials {
  readonly certificate?: ClientCertificate
  /** The header Authorization. */
  readonly authorization?: string
}

export interface AuthenticateDeps {
  /** Absent: tokens are not accepted. */
  readonly tokens?: { readonly api: Pick<KubeApi, 'create'>; readonly cacheTtlMs: Millis }
  readonly anonymous: boolean
  readonly clock: Pick<Clock, 'now' | 'monotonic'>
}

/** The caller, or why they are not known. A failure to ask the apiserver rejects with its Fault. */
export type Authenticate = (given: Credentials) => Promise<{ readonly user: User } | { readonly refused: string }>

interface TokenReview extends KubeObject {
  readonly status?: {
    readonly authenticated?: boolean
    readonly error?: string
    readonly user?: {
      readonly username?: string
      readonly uid?: string
      readonly groups?: readonly string[]
      readonly extra?: Readonly<Record<string, readonly string[]>>
    }
  }
}

const anonymous: User = { name: 'system:anonymous', groups: ['system:unauthenticated'] }
const everybody = 'system:authenticated'
const isKnown = (user: User): User => (user.groups.includes(everybody) ? user : { ...user, groups: [...user.groups, everybody] })

/** The token of a header such as `Bearer abc`; undefined when there is none. */
export const bearerToken = (authorization: string | undefined): string | undefined => {
  const [scheme, token] = (authorization ?? '').trim().split(' ')
  return scheme?.toLowerCase() === 'bearer' && token ? token : undefined
}

/** Whom a certificate stands for, or why it stands for nobody. */
export const userOfCertificate = (it: ClientCertificate, now: Millis): { user: User } | { refused: string } => {
  if (!it.trusted) return { refused: 'the client certificate is not signed by a client CA, or not meant for clients' }
  // A connection may outlive the certificate that it was opened with.
  if (now > it.notAfter || now < it.notBefore) return { refused: 'the client certificate is expired or not yet valid' }
  if (it.commonName === '') return { refused: 'the client certificate has no common name' }
  const extra = { 'authentication.kubernetes.io/credential-id': [`X509SHA256=${it.fingerprint}`] }
  return { user: { name: it.commonName, groups: it.organizations, extra } }
}

// As many as upstream's cache holds per shard.
const tokensKept = 4096

const createReviewer = ({ api, cacheTtlMs }: NonNullable<AuthenticateDeps['tokens']>, clock: Pick<Clock, 'monotonic'>) => {
  const cache = createTtlCache<User | undefined>({ clock, limit: tokensKept })
  // Tokens are not kept in memory longer than it takes to ask about them.
  const key = randomBytes(32)
  const review = async (token: string) => {
    const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', metadata: {}, spec: { token } }
    const { status } = await api.create<TokenReview>({ resource: tokenReviews }, body)
    const { username, uid, groups = [], extra } = status?.user ?? {}
    const known = status?.authenticated === true && !status.error && username
    return known ? { name: username, groups, ...(uid && { uid }), ...(extra && { extra }) } : undefined
  }
  return (token: string) =>
    cache.get(createHmac('sha256', key).update(token).digest('base64'), async () => ({
      value: await review(token),
      ttlMs: cacheTtlMs,
    }))
}

export const createAuthenticate = ({ tokens, anonymous: allowsAnonymous, clock }: AuthenticateDeps): Authenticate => {
  const reviewer = tokens && createReviewer(tokens, clock)
  return async ({ certificate, authorization }) => {
    const byCertificate = certificate && userOfCertificate(certificate, clock.now())
    if (byCertificate && 'user' in byCertificate) return { user: isKnown(byCertificate.user) }
    const token = bearerToken(authorization)
    if (reviewer !== undefined && token !== undefined) {
      const user = await reviewer(token)
      return user === undefined ? { refused: 'invalid bearer token' } : { user: isKnown(user) }
    }
    if (byCertificate) return byCertificate
    return allowsAnonymous ? { user: anonymous } : { refused: 'no credentials were given' }
  }
}
