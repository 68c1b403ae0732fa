// Interfaces on their way out. The kernel takes 20 to 30 ms to unregister one, whatever it is asked for, three quarters of a DEL;
// taking it down and off the bridge takes 2. So DEL waits for the latter, after which no packet goes in or out, and the removal
// follows at once by itself; both in one process for all that go in that moment together. What a killed process leaves is found by its name: by the
// sweep at the next start, by GC, and by an ADD of the same container.
import { isFault } from '../host/fault.ts'
import { createGroup } from '../host/group.ts'
import type { Link } from '../host/link.ts'
import type { Log } from '../host/log.ts'

export interface Retirement {
  /**
   * Cuts an interface off and has it removed; one that is gone already is fine.
   * @param beside further interfaces that go with it
   * @throws Fault `network` when the kernel does not cut it off
   */
  retire(hostLink: string, beside: readonly string[]): Promise<void>
  /** Resolves when all that was cut off is gone. */
  settled(): Promise<void>
}

export interface RetirementDeps {
  readonly link: Pick<Link, 'batch' | 'batchEach'>
  readonly log: Log
}

/** Retires interfaces of this host through the given link. */
export const createRetirement = ({ link, log }: RetirementDeps): Retirement => {
  const cuts = createGroup(link.batchEach)
  let waiting: string[] = []
  let removing: Promise<void> | undefined

  const removeAll = async () => {
    while (waiting.length > 0) {
      const names = waiting
      waiting = []
      const commands = names.map(name => `link del dev ${name}`)
      await link.batch(commands, { keepGoing: true }).catch((error: unknown) => {
        // With its namespace the runtime takes the inner end away, and the kernel this one with it.
        if (!isFault(error, 'not-found'))
          log.warn({ err: error, interfaces: names }, 'interfaces of ended pods could not be removed')
      })
    }
    removing = undefined
  }
  return {
    retire: async (hostLink, beside) => {
      try {
        await cuts.add([`link set dev ${hostLink} nomaster down`])
        waiting.push(hostLink)
      } catch (error) {
        if (!isFault(error, 'not-found')) throw error
      }
      waiting.push(...beside)
      if (waiting.length > 0) removing ??= removeAll()
    },
    settled: async () => {
      while (removing !== undefined) await removing
    },
  }
}
