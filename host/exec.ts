// The only place that starts a process. Programs get an argv array and, where they take a batch, text on stdin;
// no shell is ever given a string. Output is returned whole for short runs and line by line for those that stay.
import type { ChildProcess } from 'node:child_process'
import spawn, { SubprocessError } from 'nano-spawn'
import { systemClock } from './clock.ts'
import { Fault, type FaultCode, isFault } from './fault.ts'
import { createSpawn, type Started } from './posix-spawn.ts'

export interface RunOptions {
  /** Text for the program's standard input. */
  readonly input?: string
  /** Ends the program (SIGKILL) after this long; default 30 s. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  readonly env?: Readonly<Record<string, string>>
  /** Path of a network namespace to start it in; all else, /sys too, stays as it is here. Costs no process, as nsenter(1) would. */
  readonly netns?: string
}

export interface RunResult {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export interface Exec {
  /**
   * Runs a program to its end.
   * @throws Fault `command` when it cannot be started, exits with another code than 0, or takes too long;
   *   the message carries what it wrote to stderr. `not-found` when the network namespace is not there, `network` when it cannot be entered
   */
  run(argv: readonly string[], options?: RunOptions): Promise<RunResult>
  /** As `run`, but an exit code other than 0 is an answer; still throws when the program cannot be started or hangs. */
  try(argv: readonly string[], options?: RunOptions): Promise<RunResult>
  /**
   * Starts a program that stays; `onLine` gets its stdout lines, `ended` resolves when it is gone. It dies with us, however we die:
   * nothing of a killed daemon holds a lock or listens.
   */
  watch(argv: readonly string[], onLine: (line: string) => void): Watched
}

export interface Watched {
  readonly ended: Promise<RunResult>
  stop(): void
}

const spawnProgram = createSpawn()

type Failed = (reason: string, cause?: unknown, code?: FaultCode) => Fault

const start = (argv: readonly string[], { env, input, netns }: RunOptions, failed: Failed): Started => {
  try {
    return spawnProgram(argv, { env: env ? { ...process.env, ...env } : process.env, input, netns })
  } catch (error) {
    const code = isFault(error, 'not-found', 'network') ? error.code : 'command'
    throw failed(error instanceof Error ? error.message : String(error), error, code)
  }
}

const attempt = async (argv: readonly string[], options: RunOptions): Promise<RunResult> => {
  const { signal, timeoutMs = 30_000 } = options
  if (argv.length === 0) throw new Fault('command', 'no program given', { retry: 'never' })
  const failed: Failed = (reason, cause, code = 'command') => new Fault(code, `${argv.join(' ')}: ${reason}`, { cause })
  if (signal?.aborted) throw failed('given up before it began', signal.reason)
  const started = start(argv, options, failed)
  let because: string | undefined
  const giveUp = (why: string) => {
    because ??= why
    started.kill()
  }
  const onAbort = () => giveUp('given up')
  const late = systemClock.after(timeoutMs, () => giveUp(`took longer than ${timeoutMs / 1000} s`))
  signal?.addEventListener('abort', onAbort)
  try {
    const { exitCode, signal: endedBy, stdout, stderr } = await started.ended
    if (exitCode === undefined) throw failed(`${because ?? `ended by ${endedBy}`}${stderr && `: ${stderr}`}`)
    return { exitCode, stdout, stderr }
  } finally {
    late.cancel()
    signal?.removeEventListener('abort', onAbort)
  }
}

const run = async (argv: readonly string[], options: RunOptions = {}): Promise<RunResult> => {
  const result = await attempt(argv, options)
  if (result.exitCode === 0) return result
  const said = result.stderr.trim() || result.stdout.trim()
  throw new Fault('command', `${argv.join(' ')}: exit code ${result.exitCode}${said && `: ${said}`}`)
}

const watch = (argv: readonly string[], onLine: (line: string) => void): Watched => {
  const subprocess = spawn('setpriv', ['--pdeathsig', 'KILL', ...argv], { stdin: 'ignore' })
  let child: ChildProcess | undefined
  let stopped = false
  subprocess.nodeChildProcess.then(
    it => {
      child = it
      if (stopped) it.kill('SIGKILL')
    },
    () => undefined,
  )
  const ended = (async () => {
    try {
      // Lines must be asked for right away; the library refuses once the process has started unread.
      for await (const line of subprocess.stdout) onLine(line)
      await subprocess
      return { exitCode: 0, stdout: '', stderr: '' }
    } catch (error) {
      if (!(error instanceof SubprocessError)) throw error
      return { exitCode: error.exitCode ?? -1, stdout: error.stdout, stderr: error.stderr }
    }
  })()
  return {
    ended,
    stop: () => {
      stopped = true
      child?.kill('SIGKILL')
    },
  }
}

/** Starts real programs on this machine. */
export const systemExec: Exec = { run, try: (argv, options = {}) => attempt(argv, options), watch }
