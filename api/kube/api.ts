// What the daemon asks of an apiserver: the seam between everybody who talks to it and client.ts, which does.
// Follows the Kubernetes API conventions (sig-architecture/api-conventions.md): verbs, Status objects, patch types, preconditions.
import type { KubeObject } from '../meta.ts'

/** One resource type of the API: `{ group: 'apps', version: 'v1', plural: 'deployments' }`; the core group is the empty one. */
export interface Resource {
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly namespaced: boolean
}

export interface ObjectRef {
  readonly resource: Resource
  /** Left out for cluster-wide resources. */
  readonly namespace?: string
  readonly name: string
  /** `status`, `token`, `ephemeralcontainers`. */
  readonly subresource?: string
}

export type PatchType = 'merge' | 'strategic' | 'json'

export interface DeleteOptions {
  readonly gracePeriodSeconds?: number
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string }
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground'
}

export interface CallOptions {
  readonly signal?: AbortSignal
  /** Milliseconds until the call is given up; 30,000 when not given. */
  readonly timeoutMs?: number
}

/**
 * All calls reject with a Fault: `api-away` (no answer, torn answer, 5xx), `api-busy` (429, with retryAfterMs), `api-unauthorized` (401),
 * `api-forbidden` (403), `not-found` (404), `already-exists` (409 of a create), `api-conflict` (409 else), `api-expired` (410),
 * `api-refused` (every other 4xx), `certificate` (ours or the server's is not trusted or has expired), `bad-config` (the kubeconfig).
 * Its message carries the Status message, its `reason` the Status reason (`Invalid`, …).
 * 429 and 503 with Retry-After (an apiserver that starts or is overloaded) are waited for and asked again inside, as long as the deadline
 * allows it; nothing else is retried.
 */
export interface KubeApi {
  get<T extends KubeObject>(ref: ObjectRef, options?: CallOptions): Promise<T>
  /** @param query such as `{ fieldSelector: 'spec.nodeName=n1', resourceVersion: '0' }` */
  list<T extends KubeObject>(
    resource: Resource,
    query: Readonly<Record<string, string>>,
    options?: CallOptions & { readonly namespace?: string },
  ): Promise<{ readonly items: readonly T[]; readonly resourceVersion: string }>
  /** `T` is what comes back: for a subresource such as `token` not what was sent. */
  create<T extends KubeObject>(
    target: Omit<ObjectRef, 'name'> & { readonly name?: string },
    body: object,
    options?: CallOptions,
  ): Promise<T>
  update<T extends KubeObject>(ref: ObjectRef, body: T, options?: CallOptions): Promise<T>
  patch<T extends KubeObject>(ref: ObjectRef, patch: object, type: PatchType, options?: CallOptions): Promise<T>
  delete(ref: ObjectRef, how?: DeleteOptions, options?: CallOptions): Promise<void>
}

export const pods: Resource = { group: '', version: 'v1', plural: 'pods', namespaced: true }
export const nodes: Resource = { group: '', version: 'v1', plural: 'nodes', namespaced: false }
export const services: Resource = { group: '', version: 'v1', plural: 'services', namespaced: true }
export const configMaps: Resource = { group: '', version: 'v1', plural: 'configmaps', namespaced: true }
export const secrets: Resource = { group: '', version: 'v1', plural: 'secrets', namespaced: true }
export const claims: Resource = { group: '', version: 'v1', plural: 'persistentvolumeclaims', namespaced: true }
export const persistentVolumes: Resource = { group: '', version: 'v1', plural: 'persistentvolumes', namespaced: false }
export const serviceAccounts: Resource = { group: '', version: 'v1', plural: 'serviceaccounts', namespaced: true }
export const events: Resource = { group: '', version: 'v1', plural: 'events', namespaced: true }
export const endpointSlices: Resource = { group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices', namespaced: true }
export const leases: Resource = { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', namespaced: true }
export const runtimeClasses: Resource = { group: 'node.k8s.io', version: 'v1', plural: 'runtimeclasses', namespaced: false }
export const certificateSigningRequests: Resource = {
  group: 'certificates.k8s.io',
  version: 'v1',
  plural: 'certificatesigningrequests',
  namespaced: false,
}
export const tokenReviews: Resource = { group: 'authentication.k8s.io', version: 'v1', plural: 'tokenreviews', namespaced: false }
export const subjectAccessReviews: Resource = {
  group: 'authorization.k8s.io',
  version: 'v1',
  plural: 'subjectaccessreviews',
  namespaced: false,
}
