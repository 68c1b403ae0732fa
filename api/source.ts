// A list/watch source of objects: what the reflector gives for an apiserver and the standalone store gives for a folder.
// Consumers cannot tell the two apart. An object is replaced, never changed in place.
import type { KubeObject } from './meta.ts'

export interface Listener<T> {
  /** One object was added (`before` undefined), changed, or removed (`after` undefined). */
  changed(before: T | undefined, after: T | undefined): void
  /** Everything there was at the start has been told; called once, at once when that was long ago. */
  synced?(): void
}

export interface Source<T extends KubeObject> {
  /** Resolves when the first full list is in. */
  readonly synced: Promise<void>
  readonly isSynced: boolean
  get(namespace: string, name: string): T | undefined
  list(): readonly T[]
  /** Tells the listener all there is (as added), then every change, in order and synchronously. Returns how to stop. */
  subscribe(listener: Listener<T>): () => void
}

/** A source that is filled by its owner: the working in-memory implementation. */
export interface Store<T extends KubeObject> extends Source<T> {
  put(object: T): void
  remove(namespace: string, name: string): void
  markSynced(): void
}

/** namespace/name: unique among the objects of one kind. */
export const keyOf = (object: KubeObject): string => `${object.metadata.namespace ?? ''}/${object.metadata.name}`

export const createStore = <T extends KubeObject>(): Store<T> => {
  const objects = new Map<string, T>()
  const listeners = new Set<Listener<T>>()
  const { promise: synced, resolve: resolveSynced } = Promise.withResolvers<void>()
  let isSynced = false
  const tell = (before: T | undefined, after: T | undefined) => {
    for (const listener of [...listeners]) listener.changed(before, after)
  }
  return {
    synced,
    get isSynced() {
      return isSynced
    },
    get: (namespace, name) => objects.get(`${namespace}/${name}`),
    list: () => [...objects.values()],
    subscribe: listener => {
      listeners.add(listener)
      for (const object of objects.values()) listener.changed(undefined, object)
      if (isSynced) listener.synced?.()
      return () => void listeners.delete(listener)
    },
    put: object => {
      const key = keyOf(object)
      const before = objects.get(key)
      if (before === object) return
      objects.set(key, object)
      tell(before, object)
    },
    remove: (namespace, name) => {
      const key = `${namespace}/${name}`
      const before = objects.get(key)
      if (before === undefined) return
      objects.delete(key)
      tell(before, undefined)
    },
    markSynced: () => {
      if (isSynced) return
      isSynced = true
      resolveSynced()
      for (const listener of [...listeners]) listener.synced?.()
    },
  }
}
