// What the daemon's unix socket speaks: the bodies of its answers, for the daemon and for the command line. Only types.
// Objects are the Kubernetes API's own, as `kubectl get -o json` prints them.
import type { KubeObject } from '../../api/meta.ts'

export type { KubeObject } from '../../api/meta.ts'
export type { ContainerStatus } from '../../api/pod-status.ts'
export type { EndpointSlice, Service } from '../../api/service-types.ts'
export type { TraceQuery } from '../../api/trace-query.ts'
export type { Pod } from '../../api/types.ts'
export type { ErrorBody } from '../../host/answer.ts'

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

/** One piece of the kernel that is not as it should be. */
export interface Difference {
  /** `table ip nodelet-proxy` */
  readonly place: string
  readonly kind: 'missing' | 'foreign' | 'different'
  readonly what: string
  readonly wanted?: string | undefined
  readonly found?: string | undefined
}

/** What the kernel holds of Services, against what it should. */
export interface Diff {
  readonly same: boolean
  /** The mode of the proxy: nftables, iptables. */
  readonly mode: string
  readonly compared: number
  readonly differences: readonly Difference[]
}
