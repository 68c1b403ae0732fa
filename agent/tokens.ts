// The tokens of service accounts that pods find in their volumes: asked for, kept, and renewed well before they expire.
// Who writes them into files is agent/volumes. A token is never logged and never part of a message.
// Follows the kubelet's token manager: renewed at 80 % of its life or after 24 hours; one that cannot be renewed is used while it
// is valid. Unlike there, a valid token never waits for a renewal: a container restarts at once with the apiserver away.
import { type KubeApi, serviceAccounts } from '../api/kube/api.ts'
import type { KubeObject } from '../api/meta.ts'
import { fullName, namespaceOf } from '../api/pod.ts'
import type { Pod } from '../api/types.ts'
import type { Clock, Millis, Timer } from '../host/clock.ts'
import { describe, Fault } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import type { TokenProvider } from './volumes/executors.ts'
import type { TokenSource } from './volumes/plan.ts'

interface TokenRequest extends KubeObject {
  readonly spec: { readonly expirationSeconds?: number }
  readonly status: { readonly token: string; readonly expirationTimestamp: string }
}

/** Everything by which a token is asked for. */
interface TokenWish {
  readonly podUid: string
  readonly podName: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly audience: string
  readonly expirationSeconds: number
}

/** A token as it may be kept on the disk, in a file for root alone. */
export interface SavedToken extends TokenWish {
  readonly token: string
  readonly expiresAt: Millis
  readonly renewAt: Millis
}

export interface TokensDeps {
  readonly api: Pick<KubeApi, 'create'>
  readonly clock: Clock
  readonly log: Log
  /** A pod's token has been renewed: its volumes are to be brought up to date. */
  readonly onRenewed: (podUid: string) => void
  /** Tokens of an earlier run; those that have expired are left out. */
  readonly remembered?: readonly SavedToken[]
  /** The set of tokens has changed, for whoever keeps `saved()`. */
  readonly onChange?: () => void
  /** 0 to 1, for the jitter; default Math.random. */
  readonly random?: () => number
}

export interface Tokens extends TokenProvider {
  saved(): readonly SavedToken[]
  stop(): void
}

const longestUseMs = 24 * 3_600_000
const longestJitterMs = 10_000
const sweepMs = 60_000

const keyOf = (wish: TokenWish): string =>
  JSON.stringify([wish.podUid, wish.namespace, wish.serviceAccount, wish.audience, wish.expirationSeconds])

const wishOf = (pod: Pod, { audience, expirationSeconds }: TokenSource): TokenWish => ({
  podUid: pod.metadata.uid ?? '',
  podName: pod.metadata.name,
  namespace: namespaceOf(pod),
  // admission of the apiserver always fills it in
  serviceAccount: pod.spec.serviceAccountName || 'default',
  audience,
  expirationSeconds,
})

const toRequest = (wish: TokenWish): object => ({
  apiVersion: 'authentication.k8s.io/v1',
  kind: 'TokenRequest',
  metadata: {},
  spec: {
    audiences: wish.audience === '' ? [] : [wish.audience],
    expirationSeconds: wish.expirationSeconds,
    // the token dies with the pod
    boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: wish.podName, uid: wish.podUid },
  },
})

/** When a token of this life is to be renewed. @param jitterMs so that the tokens of pods that came together part */
export const renewalTime = (expiresAt: Millis, lifeMs: number, jitterMs: number): Millis =>
  Math.min(expiresAt - lifeMs + longestUseMs, expiresAt - 0.2 * lifeMs) - jitterMs

interface Claims {
  readonly iat?: number
  readonly exp?: number
  readonly aud?: string | readonly string[]
  readonly 'kubernetes.io'?: {
    readonly namespace?: string
    readonly warnafter?: number
    readonly pod?: { readonly uid?: string }
    readonly serviceaccount?: { readonly name?: string }
  }
}

const claimsOf = (token: string): Claims | undefined => {
  try {
    return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Claims
  } catch {
    return undefined
  }
}

/** A token that a volume of the pod holds already, when it is what is wished for; undefined when it is anything else. */
export const adoptable = (wish: TokenWish, token: string, jitterMs: number): SavedToken | undefined => {
  const claims = claimsOf(token)
  const own = claims?.['kubernetes.io']
  const audiences = [claims?.aud ?? []].flat()
  // an apiserver may let tokens live for a year and name the time that was asked for beside it
  const expires = own?.warnafter ?? claims?.exp
  const isOurs =
    own?.pod?.uid === wish.podUid &&
    own.namespace === wish.namespace &&
    own.serviceaccount?.name === wish.serviceAccount &&
    (wish.audience === '' || (audiences.length === 1 && audiences[0] === wish.audience))
  if (!isOurs || claims?.iat === undefined || expires === undefined) return undefined
  const expiresAt = expires * 1000
  return { ...wish, token, expiresAt, renewAt: renewalTime(expiresAt, expiresAt - claims.iat * 1000, jitterMs) }
}

export const createTokens = (deps: TokensDeps): Tokens => {
  const { api, clock, log, random = Math.random } = deps
  const tokens = new Map<string, SavedToken>()
  /** Of an earlier run, until their pods ask for them: others are not renewed. */
  const remembered = new Map((deps.remembered ?? []).map(token => [keyOf(token), token]))
  const asking = new Map<string, Promise<SavedToken>>()
  const gone = new Set<string>()
  let sweeping: Timer | undefined
  const jitter = () => random() * longestJitterMs
  const isValid = ({ expiresAt }: SavedToken): boolean => clock.now() < expiresAt

  const keep = (token: SavedToken): SavedToken => {
    tokens.set(keyOf(token), token)
    deps.onChange?.()
    sweepLater()
    return token
  }

  const request = async (wish: TokenWish): Promise<SavedToken> => {
    const { serviceAccount: name, namespace } = wish
    const target = { resource: serviceAccounts, namespace, name, subresource: 'token' }
    const { spec, status } = await api.create<TokenRequest>(target, toRequest(wish))
    const lifeMs = (spec.expirationSeconds ?? wish.expirationSeconds) * 1000
    const told = Date.parse(status.expirationTimestamp)
    const expiresAt = Number.isNaN(told) ? clock.now() + lifeMs : told
    const token = { ...wish, token: status.token, expiresAt, renewAt: renewalTime(expiresAt, lifeMs, jitter()) }
    // the pod may have gone while the answer was under way
    return gone.has(wish.podUid) ? token : keep(token)
  }

  /** Asks for a token once for all who want it at the same time. */
  const ask = (wish: TokenWish): Promise<SavedToken> => {
    const key = keyOf(wish)
    const under = asking.get(key)
    if (under !== undefined) return under
    const answer = request(wish).finally(() => asking.delete(key))
    asking.set(key, answer)
    return answer
  }

  const renew = async (token: SavedToken): Promise<void> => {
    try {
      await ask(token)
      if (!gone.has(token.podUid)) deps.onRenewed(token.podUid)
    } catch (error) {
      const fields = { pod: `${token.namespace}/${token.podName}`, serviceAccount: token.serviceAccount, err: error }
      const until = new Date(token.expiresAt).toISOString()
      log.warn(fields, `a service account token could not be renewed, it is valid until ${until}: ${describe(error)}`)
    }
  }

  const adopted = async (wish: TokenWish, present: (() => Promise<string | undefined>) | undefined) => {
    const token = await present?.()
    return token === undefined ? undefined : adoptable(wish, token, jitter())
  }

  /** By the wall clock, looked at every minute: a machine that slept, or whose time jumped, renews soon after. */
  const sweepLater = (): void => {
    if (tokens.size === 0) return
    sweeping ??= clock.after(sweepMs, () => {
      sweeping = undefined
      for (const token of tokens.values()) if (clock.now() >= token.renewAt) void renew(token)
      sweepLater()
    })
  }

  return {
    token: async (pod, wanted, present) => {
      const wish = wishOf(pod, wanted)
      gone.delete(wish.podUid)
      const key = keyOf(wish)
      const before = tokens.get(key) ?? remembered.get(key) ?? (await adopted(wish, present))
      if (before !== undefined && isValid(before)) return (tokens.get(key) ?? keep(before)).token
      try {
        return (await ask(wish)).token
      } catch (error) {
        const message = before === undefined ? 'failed to fetch token' : 'token expired and refresh failed'
        throw new Fault('volume', `${message}: ${describe(error)}`, { cause: error, object: `pod ${fullName(pod)}` })
      }
    },
    forget: podUid => {
      gone.add(podUid)
      for (const known of [tokens, remembered]) {
        for (const [key, token] of known) if (token.podUid === podUid) known.delete(key)
      }
      deps.onChange?.()
      // what is asked for now is the only reason to remember that the pod is gone
      Promise.allSettled(asking.values()).then(() => gone.delete(podUid))
    },
    saved: () => [...new Map([...remembered, ...tokens]).values()].filter(isValid),
    stop: () => sweeping?.cancel(),
  }
}
