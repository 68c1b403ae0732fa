// Which Events are told apart, counted or left out, so that a pod in trouble does not fill the apiserver's database.
// Remembers what was seen and nothing else: `now` comes in, no request goes out. Memory is bounded, the oldest is forgotten first.
// Follows client-go's event correlator: the same Event is counted; from the tenth message of one reason within ten minutes on they
// share one Event; an object has 25 Events at once and one more every five minutes.
import type { Millis } from '../../host/clock.ts'
import { rfc3339 } from '../status.ts'
import { type EventObject, eventName } from './event-object.ts'

const similarLimit = 10
const similarWithinMs = 10 * 60_000
const burst = 25
const msPerToken = 5 * 60_000
const remembered = 4096

export interface EventCorrelator {
  /**
   * What is to be written for something that happened: an Event of count 1 is new, one of a larger count has been written before
   * under the same name.
   * @returns nothing when the object has had too many
   */
  correlate(event: EventObject, now: Millis, serial: number): EventObject | undefined
}

/** Keeps the youngest entries. */
const createMemory = <T>() => {
  const entries = new Map<string, T>()
  return {
    get: (key: string): T | undefined => entries.get(key),
    set: (key: string, value: T): void => {
      entries.delete(key)
      entries.set(key, value)
      if (entries.size <= remembered) return
      for (const oldest of entries.keys()) {
        entries.delete(oldest)
        return
      }
    },
  }
}

const keyOf = (...parts: readonly (string | undefined)[]): string => parts.map(part => part ?? '').join('\0')

const objectKey = ({ source, involvedObject: o, type }: EventObject): string =>
  keyOf(source.component, source.host, o.kind, o.namespace, o.name, o.uid, o.apiVersion, type)

const exactKey = (event: EventObject): string =>
  keyOf(objectKey(event), event.involvedObject.fieldPath, event.reason, event.message)

const combined = (event: EventObject, now: Millis, serial: number): EventObject => ({
  ...event,
  metadata: { ...event.metadata, name: eventName(event.involvedObject.name, now, serial) },
  message: `(combined from similar events): ${event.message}`,
  firstTimestamp: rfc3339(now),
  lastTimestamp: rfc3339(now),
  count: 1,
})

export const createEventCorrelator = (): EventCorrelator => {
  const similar = createMemory<{ readonly messages: Set<string>; readonly last: Millis }>()
  const written = createMemory<Pick<EventObject, 'count' | 'firstTimestamp'> & { readonly name: string }>()
  const budgets = createMemory<{ readonly tokens: number; readonly at: Millis }>()

  const aggregate = (event: EventObject, now: Millis, serial: number): { readonly event: EventObject; readonly key: string } => {
    const key = keyOf(objectKey(event), event.reason, event.reportingComponent, event.reportingInstance)
    const before = similar.get(key)
    const messages = before === undefined || now - before.last > similarWithinMs ? new Set<string>() : before.messages
    messages.add(event.message)
    similar.set(key, { messages, last: now })
    if (messages.size < similarLimit) return { event, key: exactKey(event) }
    // One is forgotten, so that the set grows no further; which one does not matter.
    for (const message of messages) {
      messages.delete(message)
      break
    }
    return { event: combined(event, now, serial), key }
  }

  const count = (event: EventObject, key: string): EventObject => {
    const before = written.get(key)
    const counted =
      before === undefined
        ? event
        : {
            ...event,
            metadata: { ...event.metadata, name: before.name },
            firstTimestamp: before.firstTimestamp,
            count: before.count + 1,
          }
    written.set(key, { name: counted.metadata.name, firstTimestamp: counted.firstTimestamp, count: counted.count })
    return counted
  }

  const spend = (event: EventObject, now: Millis): boolean => {
    const key = objectKey(event)
    const { tokens, at } = budgets.get(key) ?? { tokens: burst, at: now }
    // A clock that was set back gives nothing and takes nothing.
    const left = Math.min(tokens + Math.max(now - at, 0) / msPerToken, burst)
    budgets.set(key, { tokens: left >= 1 ? left - 1 : left, at: now })
    return left >= 1
  }

  return {
    correlate: (event, now, serial) => {
      const { event: wanted, key } = aggregate(event, now, serial)
      const counted = count(wanted, key)
      return spend(counted, now) ? counted : undefined
    },
  }
}
