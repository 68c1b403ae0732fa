// Programs that stay for as long as a test wants them: started in a host's namespace, with a log, ended by their process id.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import type { Netns } from './netns.ts'

export interface Program {
  readonly pid: number
  /** Sends the signal and waits until it has ended; one that is gone already is no error. */
  end(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>
}

export interface ProgramOptions {
  readonly netns: Netns
  /** The file that its output is appended to. */
  readonly log: string
  readonly argv: readonly string[]
  /** More variables than ours. */
  readonly env?: Readonly<Record<string, string>>
  /** Called when it ends by itself or is ended. */
  readonly onEnd?: () => void
}

/** Starts a program; it is not known yet whether it is of any use. */
export const startProgram = async ({ netns, log, argv, env, onEnd }: ProgramOptions): Promise<Program> => {
  const [program = '', ...args] = netns.wrap(argv)
  const file = await open(log, 'a')
  // nsenter becomes the program itself: the process id is the program's.
  const child = spawn(program, args, { stdio: ['ignore', file.fd, file.fd], env: { ...process.env, ...env } })
  await Promise.all([once(child, 'spawn'), file.close()])
  if (onEnd !== undefined) child.once('exit', onEnd)
  return {
    pid: child.pid!,
    end: async (signal = 'SIGKILL') => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill(signal)
      await once(child, 'exit')
    },
  }
}
