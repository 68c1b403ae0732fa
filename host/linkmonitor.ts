// Notices interfaces that go away: one `ip monitor` child, a line for each. Knows nothing about whose they are and repairs nothing.
// Only removals are told: what comes harms nobody.
import { keepRunning, type Resident, type ResidentDeps } from './resident.ts'

export type LinkMonitor = Pick<Resident, 'stop'>

/**
 * Watches until stopped.
 * @param onGone called with an interface's name, or with nothing when removals may have gone unseen
 */
export const watchLinks = (deps: ResidentDeps, onGone: (name: string | undefined) => void): LinkMonitor =>
  keepRunning(deps, {
    argv: ['ip', '-o', 'monitor', 'link'],
    what: 'the watch on interfaces',
    onLine: line => {
      const name = /^Deleted \d+: ([^:@\s]+)/.exec(line)?.[1]
      if (name !== undefined) onGone(name)
    },
    onRestart: () => onGone(undefined),
  })
