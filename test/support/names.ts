// Names of what tests make on the machine: all begin with nlt-, then the run's token, so that what a run leaves behind can be
// told from what belongs to somebody else. Short enough for network interfaces.
import { randomBytes } from 'node:crypto'

/** The variable by which test/run.ts hands its token on; processes that carry it were started by that run. */
export const runVariable = 'NODELET_TEST_RUN'

export const testPrefix = 'nlt-'

/** The variable that lists the files which share a process, a line each. */
export const filesVariable = 'NODELET_TEST_FILES'

/** How the names of two tests begin that files which share a process have besides their own: in the one they are loaded... */
export const loadOfFile = 'load '
/** ...and the other only says that their tests are over. */
export const endOfFile = 'end of file '

/** A name nobody else has: nlt-, 4 characters of the run, 4 of its own. */
export const uniqueName = (): string => {
  const run = process.env[runVariable] ?? randomBytes(2).toString('hex')
  return `${testPrefix}${run}${randomBytes(2).toString('hex')}`
}
