// ip(8) and tc(8): batches of commands in one process, here or inside a network namespace, and questions answered as JSON.
// Knows what their refusals mean and nothing about bridges or pods: who wants an interface compiles the commands elsewhere.
// Programs are started in the namespace as they are: `ip netns exec` would be one more, and remounts /sys.
import { readFile } from 'node:fs/promises'
import type { Exec, RunResult } from './exec.ts'
import { Fault, type FaultCode } from './fault.ts'

export interface BatchOptions {
  /** Path of the network namespace to work in; default: this process's own. */
  readonly netns?: string
  /** Goes on after a command that fails; what failed is thrown at the end all the same. */
  readonly keepGoing?: boolean
}

export interface Link {
  /**
   * Runs commands of ip(8), a line each, in one process and in order; stops at the first that fails.
   * @throws Fault `already-exists` or `not-found` when that is the kernel's reason, else `network`; names the command
   */
  batch(commands: readonly string[], options?: BatchOptions): Promise<void>
  /**
   * Runs lists of commands that have nothing to do with each other in one process; one that fails keeps none from running.
   * @returns for each list what `batch` would throw first, or nothing
   */
  batchEach(lists: readonly (readonly string[])[]): Promise<readonly (Fault | undefined)[]>
  /** Whether this process's namespace has an interface of that name; costs no process. */
  exists(name: string): Promise<boolean>
  /** As `batch`, for commands of tc(8). */
  shape(commands: readonly string[], options?: BatchOptions): Promise<void>
  /**
   * The answer of `ip -j ARGS`, parsed.
   * @throws as `batch`
   */
  query<T>(args: readonly string[], netns?: string): Promise<readonly T[]>
  /**
   * Writes one value into several files under /proc/sys as seen inside a namespace (tee, since a process is needed there anyway).
   * @throws Fault `not-found` when the namespace or a file is not there, else `network`
   */
  setInside(netns: string, files: readonly string[], value: string): Promise<void>
}

// The words of iproute2 6.1; the kernel's own go through strerror and do not change.
const meanings: readonly (readonly [RegExp, FaultCode])[] = [
  [/File exists/, 'already-exists'],
  [
    /Cannot find device|does not exist|No such (device|file or directory|process)|Invalid "netns" value|Invalid argument.*setns/,
    'not-found',
  ],
]

const toFault = (said: string, program: string): Fault =>
  new Fault(meanings.find(([words]) => words.test(said))?.[1] ?? 'network', `${program}: ${said}`)

/** What a batch complained about, by the number of the line: the words come first, then where. */
const complaints = (stderr: string): readonly { readonly line: number; readonly said: string }[] =>
  [...stderr.matchAll(/([\s\S]*?)Command failed -:(\d+)/g)].map(([, said = '', line]) => ({
    line: Number(line),
    said: said.trim().replaceAll(/\s*\n\s*/g, '; '),
  }))

const refusal = (result: RunResult, program: string, commands: readonly string[]): Fault => {
  const [first] = complaints(result.stderr)
  const command = first === undefined ? undefined : commands[first.line - 1]
  if (first !== undefined && command !== undefined) return toFault(first.said, `${program} ${command}`)
  return toFault(result.stderr.trim().replaceAll(/\s*\n\s*/g, '; ') || `exit code ${result.exitCode}`, program)
}

/** To be started inside a namespace; one that is not there is a Fault `not-found` of exec already. */
const inside = (netns: string | undefined) => (netns === undefined ? {} : { netns })

// On another thread, while this one may be in a namespace for a moment: not /proc/self, which is the first thread's.
const ownDevices = () => readFile('/proc/thread-self/net/dev', 'utf8')

/**
 * Drives ip and tc through the given exec.
 * @param devices the text of /proc/net/dev in the namespace in which exec runs them
 */
export const createLink = (exec: Pick<Exec, 'try'>, devices: () => Promise<string> = ownDevices): Link => {
  const runBatch = async (program: 'ip' | 'tc', commands: readonly string[], { netns, keepGoing }: BatchOptions) => {
    if (commands.length === 0) return
    const argv = [program, ...(keepGoing ? ['-force'] : []), '-batch', '-']
    const result = await exec.try(argv, { ...inside(netns), input: `${commands.join('\n')}\n` })
    if (result.exitCode !== 0) throw refusal(result, program, commands)
  }
  return {
    batch: (commands, options = {}) => runBatch('ip', commands, options),
    batchEach: async lists => {
      const commands = lists.flat()
      const result = await exec.try(['ip', '-force', '-batch', '-'], { input: `${commands.join('\n')}\n` })
      if (result.exitCode === 0) return lists.map(() => undefined)
      const failed = complaints(result.stderr)
      if (failed.length === 0) throw refusal(result, 'ip', commands)
      const starts = lists.map((_, i) => lists.slice(0, i).flat().length)
      return lists.map((list, i) => {
        const own = failed.find(({ line }) => line > (starts[i] ?? 0) && line <= (starts[i] ?? 0) + list.length)
        return own && toFault(own.said, `ip ${commands[own.line - 1]}`)
      })
    },
    exists: async name => (await devices()).split('\n').some(line => line.trimStart().startsWith(`${name}:`)),
    shape: (commands, options = {}) => runBatch('tc', commands, options),
    query: async <T>(args: readonly string[], netns?: string) => {
      const result = await exec.try(['ip', '-j', ...args], inside(netns))
      if (result.exitCode !== 0) throw refusal(result, `ip ${args.join(' ')}`, [])
      return JSON.parse(result.stdout.trim() || '[]') as readonly T[]
    },
    setInside: async (netns, files, value) => {
      const result = await exec.try(['tee', ...files], { netns, input: value })
      if (result.exitCode !== 0) throw refusal(result, 'tee', [])
    },
  }
}
