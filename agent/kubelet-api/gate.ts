// Lets a request through or not: who asks, and may they. Joins authentication and authorization into the kubelet's answers.
// Built from a KubeletConfiguration; a configuration by which nobody could ever be let in, or anybody unasked, is refused.
import type { KubeApi } from '../../api/kube/api.ts'
import type { Clock } from '../../host/clock.ts'
import { describe, Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import type { KubeletConfiguration } from '../config/kubelet-defaults.ts'
import { type Answer, type Ask, refuse } from './answer.ts'
import { attributesOf, forbiddenText } from './attributes.ts'
import { type AuthenticateDeps, type ClientCertificate, createAuthenticate } from './authenticate.ts'
import { alwaysAllow, createAuthorize } from './authorize.ts'

/** Why a request is not let through; undefined when it is. */
export type Gate = (ask: Ask, certificate: ClientCertificate | undefined) => Promise<Answer | undefined>

export interface GateDeps {
  readonly kubelet: Pick<KubeletConfiguration, 'authentication' | 'authorization'>
  readonly nodeName: string
  /** Absent: there is no control plane. */
  readonly api: Pick<KubeApi, 'create'> | undefined
  readonly clock: Clock
  readonly log: Log
}

const noApi = (field: string): Fault =>
  new Fault('bad-config', `${field} needs an apiserver: give --kubeconfig`, { retry: 'never' })

const tokensOf = ({ kubelet, api }: GateDeps): AuthenticateDeps['tokens'] => {
  const { enabled, cacheTTL } = kubelet.authentication.webhook
  if (!enabled) return undefined
  if (api === undefined) throw noApi('authentication.webhook')
  return { api, cacheTtlMs: cacheTTL }
}

const authorizeOf = ({ kubelet, api, nodeName, clock }: GateDeps) => {
  const { mode, webhook } = kubelet.authorization
  if (mode === 'AlwaysAllow') return alwaysAllow
  if (api === undefined) throw noApi('authorization.mode: Webhook')
  const ttls = { allowedTtlMs: webhook.cacheAuthorizedTTL, deniedTtlMs: webhook.cacheUnauthorizedTTL }
  return createAuthorize({ api, nodeName, ...ttls, clock })
}

/** @throws Fault `bad-config` when the configuration names no way to tell callers, or needs an apiserver that is not there */
export const createGate = (deps: GateDeps): Gate => {
  const { kubelet, clock, log } = deps
  const tokens = tokensOf(deps)
  const anonymous = kubelet.authentication.anonymous.enabled
  if (tokens === undefined && !anonymous && kubelet.authentication.x509.clientCAFile === '')
    throw new Fault('bad-config', 'authentication: no method is configured', { retry: 'never' })
  const authenticate = createAuthenticate({ anonymous, clock, ...(tokens && { tokens }) })
  const authorize = authorizeOf(deps)
  return async ({ method, path, headers }, certificate) => {
    const authorization = typeof headers.authorization === 'string' ? headers.authorization : undefined
    const who = await authenticate({ ...(certificate && { certificate }), ...(authorization && { authorization }) }).catch(
      error => {
        log.error({ err: error, path }, `nobody can be told who asks: ${describe(error)}`)
        return { refused: 'the apiserver could not be asked' }
      },
    )
    if ('refused' in who) {
      log.debug({ method, path }, `a request was not let in: ${who.refused}`)
      return refuse(401, 'Unauthorized')
    }
    const attributes = attributesOf(method, path)
    try {
      if (await authorize(who.user, attributes)) return undefined
    } catch (error) {
      log.error({ err: error, user: who.user.name, path }, describe(error))
      return refuse(500, error instanceof Error ? error.message : String(error))
    }
    log.debug({ method, path, user: who.user.name }, 'a request was forbidden')
    return refuse(403, forbiddenText(who.user.name, attributes))
  }
}
