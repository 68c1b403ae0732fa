// Which event stream a runtime has: containerd's own first, since all its versions serve it to many readers at once;
// then the CRI's; with neither, the owner's relist alone has to do.
import { isFault } from '../host/fault.ts'
import { watchTaskEvents } from './containerd/events.ts'
import { watchCriEvents } from './cri/events.ts'
import type { TaskEventDeps } from './task-event.ts'

export type { TaskEnd, TaskEvent, TaskEventDeps } from './task-event.ts'

/** Delivers events until the signal aborts; resolves before that with `none` when the runtime has no event stream at all. */
export const chooseEvents = async (deps: TaskEventDeps): Promise<'stopped' | 'none'> => {
  for (const watch of [watchTaskEvents, watchCriEvents]) {
    try {
      await watch(deps)
      return 'stopped'
    } catch (error) {
      if (!isFault(error, 'unsupported')) throw error
      deps.log.info({ err: error }, 'the runtime does not serve this event stream')
    }
  }
  return 'none'
}
