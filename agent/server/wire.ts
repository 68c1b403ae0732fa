// What the daemon's unix socket speaks: the bodies of its answers, for the daemon and for the command line. Only types.
// Objects are the Kubernetes API's own, as `kubectl get -o json` prints them.
import type { KubeObject, Protocol } from '../../api/types.ts'

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

/** What `nodelet trace` asks: the way of a packet to a Service. */
export interface TraceQuery {
  /** A Service by its name, or `address:port`. */
  readonly target: string
  readonly namespace: string
  /** Who calls: what it is called, and its addresses. */
  readonly from: { readonly name: string; readonly ips: readonly string[] } | undefined
  readonly protocol: Protocol | undefined
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
