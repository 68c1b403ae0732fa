// The only place that starts a process. Programs get an argv array and, where they take a batch, text on stdin;
// no shell is ever given a string. Output is returned whole for short runs and line by line for those that stay.
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import spawn, { type Options, SubprocessError } from 'nano-spawn'
import { Fault } from './fault.ts'

export interface RunOptions {
  /** Text for the program's standard input. */
  readonly input?: string
  /** Ends the program (SIGKILL) after this long; default 30 s. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  readonly env?: Readonly<Record<string, string>>
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
   *   the message carries what it wrote to stderr
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

const toResult = (error: SubprocessError): RunResult => ({
  exitCode: error.exitCode ?? -1,
  stdout: error.stdout,
  stderr: error.stderr,
})

/** More than this does not go into a pipe at once. */
const pipeBytes = 64 * 1024

/**
 * A long input as a file that has no name any more. Through a pipe it would be cut short when we are killed, and a program that reads
 * commands takes what it got for all there is. Undefined for a short one, and where no file can be had.
 */
const toFile = async (input: string): Promise<FileHandle | undefined> => {
  if (input.length < pipeBytes) return undefined
  const path = join(tmpdir(), `.nodelet-input-${randomBytes(8).toString('hex')}`)
  const file = await open(path, 'wx+', 0o600).catch(() => undefined)
  if (file === undefined) return undefined
  try {
    await unlink(path)
    const bytes = Buffer.from(input)
    // At a position, so that the program begins to read at the start.
    for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at, bytes.length - at, at)).bytesWritten
    return file
  } catch {
    await file.close()
    return undefined
  }
}

const attempt = async (argv: readonly string[], options: RunOptions): Promise<RunResult> => {
  const [program, ...args] = argv
  if (program === undefined) throw new Fault('command', 'no program given', { retry: 'never' })
  const file = options.input === undefined ? undefined : await toFile(options.input)
  const spawnOptions: Options = {
    stdin: file?.fd ?? (options.input === undefined ? 'ignore' : { string: options.input }),
    timeout: options.timeoutMs ?? 30_000,
    killSignal: 'SIGKILL',
    ...(options.signal && { signal: options.signal }),
    ...(options.env && { env: options.env }),
  }
  try {
    const { stdout, stderr } = await spawn(program, args, spawnOptions)
    return { exitCode: 0, stdout, stderr }
  } catch (error) {
    if (error instanceof SubprocessError && error.exitCode !== undefined) return toResult(error)
    throw new Fault('command', `${program}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  } finally {
    await file?.close()
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
      if (error instanceof SubprocessError) return toResult(error)
      throw error
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
