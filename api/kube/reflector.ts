// Keeps a copy of the objects of one resource in step with the apiserver and offers it as a Source: a streamed list that goes on as a
// watch, watches resumed from the last version, lists again when that version is gone. Never gives up, never spins.
// Connects nothing itself and decides nothing about the objects. Follows client-go's reflector (intervals, back-off, RV of lists).
import type { Clock } from '../../host/clock.ts'
import { Fault, isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import type { KubeObject } from '../meta.ts'
import { createStore, keyOf, type Source, type Store } from '../source.ts'
import type { Resource } from './api.ts'
import { createBackoff } from './backoff.ts'
import type { KubeClient, Query } from './client.ts'
import type { WatchEvent } from './watch.ts'

export interface Reflector<T extends KubeObject> extends Source<T> {
  /** Why the copy may be behind at this moment, or undefined while it is kept in step. */
  problem(): Fault | undefined
  /** Ends for good; what is held stays readable. */
  stop(): void
}

export interface ReflectorDeps<T extends KubeObject> {
  readonly client: Pick<KubeClient, 'watch' | 'pages' | 'onBack' | 'lists'>
  readonly resource: Resource
  readonly namespace?: string
  readonly fieldSelector?: string
  readonly labelSelector?: string
  readonly clock: Clock
  readonly log: Log
  /** Makes an object smaller before it is kept; may change the object it is given, which nobody else holds. */
  readonly trim?: (object: T) => T
  /** As Math.random; for tests. */
  readonly random?: () => number
}

/** What a list says of an object that is held: nothing new, the same one changed, or another one of that name. */
const isSame = (held: KubeObject | undefined, told: KubeObject): boolean =>
  held !== undefined &&
  held.metadata.uid === told.metadata.uid &&
  held.metadata.resourceVersion !== undefined &&
  held.metadata.resourceVersion === told.metadata.resourceVersion

/** A store that can be told a whole list: what the list leaves out goes, what it holds unchanged stays the same object. */
const createCopy = <T extends KubeObject>(trim: (object: T) => T) => {
  const store: Store<T> = createStore<T>()
  let listed: Set<string> | undefined
  const put = (object: T) => {
    const { namespace = '', name, uid } = object.metadata
    listed?.add(keyOf(object))
    const held = store.get(namespace, name)
    if (isSame(held, object)) return
    // Deleted and made again while nobody looked: consumers see the old one go.
    if (held !== undefined && held.metadata.uid !== uid) store.remove(namespace, name)
    store.put(trim(object))
  }
  return {
    store,
    put,
    remove: ({ metadata: { namespace = '', name } }: T) => {
      listed?.delete(`${namespace}/${name}`)
      store.remove(namespace, name)
    },
    listBegins: () => {
      listed = new Set()
    },
    listEnds: () => {
      const gone = listed === undefined ? [] : store.list().filter(object => !listed?.has(keyOf(object)))
      listed = undefined
      for (const { metadata } of gone) store.remove(metadata.namespace ?? '', metadata.name)
      store.markSynced()
    },
  }
}

// A watch asks to be ended after five to ten minutes, each after another time, so that many nodes do not ask at once.
const shortestWatchSeconds = 300
// The server ends a watch by itself at its time; when that does not come either, the connection is dead.
const marginMs = 30_000
// While a list streams, something comes all the time; an empty one ends with its bookmark at once.
const listIdleMs = 30_000
// A watch that ended sooner was no success, whatever it delivered: asking again at once could go on for ever.
const shortWatchMs = 1000
const initialEventsEnd = 'k8s.io/initial-events-end'

/** Servers before 1.32 refuse what asks for a streamed list; those over an etcd before 3.4.25 take it and then say ERROR. */
const lacksStreaming = (error: unknown): boolean =>
  (isFault(error, 'api-refused') && (error.reason === 'Invalid' || error.reason === 'BadRequest')) ||
  (isFault(error, 'api-away') && /storage feature \w+ is disabled/.test(error.message))

/** The apiserver's data are older than what we saw (an etcd restored from a backup): any version will do then. */
const isTooNew = (error: unknown): boolean => error instanceof Fault && /too large resource version/i.test(error.message)

interface Follow<T extends KubeObject> {
  readonly deps: ReflectorDeps<T>
  readonly copy: ReturnType<typeof createCopy<T>>
  readonly signal: AbortSignal
  readonly random: () => number
  /** The last version seen; `0` before the first list (any will do), empty when a list must be of the newest. */
  version: string
  isListed: boolean
  onProgress: () => void
}

const selectors = ({
  fieldSelector,
  labelSelector,
}: Pick<ReflectorDeps<KubeObject>, 'fieldSelector' | 'labelSelector'>): Query => ({
  ...(fieldSelector !== undefined && { fieldSelector }),
  ...(labelSelector !== undefined && { labelSelector }),
})

const scopeOf = ({ namespace }: { readonly namespace?: string }) => (namespace === undefined ? {} : { namespace })

/** One watch, which begins with the list when nothing is listed yet. */
const followWatch = async <T extends KubeObject>(state: Follow<T>): Promise<void> => {
  const { deps, copy, signal, random } = state
  const seconds = Math.round(shortestWatchSeconds * (1 + random()))
  const lists = !state.isListed
  const query: Query = {
    ...selectors(deps),
    allowWatchBookmarks: 'true',
    resourceVersion: state.version,
    timeoutSeconds: String(seconds),
    ...(lists && { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' }),
  }
  if (lists) copy.listBegins()
  const event = ({ type, object }: WatchEvent<T>) => {
    const { resourceVersion, annotations } = object.metadata
    if (type === 'BOOKMARK' && !state.isListed && annotations?.[initialEventsEnd] === 'true') {
      state.isListed = true
      copy.listEnds()
      state.onProgress()
    } else if (type === 'DELETED') copy.remove(object)
    else if (type !== 'BOOKMARK') copy.put(object)
    // The events of a streamed list come in no order: before its end no version stands for all of it.
    if (state.isListed && resourceVersion !== undefined) state.version = resourceVersion
  }
  await deps.client.watch<T>(
    deps.resource,
    query,
    { ...scopeOf(deps), signal },
    {
      event,
      opened: () => !lists && state.onProgress(),
      idleMs: () => (state.isListed ? seconds * 1000 + marginMs : listIdleMs),
    },
  )
}

const listInPages = async <T extends KubeObject>(state: Follow<T>): Promise<void> => {
  const { deps, copy, signal } = state
  copy.listBegins()
  // Any version will do at first, and comes from the server's memory; but then it comes whole, which only a few objects may.
  const isShort = deps.fieldSelector !== undefined && state.version === '0'
  const query = { ...selectors(deps), ...(isShort && { resourceVersion: '0' }) }
  state.version = await deps.client.pages<T>(deps.resource, query, { ...scopeOf(deps), signal }, (items, isRestart) => {
    if (isRestart) copy.listBegins()
    for (const item of items) copy.put(item)
  })
  state.isListed = true
  copy.listEnds()
  state.onProgress()
}

/** One round: a list if one is needed, then a watch until it ends. Corrects the state so that the next round can do better. */
const followOnce = async <T extends KubeObject>(state: Follow<T>): Promise<void> => {
  const { lists } = state.deps.client
  const wasStreamed = lists.areStreamed
  try {
    if (!state.isListed && !wasStreamed) await listInPages(state)
    await followWatch(state)
  } catch (error) {
    const isGone = isFault(error, 'api-expired') || isTooNew(error)
    if (isGone) {
      state.isListed = false
      state.version = ''
    }
    // Many are refused at the same time: each of them lists at once, not the first alone.
    if (!state.isListed && wasStreamed && lacksStreaming(error)) {
      lists.areStreamed = false
      return followOnce(state)
    }
    throw error
  }
}

/**
 * Starts at once and goes on until stopped, however often it fails.
 * A reflector of one object (`fieldSelector: 'metadata.name=x'`) costs one request and one open stream.
 */
export const createReflector = <T extends KubeObject>(deps: ReflectorDeps<T>): Reflector<T> => {
  const { client, resource, clock, log, trim = object => object, random = Math.random } = deps
  const stopping = new AbortController()
  const copy = createCopy<T>(trim)
  const backoff = createBackoff(random)
  let problem: Fault | undefined
  let waiting: AbortController | undefined
  let isExpired = false
  const state: Follow<T> = {
    deps,
    copy,
    random,
    signal: stopping.signal,
    version: '0',
    isListed: false,
    onProgress: () => {
      problem = undefined
    },
  }
  const round = async () => {
    const began = clock.monotonic()
    let isFine = true
    try {
      await followOnce(state)
    } catch (error) {
      if (stopping.signal.aborted) return
      isFine = false
      const fault = error instanceof Fault ? error : new Fault('api-away', `watch of ${resource.plural} failed`, { cause: error })
      const fields = { err: fault, resource: resource.plural, ...scopeOf(deps) }
      // The client says once for all that the apiserver is away; what concerns this resource alone is said here, once.
      const isOurs = !isFault(fault, 'api-away', 'api-busy', 'api-expired', 'api-unauthorized', 'certificate', 'bad-config')
      const isNews = problem?.code !== fault.code && (isOurs || fault.reason === 'TornLine')
      if (isNews) log.warn(fields, 'this resource cannot be watched; trying on')
      else log.debug(fields, 'watch lost')
      problem = fault
    }
    const lastedMs = clock.monotonic() - began
    if (lastedMs >= shortWatchMs * 5) backoff.reset()
    const wasExpired = isExpired
    isExpired = !isFine && isFault(problem, 'api-expired')
    if (isFine && lastedMs >= shortWatchMs) return
    // A version that is gone is no trouble of the server's: list at once, unless that is what was just done.
    if (isExpired && !wasExpired) return
    await rest(Math.max(backoff.next(), problem?.retryAfterMs ?? 0))
  }
  const rest = async (ms: number) => {
    waiting = new AbortController()
    const wake = () => waiting?.abort()
    stopping.signal.addEventListener('abort', wake, { once: true })
    await clock.sleep(ms, waiting.signal).catch(() => undefined)
    stopping.signal.removeEventListener('abort', wake)
    waiting = undefined
  }
  // Others found that the apiserver is back: no need to sit out the pause. A fraction of a second apart from each other.
  const stopHearing = client.onBack(() => {
    backoff.reset()
    clock.after(random() * 500, () => waiting?.abort())
  })
  const run = async () => {
    while (!stopping.signal.aborted) await round()
    stopHearing()
  }
  void run()
  return {
    ...copy.store,
    // A getter of the store would be copied as it stands now.
    get isSynced() {
      return copy.store.isSynced
    },
    problem: () => problem,
    stop: () => stopping.abort(),
  }
}
