// The handler of a pod's RuntimeClass, which the runtime is given with the sandbox. Nothing is watched until the first pod names
// a class: most nodes never see one.
// Follows k8s.io: Runtime Class; the kubelet for what an unknown class means: the pod waits and says so.
import type { KubeObject } from '../api/meta.ts'
import type { Source } from '../api/source.ts'
import type { Pod } from '../api/types.ts'
import type { Clock } from '../host/clock.ts'
import { Fault } from '../host/fault.ts'

export interface RuntimeClass extends KubeObject {
  /** What the runtime's configuration calls it. */
  readonly handler: string
}

export interface RuntimeClassesDeps {
  /** Begins to watch RuntimeClasses; called once, when the first is needed. */
  readonly watch: () => Source<RuntimeClass> & { stop(): void }
  readonly clock: Pick<Clock, 'sleep'>
}

export interface RuntimeClasses {
  /**
   * The handler for a pod's sandbox; '' for the runtime's default.
   * @throws Fault `sandbox-create` when the class is not there, or cannot be looked up now
   */
  handlerOf(pod: Pod): Promise<string>
  stop(): void
}

const patienceMs = 5_000

export const createRuntimeClasses = ({ watch, clock }: RuntimeClassesDeps): RuntimeClasses => {
  let watching: ReturnType<RuntimeClassesDeps['watch']> | undefined
  return {
    handlerOf: async pod => {
      const { runtimeClassName: name = '' } = pod.spec
      if (name === '') return ''
      watching ??= watch()
      if (!watching.isSynced) {
        const waiting = new AbortController()
        const late = clock.sleep(patienceMs, waiting.signal).catch(() => undefined)
        await Promise.race([watching.synced, late]).finally(() => waiting.abort())
      }
      const found = watching.get('', name)
      if (found !== undefined) return found.handler
      if (watching.isSynced) throw new Fault('sandbox-create', `runtimeclass.node.k8s.io "${name}" not found`)
      throw new Fault('sandbox-create', `failed to lookup RuntimeClass ${name}: the apiserver has not told of any yet`)
    },
    stop: () => watching?.stop(),
  }
}
