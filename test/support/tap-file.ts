// Runs test files, each as a process of its own or several in one, and reads their TAP: what passed, what failed and how, what was
// skipped. A file counts as failed also when it exits with an error, runs out of time, or asserts nothing.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { Parser, type Result } from 'tap-parser'
import { endOfFile, filesVariable, loadOfFile } from './names.ts'

export interface FileResult {
  readonly path: string
  readonly passed: number
  readonly skipped: number
  /** One text per failure, with its diagnostics. */
  readonly failures: readonly string[]
  readonly ms: number
}

export interface FileOptions {
  readonly timeoutMs: number
  readonly env: Readonly<Record<string, string>>
}

// Where the source stands is told by `at`; the rest of the stack is tap's own.
const wordyDiagnostics = new Set(['stack', 'source', 'tapCaller', 'time'])

const indent = (lines: string) => lines.trimEnd().replace(/^/gm, '      ')

const toText = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))

const toFailure = (path: string, { fullname, name, diag }: Result): string => {
  const fields = Object.entries((diag ?? {}) as Record<string, unknown>).filter(([key]) => !wordyDiagnostics.has(key))
  const shown = fields.map(([key, value]) => {
    const said = toText(value)
    return said.includes('\n') ? `      ${key}:\n${indent(indent(said))}` : `      ${key}: ${said}`
  })
  return [`${path}: ${fullname || name}`, ...shown].join('\n')
}

interface Tally {
  passed: number
  skipped: number
  readonly failures: string[]
}

interface File {
  readonly path: string
  readonly tally: Tally
  readonly started: number
}

const toFile = (path: string): File => ({
  path,
  tally: { passed: 0, skipped: 0, failures: [] },
  started: performance.now(),
})

const seen = ({ tally }: File): number => tally.passed + tally.skipped + tally.failures.length

const toResult = ({ path, tally, started }: File): FileResult => ({ path, ...tally, ms: performance.now() - started })

/** Counts assertions of a parser and of its subtests; the line that sums a subtest up counts only when nothing in it did. */
const count = (parser: Parser, current: () => File): void => {
  let pending: { readonly seen: number; readonly failed: number } | undefined
  parser.on('child', (child: Parser) => {
    pending = { seen: seen(current()), failed: current().tally.failures.length }
    count(child, current)
  })
  parser.on('assert', (result: Result) => {
    if (result.name.startsWith(endOfFile)) return
    const { path, tally } = current()
    const summary = pending
    pending = undefined
    if (result.ok && result.name.startsWith(loadOfFile)) return
    const failed = !result.ok && !result.todo
    if (summary !== undefined && (failed ? tally.failures.length > summary.failed : seen(current()) > summary.seen)) return
    if (result.skip || result.todo) tally.skipped += 1
    else if (failed) tally.failures.push(toFailure(path, result))
    else if (summary !== undefined) tally.failures.push(`${path}: ${result.fullname}: asserted nothing`)
    else tally.passed += 1
  })
}

interface Ended {
  /** How the process ended where it should not have. */
  readonly problem: string | undefined
  readonly output: string
}

/** Runs Node to its end and gives the parser what it prints. */
const execute = async (args: readonly string[], { timeoutMs, env }: FileOptions, parser: Parser): Promise<Ended> => {
  const stray: string[] = []
  parser.on('extra', (line: string) => stray.push(line))
  // A group of its own, so that running out of time ends also what the file has started.
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    detached: true,
  })
  let late = false
  const timer = setTimeout(() => {
    late = true
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  }, timeoutMs)
  child.stdout.on('data', chunk => parser.write(chunk))
  const [stderr, [code, signal]] = await Promise.all([
    text(child.stderr),
    once(child, 'close') as Promise<[number | null, string | null]>,
  ])
  clearTimeout(timer)
  parser.end()
  const ending = code === 0 ? undefined : `ended with ${signal ?? `exit code ${code}`}`
  return { problem: late ? `took longer than ${timeoutMs / 1000} s` : ending, output: `${stray.join('')}${stderr}`.trim() }
}

// Failed assertions are why a process does not exit with 0.
const isExitCode = (problem: string): boolean => problem.startsWith('ended with exit code')

/** What is wrong with a file's process, or its silence, beside its other failures. */
const conclude = (file: File, { problem }: Ended): void => {
  const { failures } = file.tally
  if (problem !== undefined && (failures.length === 0 || !isExitCode(problem))) failures.push(`${file.path}: ${problem}`)
  if (seen(file) === 0) failures.push(`${file.path}: asserted nothing`)
}

/** What the process has written besides belongs to the last failure. */
const tellOutput = ({ tally: { failures } }: File, { output }: Ended): void => {
  if (failures.length > 0 && output !== '') failures[failures.length - 1] += `\n      output:\n${indent(indent(output))}`
}

/** Runs a test file to its end, in a process of its own. */
export const runFile = async (path: string, options: FileOptions): Promise<FileResult> => {
  const file = toFile(path)
  const parser = new Parser()
  count(parser, () => file)
  const ended = await execute([path], options, parser)
  conclude(file, ended)
  tellOutput(file, ended)
  return toResult(file)
}

const together = join(import.meta.dirname, 'together.ts')

/**
 * Runs test files one after the other in one process; when a file ends it, those behind it get another one.
 * @param onResult called as soon as a file has ended
 */
export const runFiles = async (
  paths: readonly string[],
  options: FileOptions,
  onResult: (result: FileResult) => void,
): Promise<void> => {
  const [first, ...others] = paths
  if (first === undefined) return
  const waiting = [...others]
  let current = toFile(first)
  let hasEnded = false
  const parser = new Parser()
  count(parser, () => current)
  // Failures wait for what the process has written besides.
  const failed: File[] = []
  parser.on('assert', ({ name }: Result) => {
    if (name !== `${endOfFile}${current.path}`) return
    if (seen(current) === 0) current.tally.failures.push(`${current.path}: asserted nothing`)
    if (current.tally.failures.length > 0) failed.push(current)
    else onResult(toResult(current))
    const next = waiting.shift()
    hasEnded = next === undefined
    if (next !== undefined) current = toFile(next)
  })
  // tap names its fixtures after the arguments: the first path tells them from those of processes beside this one.
  const env = { ...options.env, [filesVariable]: paths.join('\n') }
  const ended = await execute([together, first], { ...options, env }, parser)
  if (!hasEnded) {
    const problem = ended.problem ?? 'ended its process before its tests were over'
    conclude(current, { ...ended, problem })
    failed.push(current)
  } else if (ended.problem !== undefined && (failed.length === 0 || !isExitCode(ended.problem))) {
    const last = toFile(paths.at(-1) ?? first)
    last.tally.failures.push(`${paths.join(', ')}: ${ended.problem} after the last test`)
    failed.push(last)
  }
  const told = failed.at(-1)
  if (told !== undefined) tellOutput(told, ended)
  for (const file of failed) onResult(toResult(file))
  await runFiles(waiting, options, onResult)
}
