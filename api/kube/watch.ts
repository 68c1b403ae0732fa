// Reads one watch (or a list that is streamed as one) as events until the server ends it.
// Keeps no objects and opens nothing again: reflector.ts does. A stream on which nothing comes for too long is given up here.
// Follows the API concepts page on watches: one JSON object per line, BOOKMARK and ERROR events.
import type { Clock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import type { KubeObject } from '../meta.ts'
import { type Status, statusFault, wireFault } from './answer-faults.ts'
import { givenUp, type Opened } from './caller.ts'
import { createLineCutter } from './json-lines.ts'

export interface WatchEvent<T extends KubeObject> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  readonly object: T
}

export interface WatchHooks<T extends KubeObject> {
  /** The server has taken the watch; events follow. */
  opened?(): void
  event(event: WatchEvent<T>): void
  /** For how many milliseconds without any byte the stream is believed to live; asked anew after each silence. */
  idleMs(): number
}

/** Who wrote which field when: a third of most objects, and nobody here reads it. */
export const dropManagedFields = <T extends KubeObject>(object: T): T => {
  delete (object.metadata as { managedFields?: unknown }).managedFields
  return object
}

const parseEvent = <T extends KubeObject>(what: string, line: string): WatchEvent<T> => {
  let event: { readonly type?: string; readonly object?: unknown }
  try {
    event = JSON.parse(line) as typeof event
  } catch (error) {
    const shown = line.length > 80 ? `${line.slice(0, 80)}…` : line
    throw new Fault('api-away', `${what}: a torn line in the watch: ${shown}`, { cause: error, reason: 'TornLine' })
  }
  if (event.type === 'ERROR') {
    const status = event.object as Status
    throw statusFault(what, status.code ?? 500, status)
  }
  const isKnown = event.type === 'ADDED' || event.type === 'MODIFIED' || event.type === 'DELETED' || event.type === 'BOOKMARK'
  const { metadata } = (event.object ?? {}) as Partial<KubeObject>
  if (!isKnown || metadata === undefined)
    throw new Fault('api-away', `${what}: a line in the watch that is no event: ${line.slice(0, 80)}`, { reason: 'TornLine' })
  return { type: event.type as WatchEvent<T>['type'], object: dropManagedFields(event.object as T) }
}

/** Calls `expired` when nothing was `seen` for as long as `idleMs` says. One timer, however many bytes come. */
const watchSilence = (clock: Clock, idleMs: () => number, expired: (afterMs: number) => void) => {
  let seenAt = clock.monotonic()
  const check = () => {
    const leftMs = seenAt + idleMs() - clock.monotonic()
    if (leftMs > 0) timer = clock.after(leftMs, check)
    else expired(clock.monotonic() - seenAt)
  }
  let timer = clock.after(idleMs(), check)
  return {
    seen: () => {
      seenAt = clock.monotonic()
    },
    end: () => timer.cancel(),
  }
}

/**
 * Resolves when the server ends the stream properly or the credentials were replaced, so that it is to be opened again.
 * @param open opens it with the signal that ends it
 * @throws Fault `api-away` for a torn or silent stream, else what the ERROR event says (`api-expired` for 410)
 */
export const readWatch = async <T extends KubeObject>(
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal | undefined },
  open: (signal: AbortSignal) => Promise<Opened>,
  hooks: WatchHooks<T>,
): Promise<void> => {
  const controller = new AbortController()
  const giveUp = () =>
    controller.abort(new Fault('api-away', 'watch: given up by the caller', { cause: signal?.reason, reason: givenUp }))
  if (signal?.aborted) giveUp()
  signal?.addEventListener('abort', giveUp, { once: true })
  const silence = watchSilence(clock, hooks.idleMs, afterMs =>
    controller.abort(new Fault('api-away', `watch: nothing came for ${Math.round(afterMs / 1000)} s`)),
  )
  try {
    const opened = await open(controller.signal)
    silence.seen()
    hooks.opened?.()
    await readEvents(opened, controller.signal, silence.seen, hooks.event)
  } finally {
    silence.end()
    signal?.removeEventListener('abort', giveUp)
  }
}

const readEvents = async <T extends KubeObject>(
  { what, answer, link }: Opened,
  signal: AbortSignal,
  seen: () => void,
  onEvent: (event: WatchEvent<T>) => void,
): Promise<void> => {
  const { body } = answer
  const { promise: ended, resolve, reject } = Promise.withResolvers<void>()
  const onRetired = () => {
    body.destroy()
    // When the caller gave up at the same moment, that is what it hears.
    if (signal.aborted) reject(signal.reason)
    else resolve()
  }
  const cutter = createLineCutter(line => onEvent(parseEvent(what, line)))
  body.on('data', (chunk: Buffer) => {
    seen()
    try {
      cutter.push(chunk)
    } catch (error) {
      reject(error)
      body.destroy()
    }
  })
  body.on('end', () =>
    cutter.heldBytes === 0
      ? resolve()
      : reject(new Fault('api-away', `${what}: the stream ended within a line`, { reason: 'TornLine' })),
  )
  body.on('error', error => reject(signal.aborted ? signal.reason : wireFault(what, error, link.config)))
  body.on('close', () => reject(signal.aborted ? signal.reason : new Fault('api-away', `${what}: the stream was cut off`)))
  link.retired.addEventListener('abort', onRetired, { once: true })
  if (link.retired.aborted) onRetired()
  try {
    await ended
  } finally {
    link.retired.removeEventListener('abort', onRetired)
  }
}
