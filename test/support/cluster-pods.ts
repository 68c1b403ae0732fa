// The pods of a test's cluster as its users see them: by the apiserver. A test says what it waits for; what it saw instead is in the error.
import type { Pod } from '../../api/types.ts'
import type { ControlPlane } from './control-plane.ts'
import { waitFor } from './wait.ts'

const collection = '/api/v1/namespaces/default/pods'

export interface ClusterPods {
  create(...pods: readonly object[]): Promise<void>
  get(name: string): Promise<Pod>
  /** All with these labels, such as app=web. */
  list(labels: string): Promise<readonly Pod[]>
  /** Asks until the pod is as wanted, and returns it then. */
  until(name: string, wanted: (pod: Pod) => unknown, timeoutMs?: number): Promise<Pod>
  gone(name: string, timeoutMs?: number): Promise<void>
  /** Deletes pods with the grace period of each, and waits until they are gone. */
  remove(...names: readonly string[]): Promise<void>
  /** What a program in the pod printed. @throws when it fails */
  exec(name: string, argv: readonly string[]): Promise<string>
  /** Reasons of the events about the pod so far. */
  reasons(name: string): Promise<readonly string[]>
}

interface EventObject {
  readonly reason?: string
}

/** For the namespace `default`. */
export const createClusterPods = (controlPlane: ControlPlane): ClusterPods => {
  const { get: ask, send, kubectl } = controlPlane
  const get = (name: string) => ask<Pod>(`${collection}/${name}`)
  const gone = async (name: string, timeoutMs = 20_000) => {
    const isGone = () =>
      get(name).then(
        () => false,
        (error: Error) => error.message.includes(' 404 '),
      )
    await waitFor(`pod ${name} to be gone`, isGone, timeoutMs)
  }
  return {
    get,
    gone,
    create: async (...pods) => {
      for (const pod of pods) await send('POST', collection, pod)
    },
    list: async labels =>
      (await ask<{ items: readonly Pod[] }>(`${collection}?labelSelector=${encodeURIComponent(labels)}`)).items,
    until: async (name, wanted, timeoutMs = 20_000) => {
      let last: Pod | undefined
      const check = async () => {
        last = await get(name)
        return wanted(last) ? last : undefined
      }
      return waitFor(`pod ${name} (${wanted})`, check, timeoutMs).catch(error => {
        throw new Error(`${error.message}\n${JSON.stringify(last?.status, null, 1)}`, { cause: error.cause })
      })
    },
    remove: async (...names) => {
      for (const name of names) await send('DELETE', `${collection}/${name}`)
      await Promise.all(names.map(it => gone(it)))
    },
    exec: (name, argv) => kubectl(['exec', name, '--', ...argv]),
    reasons: async name => {
      const selector = encodeURIComponent(`involvedObject.name=${name}`)
      const { items } = await ask<{ items: readonly EventObject[] }>(
        `/api/v1/namespaces/default/events?fieldSelector=${selector}`,
      )
      return items.map(({ reason = '' }) => reason)
    },
  }
}
