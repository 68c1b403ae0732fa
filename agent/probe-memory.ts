// What probes said last, in a file under the state folder: a daemon that restarts goes on from there, so that no pod turns unready
// and no Service loses an endpoint because of it.
import * as v from 'valibot'
import type { Clock } from '../host/clock.ts'
import type { Log } from '../host/log.ts'
import { openStateFile, type StateFile } from '../host/state-file.ts'
import type { SavedResult } from '../probes/table.ts'

const results = v.array(
  v.object({
    containerId: v.string(),
    kind: v.picklist(['startup', 'liveness', 'readiness']),
    result: v.picklist(['success', 'failure', 'unknown']),
  }),
)

/** Opens the memory of probe results; a missing or unreadable file is an empty one. */
export const openProbeMemory = (deps: {
  readonly path: string
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
}): Promise<StateFile<readonly SavedResult[]>> =>
  openStateFile<readonly SavedResult[]>({
    ...deps,
    what: 'the memory of probe results',
    parse: text => v.parse(results, JSON.parse(text)),
    print: saved => `${JSON.stringify(saved)}\n`,
    durable: false,
  })
