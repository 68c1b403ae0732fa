// Work in another network namespace, for as long as one synchronous call takes: what is started meanwhile stays in there.
// A namespace is a thread's own, so the threads on which Node reads files never leave ours. But /proc/self/net, and /proc/net with it, shows
// that of the first thread, which is the one that leaves: who reads there asynchronously takes /proc/thread-self/net.
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { isErrno } from './errno.ts'
import { Fault } from './fault.ts'
import { libc } from './libc.ts'

export interface NetnsCalls {
  /** @returns a file descriptor */
  open(path: string): number
  close(file: number): void
  /** Puts this thread into a namespace. @returns whether it is there now */
  enter(file: number): boolean
  /** Ends this process at once. */
  die(why: string): never
}

/** <sched.h> CLONE_NEWNET: the file has to be a network namespace */
const networkOnly = 0x4000_0000

const systemCalls: NetnsCalls = {
  // What is no namespace must not keep us waiting, as a pipe would.
  open: path => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK),
  close: closeSync,
  enter: file => libc().c.setns(file, networkOnly) === 0,
  die: why => {
    try {
      writeSync(process.stderr.fd, `nodelet: ${why}\n`)
    } finally {
      process.abort()
    }
  },
}

const openNamed = (path: string, { open }: NetnsCalls): number => {
  try {
    return open(path)
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) throw new Fault('not-found', `network namespace ${path} is not there`)
    throw new Fault('network', `network namespace ${path} cannot be opened`, { cause })
  }
}

/**
 * Does something in a network namespace, and is back before anything else runs on this thread.
 * @param work must not be async
 * @throws Fault `not-found` when the namespace is not there, `network` when it cannot be entered; the work was not begun then
 */
export type EnterNetns = <T>(path: string, work: () => T) => T

/** Opens our own namespace when the first other one is entered. A process that cannot go back to it ends: all it did next would be wrong. */
export const createEnterNetns = (calls: NetnsCalls = systemCalls): EnterNetns => {
  let own: number | undefined
  return (path, work) => {
    own ??= calls.open('/proc/thread-self/ns/net')
    const file = openNamed(path, calls)
    try {
      if (!calls.enter(file)) throw new Fault('network', `network namespace ${path} cannot be entered`)
      try {
        return work()
      } finally {
        if (!calls.enter(own)) calls.die(`cannot leave network namespace ${path}`)
      }
    } finally {
      calls.close(file)
    }
  }
}
