// Which pods a selector selects and which selectors select a pod, without looking at all of either. In memory, no I/O.
// A selector is filed under that one of its pairs that the fewest others share: thousands of Services with one label in common
// do not make each other slow. Knows nothing of addresses and readiness.
import type { Pod } from '../../api/types.ts'
import { selects } from './slices.ts'

type Labels = Readonly<Record<string, string>>

interface Filed {
  readonly namespace: string
  readonly selector: Labels
  readonly pair: string
}

export interface SelectorIndex {
  /** Files the selector of a Service, in place of the one it had. */
  setSelector(key: string, namespace: string, selector: Labels): void
  dropSelector(key: string): void
  setPod(key: string, pod: Pod): void
  dropPod(key: string): void
  /** Pods by key, in the order of their keys. */
  podsFor(namespace: string, selector: Labels): readonly (readonly [string, Pod])[]
  /** Keys of the Services whose selector selects such a pod. */
  selecting(namespace: string, labels: Labels | undefined): readonly string[]
}

// NUL is in no namespace, label name or value.
const pairOf = (namespace: string, name: string, value: string): string => `${namespace}\0${name}\0${value}`
const pairsOf = (namespace: string, labels: Labels | undefined): readonly string[] =>
  Object.entries(labels ?? {}).map(([name, value]) => pairOf(namespace, name, value))

/** Sets of keys by pair; a set that is empty is gone. */
const createBuckets = () => {
  const buckets = new Map<string, Set<string>>()
  return {
    get: (pair: string): ReadonlySet<string> | undefined => buckets.get(pair),
    add: (pair: string, key: string) => {
      const bucket = buckets.get(pair) ?? new Set()
      buckets.set(pair, bucket.add(key))
    },
    drop: (pair: string, key: string) => {
      const bucket = buckets.get(pair)
      bucket?.delete(key)
      if (bucket?.size === 0) buckets.delete(pair)
    },
  }
}

export const createSelectorIndex = (): SelectorIndex => {
  const filed = new Map<string, Filed>()
  const selectors = createBuckets()
  const pods = new Map<string, Pod>()
  const labelled = createBuckets()

  const smallest = (pairs: readonly string[], sizeOf: (pair: string) => number): string | undefined =>
    pairs.reduce<string | undefined>((best, pair) => (best === undefined || sizeOf(pair) < sizeOf(best) ? pair : best), undefined)

  const dropSelector = (key: string) => {
    const was = filed.get(key)
    if (was === undefined) return
    selectors.drop(was.pair, key)
    filed.delete(key)
  }
  const dropPod = (key: string) => {
    const was = pods.get(key)
    if (was === undefined) return
    for (const pair of pairsOf(was.metadata.namespace ?? '', was.metadata.labels)) labelled.drop(pair, key)
    pods.delete(key)
  }
  return {
    setSelector: (key, namespace, selector) => {
      dropSelector(key)
      const pair = smallest(pairsOf(namespace, selector), it => selectors.get(it)?.size ?? 0)
      if (pair === undefined) return
      filed.set(key, { namespace, selector, pair })
      selectors.add(pair, key)
    },
    dropSelector,
    setPod: (key, pod) => {
      const was = pods.get(key)
      if (was?.metadata.labels !== pod.metadata.labels || was === undefined) {
        dropPod(key)
        for (const pair of pairsOf(pod.metadata.namespace ?? '', pod.metadata.labels)) labelled.add(pair, key)
      }
      pods.set(key, pod)
    },
    dropPod,
    podsFor: (namespace, selector) => {
      const pair = smallest(pairsOf(namespace, selector), it => labelled.get(it)?.size ?? 0)
      const candidates = pair === undefined ? [] : [...(labelled.get(pair) ?? [])]
      return candidates.sort().flatMap(key => {
        const pod = pods.get(key)
        return pod !== undefined && selects(selector, pod.metadata.labels) ? [[key, pod] as const] : []
      })
    },
    selecting: (namespace, labels) =>
      pairsOf(namespace, labels).flatMap(pair =>
        [...(selectors.get(pair) ?? [])].filter(key => selects(filed.get(key)?.selector, labels)),
      ),
  }
}
