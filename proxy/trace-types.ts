// What a trace is asked, and what it answers: the way of a packet to a Service, as values. Types only; trace-text.ts puts them into words.
import type { Protocol } from '../api/meta.ts'
import type { Flow } from '../host/conntrack.ts'
import type { Piece, Remembered } from './inspect-types.ts'
import type { FrontendKind, Refusal } from './model.ts'

export type { TraceQuery } from '../api/trace-query.ts'

/** How the rules tell callers apart. */
export type CallerKind = 'pod' | 'node' | 'elsewhere'

/** What becomes of the first packet of a connection. */
export interface Outcome {
  readonly callers: readonly CallerKind[]
  readonly does: 'translate' | Refusal
  /** `address:port` of each endpoint that may be drawn. */
  readonly to: readonly string[]
  readonly masqueraded: boolean
  /** Why it is refused or masqueraded, or why not. */
  readonly why: string
}

export interface EndpointTrace {
  readonly address: string
  /** The pod behind it, where the slice tells, and its node. */
  readonly pod: string | undefined
  readonly node: string | undefined
  readonly used: 'yes' | 'inside' | 'no'
  readonly why: string
}

/** What the kernel has, held against what is wanted. */
export interface KernelTrace {
  readonly place: string
  readonly pieces: readonly Piece[]
  readonly notAsked: number
  readonly remembered: readonly Remembered[]
}

export type Verdict = 'same' | 'differs' | 'not-written' | 'other-owner' | 'unknown'

export interface FrontendTrace {
  readonly kind: FrontendKind
  /** `10.96.0.1:80`; a node port is `*:30080`. */
  readonly address: string
  readonly protocol: Protocol
  readonly portName: string
  readonly policy: readonly string[]
  readonly outcomes: readonly Outcome[]
  readonly endpoints: readonly EndpointTrace[]
  readonly kernel: KernelTrace | undefined
  readonly flows: readonly Flow[] | undefined
  /** There are more flows than these. */
  readonly moreFlows: boolean
  readonly verdict: Verdict
  readonly verdictText: string
}

export interface Trace {
  readonly target: string
  readonly from: string | undefined
  /** namespace/name of the Service that it is about; undefined when there is none. */
  readonly service: string | undefined
  /** What is to be known of the Service or the address as a whole, such as why nothing is routed. */
  readonly notes: readonly string[]
  readonly frontends: readonly FrontendTrace[]
}
