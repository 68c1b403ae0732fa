// The ConfigMaps (or Secrets) that pods of this node name, each watched by itself for as long as some pod holds it: the Node
// authorizer allows no more. A source like the folder's; what is more, `known` waits until an object was looked up at all.
// Follows the kubelet's configMapAndSecretChangeDetectionStrategy (Watch, Cache, Get) and its watch-based object cache:
// an immutable object is not watched any longer once it was seen.
import type { KubeObject } from '../../api/meta.ts'
import { keyOf, type Listener, type Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock, Millis, Timer } from '../../host/clock.ts'
import { describe, Fault, isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'

/** What a consumer needs to read objects that pods name: a whole source has it too. */
export interface Lookup<T extends KubeObject> extends Pick<Source<T>, 'get'> {
  /**
   * Resolves once `get` tells the truth about this object, also when that is that there is none. Absent where all there is
   * is known from the start, as in a folder.
   * @throws Fault `volume` that says why it cannot be looked up
   */
  known?(namespace: string, name: string): Promise<void>
}

/** A watch of one object. */
export interface Watching<T extends KubeObject> extends Source<T> {
  stop(): void
}

export type DetectionStrategy = 'Watch' | 'Cache' | 'Get'

export interface ReferencesDeps<T extends KubeObject> {
  /** As it appears in messages: `configmap`, `secret`. */
  readonly kind: string
  /** Which of these objects the pod names, as `namespace/name`. */
  readonly keysOf: (pod: Pod) => Iterable<string>
  readonly strategy: DetectionStrategy
  readonly watch: (namespace: string, name: string) => Watching<T>
  /** Reads one object; a Fault `not-found` means that there is none. */
  readonly fetch: (namespace: string, name: string) => Promise<T>
  /** Objects of this node's folder, for its static pods: found where no pod of the apiserver names one. */
  readonly folder?: Source<T>
  /** What was known before a restart; stands in while the apiserver does not answer. */
  readonly remembered?: (namespace: string, name: string) => T | undefined
  /** Whether the apiserver is known not to answer: what was remembered is used at once then. */
  readonly isAway?: () => boolean
  /** How often Cache and Get ask again for all that is held: KubeletConfiguration syncFrequency. */
  readonly pollMs: number
  /** How long `known` waits for a watch before it asks for the object itself. */
  readonly patienceMs?: number
  readonly clock: Clock
  readonly log: Log
}

export interface References<T extends KubeObject> extends Source<T> {
  known(namespace: string, name: string): Promise<void>
  /** The objects that pods hold, without the folder's. */
  held(): readonly T[]
  /** Holds what this version of a pod names, and lets go of what an earlier version named. */
  hold(pod: Pod): void
  /** The pod is gone. */
  release(podUid: string): void
  stop(): void
}

/** One object and who holds it. */
interface Entry<T> {
  readonly namespace: string
  readonly name: string
  readonly holders: Set<string>
  object: T | undefined
  /** When it was asked for last, successfully; undefined before. A watch that runs makes it always true. */
  lookedAt: Millis | undefined
  fetching: Promise<void> | undefined
  /** A watch has told all there is, and goes on to: its word is the newest. */
  isWatched: boolean
  stopWatch: (() => void) | undefined
  watchSynced: Promise<void> | undefined
}

const defaultPatienceMs = 3_000
/** Upstream's when no node annotation says otherwise. */
const cacheMs = 60_000

const isImmutable = (object: KubeObject | undefined): boolean =>
  (object as { immutable?: boolean } | undefined)?.immutable === true

export const createReferences = <T extends KubeObject>(deps: ReferencesDeps<T>): References<T> => {
  const { kind, strategy, folder, clock, log, patienceMs = defaultPatienceMs } = deps
  const entries = new Map<string, Entry<T>>()
  const holdings = new Map<string, ReadonlySet<string>>()
  const listeners = new Set<Listener<T>>()
  let poll: Timer | undefined

  const set = (entry: Entry<T>, object: T | undefined): void => {
    const before = entry.object
    if (before === object || (before !== undefined && isSameVersion(before, object))) return
    entry.object = object
    for (const listener of [...listeners]) listener.changed(before, object)
  }

  /** The apiserver has answered. */
  const told = (entry: Entry<T>, object: T | undefined): void => {
    // let go of while the answer was under way
    if (entry.holders.size === 0) return
    entry.lookedAt = clock.now()
    set(entry, object)
    if (isImmutable(object)) entry.stopWatch?.()
  }

  const startWatch = (entry: Entry<T>): void => {
    const watching = deps.watch(entry.namespace, entry.name)
    let unsubscribe: (() => void) | undefined
    let isOver = false
    entry.watchSynced = watching.synced
    entry.stopWatch = () => {
      if (isOver) return
      isOver = true
      entry.isWatched = false
      // not in the middle of what the watch tells
      queueMicrotask(() => {
        unsubscribe?.()
        watching.stop()
      })
    }
    unsubscribe = watching.subscribe({
      changed: (_, after) => {
        if (!isOver) told(entry, after)
      },
      synced: () => {
        if (isOver) return
        entry.isWatched = true
        // what was remembered may be gone meanwhile
        told(entry, watching.get(entry.namespace, entry.name))
      },
    })
  }

  const fetchNow = async (entry: Entry<T>): Promise<void> => {
    let found: T | undefined
    try {
      found = await deps.fetch(entry.namespace, entry.name)
    } catch (error) {
      if (!isFault(error, 'not-found')) throw error
    }
    if (!entry.isWatched) told(entry, found)
  }

  /** Asks for the object; all who want it at the same time share the answer. */
  const fetch = (entry: Entry<T>): Promise<void> => {
    entry.fetching ??= fetchNow(entry).finally(() => {
      entry.fetching = undefined
    })
    return entry.fetching
  }

  const isFresh = (entry: Entry<T>): boolean => {
    if (entry.lookedAt === undefined) return false
    if (strategy === 'Watch' || isImmutable(entry.object)) return true
    return strategy === 'Cache' && clock.now() - entry.lookedAt < cacheMs
  }

  const find = (entry: Entry<T>): Promise<unknown> => {
    if (entry.watchSynced === undefined) return fetch(entry)
    const waiting = new AbortController()
    // a watch may wait for long in its back-off; one question says at once what is the matter
    const late = clock.sleep(patienceMs, waiting.signal).then(
      () => (isFresh(entry) ? undefined : fetch(entry)),
      () => undefined,
    )
    return Promise.race([entry.watchSynced, late]).finally(() => waiting.abort())
  }

  const known = async (namespace: string, name: string): Promise<void> => {
    const entry = entries.get(`${namespace}/${name}`)
    if (entry === undefined) {
      if (folder !== undefined) return
      throw new Fault('volume', `${kind} "${namespace}/${name}" is not registered: no pod of this node names it`)
    }
    if (isFresh(entry) || (entry.object !== undefined && deps.isAway?.())) return
    try {
      await find(entry)
    } catch (error) {
      // with the apiserver away, what was known last is better than nothing
      if (entry.object !== undefined && isFault(error, 'api-away', 'api-busy')) return
      const why = isFault(error, 'api-forbidden') ? 'this node is not allowed to read it' : 'it could not be looked up'
      throw new Fault('volume', `failed to sync ${kind} "${name}": ${why}: ${describe(error)}`, { cause: error })
    }
  }

  const open = (namespace: string, name: string): Entry<T> => {
    const entry: Entry<T> = {
      ...{ namespace, name, holders: new Set<string>(), object: undefined, lookedAt: undefined },
      ...{ fetching: undefined, isWatched: false, stopWatch: undefined, watchSynced: undefined },
    }
    entries.set(`${namespace}/${name}`, entry)
    set(entry, deps.remembered?.(namespace, name))
    return entry
  }

  const letGo = (key: string, podUid: string): void => {
    const entry = entries.get(key)
    entry?.holders.delete(podUid)
    if (entry === undefined || entry.holders.size > 0) return
    entry.stopWatch?.()
    set(entry, undefined)
    entries.delete(key)
  }

  const pollLater = (): void => {
    if (strategy === 'Watch' || poll !== undefined || entries.size === 0) return
    poll = clock.after(deps.pollMs, () => {
      poll = undefined
      for (const entry of entries.values()) {
        if (isImmutable(entry.object)) continue
        const object = `${entry.namespace}/${entry.name}`
        fetch(entry).catch(error => log.warn({ object, err: error }, `could not look at ${kind} ${object}: ${describe(error)}`))
      }
      pollLater()
    })
  }

  const held = (): readonly T[] => [...entries.values()].flatMap(({ object }) => (object === undefined ? [] : [object]))
  const isFolders = (object: T): boolean => !entries.has(keyOf(object))

  return {
    synced: folder?.synced ?? Promise.resolve(),
    get isSynced() {
      return folder?.isSynced ?? true
    },
    known,
    held,
    get: (namespace, name) => {
      const entry = entries.get(`${namespace}/${name}`)
      return entry === undefined ? folder?.get(namespace, name) : entry.object
    },
    list: () => [...held(), ...(folder?.list() ?? []).filter(isFolders)],
    subscribe: listener => {
      listeners.add(listener)
      for (const object of held()) listener.changed(undefined, object)
      const synced = () => listener.synced?.()
      const changed: Listener<T>['changed'] = (before, after) => {
        const object = after ?? before
        if (object !== undefined && isFolders(object)) listener.changed(before, after)
      }
      if (folder === undefined) synced()
      const unsubscribe = folder?.subscribe({ changed, synced })
      return () => {
        listeners.delete(listener)
        unsubscribe?.()
      }
    },
    hold: pod => {
      const uid = pod.metadata.uid ?? ''
      const wanted = new Set(deps.keysOf(pod))
      const before = holdings.get(uid) ?? new Set<string>()
      holdings.set(uid, wanted)
      for (const key of wanted) {
        const there = entries.get(key)
        const slash = key.indexOf('/')
        const entry = there ?? open(key.slice(0, slash), key.slice(slash + 1))
        entry.holders.add(uid)
        if (there === undefined && strategy === 'Watch') startWatch(entry)
        // a new pod may count on what was changed just before it was made
        if (strategy === 'Cache' && !before.has(key)) entry.lookedAt = undefined
      }
      for (const key of before) if (!wanted.has(key)) letGo(key, uid)
      pollLater()
    },
    release: podUid => {
      for (const key of holdings.get(podUid) ?? []) letGo(key, podUid)
      holdings.delete(podUid)
    },
    stop: () => {
      poll?.cancel()
      for (const entry of entries.values()) entry.stopWatch?.()
    },
  }
}

/** A list that says again what a watch has told already is no change. */
const isSameVersion = (before: KubeObject, after: KubeObject | undefined): boolean =>
  after !== undefined &&
  keyOf(before) === keyOf(after) &&
  before.metadata.uid === after.metadata.uid &&
  before.metadata.resourceVersion !== undefined &&
  before.metadata.resourceVersion === after.metadata.resourceVersion
