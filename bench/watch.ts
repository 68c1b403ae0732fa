// A watching client of the apiserver: `kubectl get --raw` on the control plane's host holds the watch, its lines are read here. When
// something was seen is the moment its line came. Keeps no objects.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { KubeObject } from '../api/meta.ts'
import type { Pod } from '../api/types.ts'
import { systemClock as clock } from '../host/clock.ts'
import type { ControlPlane } from '../test/support/control-plane.ts'

export interface WatchEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  readonly object: T
}

export interface Watch<T> {
  /**
   * Waits for an event that comes from now on.
   * @returns the monotonic time at which it came
   * @throws after a minute
   */
  when(what: string, isWanted: (event: WatchEvent<T>) => boolean): Promise<number>
  close(): Promise<void>
}

interface Wait<T> {
  readonly isWanted: (event: WatchEvent<T>) => boolean
  readonly resolve: (at: number) => void
}

const patienceMs = 60_000

interface List {
  readonly metadata: { readonly resourceVersion: string }
}

/** Watches a collection, such as /api/v1/namespaces/default/pods; whatever changes from now on is seen, however long it takes to begin. */
export const createWatch = async <T extends KubeObject>(
  { netns, get, kubectlArgv }: ControlPlane,
  path: string,
): Promise<Watch<T>> => {
  const { resourceVersion } = (await get<List>(path)).metadata
  const query = `watch=true&resourceVersion=${resourceVersion}`
  const [program = '', ...args] = netns.wrap(kubectlArgv(['get', '--raw', `${path}?${query}`]))
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child, 'spawn')
  const waits = new Set<Wait<T>>()
  createInterface({ input: child.stdout }).on('line', line => {
    const at = clock.monotonic()
    const event = JSON.parse(line) as WatchEvent<T>
    for (const wait of waits) {
      if (!wait.isWanted(event)) continue
      waits.delete(wait)
      wait.resolve(at)
    }
  })
  const when: Watch<T>['when'] = (what, isWanted) => {
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    const wait = { isWanted, resolve }
    const timer = setTimeout(() => {
      waits.delete(wait)
      reject(new Error(`waited too long for ${what}`))
    }, patienceMs)
    waits.add(wait)
    // What is waited for may fail before anybody looks at it.
    promise.catch(() => undefined)
    return promise.finally(() => clearTimeout(timer))
  }
  const close = async () => {
    if (child.exitCode !== null) return
    child.kill()
    await once(child, 'exit')
  }
  return { when, close }
}

/** A Pod or a Node, as far as it matters here. */
export interface WithConditions extends KubeObject {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] }
}

export const isReady = ({ status }: WithConditions): boolean =>
  status?.conditions?.some(it => it.type === 'Ready' && it.status === 'True') ?? false

const collection = '/api/v1/namespaces/default/pods'

export interface TimedPods {
  /** Creates the pod. @returns milliseconds until the watch shows it Ready */
  start(pod: PodManifest): Promise<number>
  /** Deletes the pod. @returns milliseconds until the watch shows it gone */
  end(name: string): Promise<number>
  close(): Promise<void>
}

export interface PodManifest {
  readonly metadata: { readonly name: string }
  readonly spec: object
}

/** Pods of the namespace `default`, timed as their user sees them. */
export const createTimedPods = async (controlPlane: ControlPlane): Promise<TimedPods> => {
  const watch = await createWatch<Pod>(controlPlane, collection)
  return {
    start: async pod => {
      const { name } = pod.metadata
      const seen = watch.when(`${name} to be Ready`, ({ object }) => object.metadata.name === name && isReady(object))
      const began = clock.monotonic()
      await controlPlane.send('POST', collection, { apiVersion: 'v1', kind: 'Pod', ...pod })
      return (await seen) - began
    },
    end: async name => {
      const seen = watch.when(`${name} to be gone`, ({ type, object }) => type === 'DELETED' && object.metadata.name === name)
      const began = clock.monotonic()
      await controlPlane.send('DELETE', `${collection}/${name}`)
      return (await seen) - began
    },
    close: watch.close,
  }
}

/** A pod that does nothing, bound to the node: neither the scheduler nor a pull is part of its start. */
export const pausePod = (name: string, nodeName: string, image: string): PodManifest => ({
  metadata: { name },
  spec: {
    ...{ nodeName, terminationGracePeriodSeconds: 1 },
    containers: [{ name: 'pause', image, imagePullPolicy: 'IfNotPresent' }],
  },
})
