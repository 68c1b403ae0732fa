// Writes Events to the apiserver, in the order in which they happened, one at a time and never faster than configured.
// Nobody waits for it: what cannot be written yet is queued, what does not fit into the queue is counted and said in the log.
// Follows client-go's recorder and broadcaster (1,000 queued, 12 tries) and KubeletConfiguration eventRecordQPS and eventBurst.
import { events, type KubeApi } from '../../api/kube/api.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { describe, isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { createEventCorrelator } from './event-correlator.ts'
import { type EventObject, type EventSource, type EventType, type InvolvedObject, toEvent } from './event-object.ts'

export interface EventRecorderDeps {
  readonly api: Pick<KubeApi, 'create' | 'patch'>
  readonly clock: Clock
  readonly log: Log
  readonly source: EventSource
  /** eventRecordQPS; 0 for no limit. */
  readonly qps?: number
  /** eventBurst. */
  readonly burst?: number
  /** 0 to 1; spreads the first retries of many nodes. */
  readonly random?: () => number
}

export interface EventRecorder {
  /** Notes an Event; returns at once and never throws. */
  record(
    about: InvolvedObject,
    type: EventType,
    reason: string,
    message: string,
    annotations?: Readonly<Record<string, string>>,
  ): void
  /** Resolves when nothing is left to write, or after `timeoutMs`. */
  flush(timeoutMs: number): Promise<void>
  /** Writes nothing more. */
  stop(): void
}

const queueLimit = 1000
const tries = 12
const retryMs = 10_000
/** An Event that will be refused again however often it is sent. */
const isFinal = (error: unknown): boolean =>
  isFault(error, 'already-exists', 'api-refused', 'api-forbidden', 'not-found', 'api-conflict')

/** Lets `burst` pass at once and `qps` a second after that. */
const createPace = (clock: Clock, qps: number, burst: number) => {
  let tokens = burst
  let at: Millis = clock.monotonic()
  return async (signal: AbortSignal): Promise<void> => {
    if (qps <= 0) return
    const refill = () => {
      const now = clock.monotonic()
      tokens = Math.min(tokens + ((now - at) / 1000) * qps, burst)
      at = now
    }
    refill()
    if (tokens < 1) await clock.sleep(Math.ceil(((1 - tokens) / qps) * 1000), signal)
    refill()
    tokens -= 1
  }
}

const send = async (api: EventRecorderDeps['api'], event: EventObject, isNew: boolean, signal: AbortSignal): Promise<void> => {
  const { name, namespace = 'default' } = event.metadata
  if (!isNew) {
    const { count, message, lastTimestamp } = event
    try {
      await api.patch({ resource: events, namespace, name }, { count, message, lastTimestamp }, 'strategic', { signal })
      return
    } catch (error) {
      // It has been swept up meanwhile, or never got there: written anew with the count it has come to.
      if (!isFault(error, 'not-found')) throw error
    }
  }
  await api.create({ resource: events, namespace }, event, { signal })
}

export const createEventRecorder = (deps: EventRecorderDeps): EventRecorder => {
  const { api, clock, log, source, random = Math.random } = deps
  const correlator = createEventCorrelator()
  const stopping = new AbortController()
  const { signal } = stopping
  const pace = createPace(clock, deps.qps ?? 50, deps.burst ?? 100)
  // By name, in order: what happens again while it waits is written once, with the larger count.
  const waiting = new Map<string, { readonly event: EventObject; readonly isNew: boolean }>()
  let serial = 0
  let dropped = 0
  let isAway = false
  let draining: Promise<void> | undefined

  const write = async (event: EventObject, isNew: boolean): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      await pace(signal)
      try {
        await send(api, event, isNew, signal)
        if (isAway) log.info({ waiting: waiting.size }, 'Events are written again')
        isAway = false
        return
      } catch (error) {
        if (signal.aborted) throw error
        const { metadata, reason } = event
        const object = { namespace: metadata.namespace, event: metadata.name, reason, err: error }
        if (isFinal(error)) return log.warn(object, `the apiserver refused an Event: ${describe(error)}`)
        if (!isAway) log.warn(object, `Events cannot be written; trying again: ${describe(error)}`)
        isAway = true
        if (attempt >= tries) return log.error(object, `an Event was given up after ${attempt} tries: ${describe(error)}`)
        await clock.sleep(attempt === 1 ? retryMs * random() : retryMs, signal)
      }
    }
  }

  const drain = async (): Promise<void> => {
    // Callers go on first: nothing is sent in their turn.
    await Promise.resolve()
    try {
      for (const [name, { event, isNew }] of waiting) {
        waiting.delete(name)
        await write(event, isNew)
        if (waiting.size === 0 && dropped > 0) {
          log.error({ dropped }, `${dropped} Events were lost: more than ${queueLimit} were waiting to be written`)
          dropped = 0
        }
      }
    } finally {
      // In the turn of the last look at the queue: what comes after it starts anew.
      draining = undefined
    }
  }

  const enqueue = (event: EventObject): void => {
    const { name } = event.metadata
    const before = waiting.get(name)
    if (before === undefined && waiting.size >= queueLimit) {
      if (dropped === 0)
        log.warn({ reason: event.reason }, `more than ${queueLimit} Events wait to be written: the next ones are lost`)
      dropped += 1
      return
    }
    waiting.set(name, { event, isNew: before?.isNew ?? event.count === 1 })
    draining ??= drain().catch(error => {
      if (!signal.aborted) log.error({ err: error }, `Events cannot be written: ${describe(error)}`)
    })
  }

  return {
    record: (about, type, reason, message, annotations) => {
      if (signal.aborted) return
      const now = clock.now()
      serial += 2
      const happening = { about, type, reason, message, source, ...(annotations && { annotations }) }
      const event = correlator.correlate(toEvent(happening, now, serial), now, serial + 1)
      if (event === undefined) return log.debug({ reason, object: about.name }, 'too many Events of one object: left out')
      enqueue(event)
    },
    flush: async timeoutMs => {
      const over = clock.sleep(timeoutMs, signal).catch(() => undefined)
      while (draining !== undefined && !signal.aborted) {
        const done = await Promise.race([draining.then(() => true), over.then(() => false)])
        if (!done) return
      }
    },
    stop: () => stopping.abort(new Error('no more Events are written')),
  }
}
