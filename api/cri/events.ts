// Task events from the CRI's own stream, for runtimes other than containerd (CRI-O; containerd serves it from 2.0 on).
// Delivers hints only. An event of the CRI carries the pod's statuses; of these only the exit status is read here.
// Follows k8s.io/cri-api v0.36, GetContainerEvents.

import type { TaskEvent, TaskEventDeps } from '../task-event.ts'
import { keepOpen } from '../watch-stream.ts'
import { createCri } from './client.ts'
import type { ContainerEventResponse } from './types.ts'

/** The task event that a CRI event tells of. The CRI knows neither process ids nor executed processes. */
export const readContainerEvent = (it: ContainerEventResponse): TaskEvent => {
  const { containerId } = it
  const end = () => {
    const status = it.containersStatuses.find(({ id }) => id === containerId)
    const exited = status?.state === 'CONTAINER_EXITED'
    const exitedAt = Math.floor((exited ? status.finishedAt : it.createdAt) / 1e6)
    return { containerId, id: containerId, pid: 0, exitStatus: exited ? status.exitCode : undefined, exitedAt }
  }
  switch (it.containerEventType) {
    case 'CONTAINER_CREATED_EVENT':
      return { type: 'create', containerId, pid: 0 }
    case 'CONTAINER_STARTED_EVENT':
      return { type: 'start', containerId, pid: 0 }
    case 'CONTAINER_STOPPED_EVENT':
      return { type: 'exit', ...end() }
    case 'CONTAINER_DELETED_EVENT':
      return { type: 'delete', ...end() }
  }
}

/**
 * Delivers container events until the signal aborts, through every restart of the runtime.
 * @throws Fault `unsupported` when the runtime does not serve them
 */
export const watchCriEvents = async (deps: TaskEventDeps): Promise<void> => {
  const { endpoint, log, clock, signal, onEvent } = deps
  const cri = createCri({ endpoint, log, clock })
  const open = async (connected: () => void) => {
    let over = false
    const stream = cri
      .containerEvents(event => onEvent(readContainerEvent(event)), { signal })
      .finally(() => {
        over = true
      })
    // No sign that the subscription is taken up: an answer to a later call is the nearest that the CRI has.
    const ready = cri.version({ signal, timeoutMs: 5000 }).then(() => over || connected())
    await Promise.all([stream, ready])
  }
  try {
    await keepOpen(deps, open)
  } finally {
    cri.close()
  }
}
