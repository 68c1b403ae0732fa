// Whether somebody may do what they ask: the apiserver decides (SubjectAccessReview), its answers hold for a while.
// Follows the kubelet's delegated authorization: one allowed subresource is enough, and an answer that was not got is no answer.
import { type KubeApi, subjectAccessReviews } from '../../api/kube/api.ts'
import type { KubeObject } from '../../api/meta.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import type { Attributes } from './attributes.ts'
import type { User } from './authenticate.ts'
import { createTtlCache } from './ttl-cache.ts'

/** @throws Fault of the call when the apiserver could not be asked; its message is the kubelet's, with the subresource asked about */
export type Authorize = (user: User, attributes: Attributes) => Promise<boolean>

export const alwaysAllow: Authorize = async () => true

export interface AuthorizeDeps {
  readonly api: Pick<KubeApi, 'create'>
  readonly nodeName: string
  readonly allowedTtlMs: Millis
  readonly deniedTtlMs: Millis
  readonly clock: Pick<Clock, 'monotonic'>
}

interface AccessReview extends KubeObject {
  readonly status?: { readonly allowed?: boolean; readonly denied?: boolean }
}

const answersKept = 8192
/** A question longer than this is asked every time: nobody fills the cache with names of their own making. */
const longestKey = 10_000

export const createAuthorize = ({ api, nodeName, allowedTtlMs, deniedTtlMs, clock }: AuthorizeDeps): Authorize => {
  const cache = createTtlCache<boolean>({ clock, limit: answersKept })
  const ask = async (spec: object) => {
    const body = { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', metadata: {}, spec }
    const { status } = await api.create<AccessReview>({ resource: subjectAccessReviews }, body)
    const value = status?.allowed === true && status.denied !== true
    return { value, ttlMs: value ? allowedTtlMs : deniedTtlMs }
  }
  return async ({ name, uid, groups, extra }, { verb, subresources }) => {
    for (const subresource of subresources) {
      const spec = {
        resourceAttributes: { verb, version: 'v1', resource: 'nodes', subresource, name: nodeName },
        ...{ user: name, groups },
        ...(uid && { uid }),
        ...(extra && { extra }),
      }
      const key = JSON.stringify(spec)
      try {
        if (key.length > longestKey ? (await ask(spec)).value : await cache.get(key, () => ask(spec))) return true
      } catch (cause) {
        const what = `Authorization error (user=${name}, verb=${verb}, resource=nodes, subresource=${subresource})`
        throw new Fault('api-away', what, { cause })
      }
    }
    return false
  }
}
