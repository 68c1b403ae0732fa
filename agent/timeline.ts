// What happened to each pod, stage by stage: spans with their durations, what it waits for, and its last error.
// Only remembers, in bounded space: the newest pods and spans stay, ended pods are kept for a while so that `why` can explain them.
// Filled by whoever does the work (agent/steps.ts and others); shown by agent/timeline-text.ts.

import type { Pod } from '../api/types.ts'
import type { Clock, Millis } from '../host/clock.ts'
import { describe, isFault } from '../host/fault.ts'

export interface Span {
  /** seen, admitted, volumes, sandbox, cni, image, create, start, postStart, probe, kill, stop, …: shown as it is. */
  readonly stage: string
  readonly container?: string
  readonly startedAt: Millis
  /** Missing while it goes on. */
  readonly endedAt?: Millis
  readonly detail?: string
  readonly error?: string
}

export interface TimelineError {
  readonly at: Millis
  readonly stage: string
  readonly message: string
  /** The fault's code, as docs/errors.md lists it. */
  readonly code?: string
}

export interface PodTimeline {
  readonly podUid: string
  /** In the order in which they began. */
  readonly spans: readonly Span[]
  /** Older spans that are not kept any more. */
  readonly dropped: number
  readonly waitingFor?: string
  /** The code of the fault that it waits to be over, as docs/errors.md lists it. */
  readonly waitingCode?: string
  readonly lastError?: TimelineError
  /** When the pod was gone from this node. */
  readonly endedAt?: Millis
}

/** Ends a span, with the error that ended it if there was one. */
export type EndSpan = (error?: unknown) => void

export interface Timeline {
  /** A span that is over (or a moment, when `endedAt` equals `startedAt`). */
  record(podUid: string, span: Span): void
  /** A span that begins now. */
  begin(podUid: string, span: Omit<Span, 'startedAt' | 'endedAt' | 'error'>): EndSpan
  /** What the pod waits for now, and the code of the fault behind it; undefined when it waits for nothing. */
  waiting(podUid: string, reason: string | undefined, code?: string): void
  /** The pod is gone from this node; it and its timeline stay for a while. */
  ended(pod: Pod): void
  /** The pods that ended and are still remembered, as they were last. */
  gone(): readonly Pod[]
  of(podUid: string): PodTimeline | undefined
}

export interface TimelineDeps {
  readonly clock: Pick<Clock, 'now'>
  readonly maxPods?: number
  readonly maxSpans?: number
  /** How long an ended pod is kept; default 15 minutes. */
  readonly keepEndedMs?: number
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
interface Entry {
  spans: Mutable<Span>[]
  dropped: number
  waitingFor: string | undefined
  waitingCode: string | undefined
  lastError: TimelineError | undefined
  endedAt: Millis | undefined
  pod: Pod | undefined
}

// The first spans tell how the pod started, and stay; what goes is the oldest of the rest.
const keptFromStart = 16

// A probe's answer may be a whole page; a line of it tells enough.
const longestText = 400

const toLine = (text: string): string => {
  const line = text.slice(0, longestText).replace(/\s+/g, ' ').trim()
  return text.length > longestText ? `${line} …` : line
}

export const createTimeline = ({ clock, maxPods = 512, maxSpans = 64, keepEndedMs = 15 * 60_000 }: TimelineDeps): Timeline => {
  const entries = new Map<string, Entry>()

  const makeRoom = () => {
    const now = clock.now()
    for (const [uid, { endedAt }] of entries) if (endedAt !== undefined && endedAt + keepEndedMs < now) entries.delete(uid)
    if (entries.size < maxPods) return
    const [oldestEnded] = [...entries].find(([, { endedAt }]) => endedAt !== undefined) ?? [...entries.keys()]
    if (oldestEnded !== undefined) entries.delete(oldestEnded)
  }

  const entryOf = (podUid: string): Entry => {
    const known = entries.get(podUid)
    if (known !== undefined) return known
    makeRoom()
    const entry: Entry = {
      spans: [],
      dropped: 0,
      waitingFor: undefined,
      waitingCode: undefined,
      lastError: undefined,
      endedAt: undefined,
      pod: undefined,
    }
    entries.set(podUid, entry)
    return entry
  }

  const add = (podUid: string, span: Mutable<Span>): Entry => {
    const entry = entryOf(podUid)
    if (span.detail !== undefined) span.detail = toLine(span.detail)
    if (span.error !== undefined) span.error = toLine(span.error)
    entry.spans.push(span)
    if (entry.spans.length > maxSpans) {
      entry.spans.splice(Math.min(keptFromStart, maxSpans - 1), 1)
      entry.dropped++
    }
    return entry
  }

  /** What fails again in the same way makes the line of the last time longer, or a probe would push everything else out. */
  const again = (
    podUid: string,
    { stage, container, error, detail, startedAt, endedAt = startedAt }: Span,
  ): Entry | undefined => {
    const entry = entries.get(podUid)
    const last = entry?.spans.findLast(it => it.stage === stage && it.container === container)
    if (error === undefined || last?.error !== toLine(error) || last.detail !== detail) return undefined
    last.endedAt = endedAt
    return entry
  }

  return {
    record: (podUid, span) => {
      const entry = again(podUid, span) ?? add(podUid, { ...span })
      if (span.error !== undefined) {
        entry.lastError = { at: span.endedAt ?? span.startedAt, stage: span.stage, message: toLine(span.error) }
      }
    },
    begin: (podUid, begun) => {
      const span: Mutable<Span> = { ...begun, startedAt: clock.now() }
      const entry = add(podUid, span)
      return error => {
        if (span.endedAt !== undefined) return
        span.endedAt = clock.now()
        if (error === undefined) return
        span.error = toLine(describe(error))
        // What failed inside (the network, within a sandbox) knows better what it was than those whom it was told through others.
        const inner = entry.lastError?.code && span.error.includes(entry.lastError.message) ? entry.lastError.code : undefined
        const code = inner ?? (isFault(error) ? error.code : undefined)
        entry.lastError = { at: span.endedAt, stage: span.stage, message: span.error, ...(code && { code }) }
      }
    },
    waiting: (podUid, reason, code) => {
      if (reason === undefined && !entries.has(podUid)) return
      const entry = entryOf(podUid)
      entry.waitingFor = reason
      entry.waitingCode = reason === undefined ? undefined : code
    },
    ended: pod => {
      const podUid = pod.metadata.uid ?? ''
      const entry = entries.get(podUid)
      if (entry === undefined) return
      entry.endedAt = clock.now()
      entry.waitingFor = undefined
      entry.waitingCode = undefined
      entry.pod = pod
      // To the end of the line: the order of the map is the order in which room is made.
      entries.delete(podUid)
      entries.set(podUid, entry)
    },
    gone: () => [...entries.values()].flatMap(({ pod }) => (pod === undefined ? [] : [pod])),
    of: podUid => {
      const entry = entries.get(podUid)
      if (entry === undefined) return undefined
      const { spans, dropped, waitingFor, waitingCode, lastError, endedAt } = entry
      return {
        podUid,
        spans: spans.map(span => ({ ...span })),
        dropped,
        ...(waitingFor !== undefined && { waitingFor }),
        ...(waitingCode !== undefined && { waitingCode }),
        ...(lastError && { lastError }),
        ...(endedAt !== undefined && { endedAt }),
      }
    },
  }
}
