// What the daemon's unix socket speaks: the bodies of its answers, for the daemon and for the command line. Only types.
// Objects are the Kubernetes API's own, as `kubectl get -o json` prints them.
import type { KubeObject } from '../../api/types.ts'

export type { ContainerStatus, EndpointSlice, KubeObject, Pod, Service } from '../../api/types.ts'

export interface List<T extends KubeObject = KubeObject> {
  readonly apiVersion: 'v1'
  readonly kind: 'List'
  readonly metadata: { readonly resourceVersion: '' }
  readonly items: readonly T[]
}

/** Something that is wrong on this node now, such as a manifest that cannot be used. */
export interface Problem {
  /** RFC 3339. */
  readonly since: string
  /** The fault's code, as docs/errors.md lists it. */
  readonly code: string
  /** What it is about: `pod default/web`, `file /etc/…/web.yaml`. */
  readonly object: string
  readonly message: string
}

export interface Problems {
  readonly items: readonly Problem[]
}

/** The body of every answer that is not a success. */
export interface ErrorBody {
  readonly code: string
  readonly message: string
}
