// Takes away tasks that containerd has and its CRI does not know of. When the caller of StartContainer dies between the making of the
// task and the question for its process id, containerd fails the call and keeps the task (seen with 1.6; 2.2 reads the same, in
// plugins/services/tasks/local.go): for the CRI the container has ended, yet it can never be removed, and its process stays.
// Follows containerd's api/services/tasks/v1.
import type { Clock } from '../../host/clock.ts'
import { except, Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import type { Cri } from '../cri/cri.ts'
import { createRpc } from '../rpc.ts'
import schema from './tasks.gen.json' with { type: 'json' }

export interface Tasks {
  /**
   * Kills every process of a container and forgets that it had any; resolves also when there is no such task.
   * @throws Fault `unsupported` when the runtime is no containerd
   */
  remove(containerId: string): Promise<void>
  close(): void
}

export interface TasksDeps {
  readonly endpoint: string
  readonly clock: Clock
}

const kill = 9
/** containerd's namespace; this is the CRI's. */
const namespace = 'k8s.io'

/** Asks the task service of the containerd at `endpoint`. */
export const createTasks = ({ endpoint, clock }: TasksDeps): Tasks => {
  const rpc = createRpc({ endpoint, schema, clock })
  const options = { headers: { 'containerd-namespace': namespace }, timeoutMs: 10_000 }
  const ask = (method: string, request: object) => rpc.call(`containerd.services.tasks.v1.Tasks/${method}`, request, options)
  return {
    remove: async containerId => {
      // A process that has ended cannot be killed, nor one whose shim is gone: whether the task can go, only Delete tells.
      await except(ask('Kill', { containerId, signal: kill, all: true }), 'not-found', 'runtime-refused')
      await except(ask('Wait', { containerId }), 'not-found', 'runtime-refused')
      await except(ask('Delete', { containerId }), 'not-found')
    },
    close: rpc.close,
  }
}

const isHeldByTask = (error: unknown): boolean => error instanceof Fault && error.message.includes('cannot delete running task')

/** The runtime, for which a task that it does not know of is no reason to keep what is to be removed. */
export const removingForgottenTasks = (runtime: Cri, tasks: Tasks, log: Log): Cri => {
  const removing = (remove: Cri['removeContainer']): Cri['removeContainer'] => {
    return async (id, options) => {
      try {
        await remove(id, options)
      } catch (error) {
        if (!isHeldByTask(error)) throw error
        log.warn({ id }, 'the runtime has a task of what it says has ended; the task is removed')
        await tasks.remove(id)
        await remove(id, options)
      }
    }
  }
  return {
    ...runtime,
    removeContainer: removing(runtime.removeContainer),
    removePodSandbox: removing(runtime.removePodSandbox),
    close: () => {
      tasks.close()
      runtime.close()
    },
  }
}
